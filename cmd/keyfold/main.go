// Command keyfold serves API keys and manages them. Run "keyfold help".
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/go-sql-driver/mysql"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	// The driver would write lines of its own between those of our logger; what
	// it has to say is in the errors that it returns.
	_ = mysql.SetLogger(&mysql.NopLogger{})
	os.Exit(run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr, os.Environ()))
}
