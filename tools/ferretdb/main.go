// Ferretdb is a MongoDB server for the tests of store/mongo: FerretDB 1.24 over
// SQLite in memory, behind a proxy that lets one request in at a time. Nothing
// it holds outlives it.
//
//	ferretdb -listen 127.0.0.1:27018 -dir DIRECTORY
package main

import (
	"context"
	"errors"
	"flag"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/FerretDB/FerretDB/ferretdb"
)

func main() {
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))
	listen := flag.String("listen", "127.0.0.1:27018", "`address` to serve on")
	dir := flag.String("dir", "", "existing `directory` for its files; without one it makes and removes its own")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := serve(ctx, *listen, *dir, log); err != nil {
		log.Error("ferretdb", slog.Any("error", err))
		os.Exit(1)
	}
}

// serve returns when ctx is done, or when the server or the proxy fails.
func serve(ctx context.Context, address, dir string, log *slog.Logger) error {
	if dir == "" {
		var err error
		if dir, err = os.MkdirTemp("", "ferretdb."); err != nil {
			return err
		}
		defer os.RemoveAll(dir)
	}
	// The server itself is on a socket that only the proxy knows of.
	socket := filepath.Join(dir, "socket")
	server, err := ferretdb.New(&ferretdb.Config{
		Listener:  ferretdb.ListenerConfig{Unix: socket},
		Logger:    log,
		Handler:   "sqlite",
		SQLiteURL: "file:" + dir + "/?_pragma=synchronous(off)",
	})
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	context.AfterFunc(ctx, func() { _ = listener.Close() })
	result := make(chan error, 2)
	go func() { result <- server.Run(ctx) }()
	go func() { result <- (&proxy{backend: socket, limit: answerLimit, log: log}).serve(listener) }()
	first := <-result
	cancel()
	return errors.Join(ignoreClosed(first), ignoreClosed(<-result))
}

func ignoreClosed(err error) error {
	if errors.Is(err, net.ErrClosed) || errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}
