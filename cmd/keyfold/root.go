package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"

	"github.com/spf13/cobra"
)

// The exit codes, as "keyfold help exit-codes" tells them.
const (
	exitOK       = 0
	exitFailure  = 1
	exitUsage    = 2
	exitNotFound = 3
)

const exitCodesHelp = `Exit codes:

  0  done; "serve" was stopped by a signal and finished in order
  1  failed: the database or the server does not answer, the address is taken,
     the state of a key forbids the change, nobody confirmed it, …
  2  nothing was tried: unknown or bad flags, arguments or variables
  3  what was named does not exist: the key, or the SQLite file

Errors are one line on standard error, with --json too. A second signal ends "serve" at once,
as if it had not been caught.
`

// command is what every command works with.
type command struct {
	stdin   io.Reader
	stdout  io.Writer
	stderr  io.Writer
	environ []string
}

// run executes one command line and returns its exit code. When ctx is done
// the command stops, and serve stops in order.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer, environ []string) int {
	c := &command{stdin: stdin, stdout: stdout, stderr: stderr, environ: environ}
	root := c.root()
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	fmt.Fprintf(stderr, "keyfold: %s\n", oneLine(err.Error()))
	if failed, ok := errors.AsType[*failure](err); ok {
		return failed.code
	}
	return exitUsage // cobra's own: flags and arguments
}

func (c *command) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "keyfold",
		Short: "API keys: create them, stop them, serve what they open",
		Long: `API keys: create them, stop them, serve what they open.

KEYFOLD_DATABASE_URL is the database where --db is not given; KEYFOLD_SECRET is
the admin secret of "serve". These and other variables are read from the
environment and from .env in the current directory: "keyfold help variables".`,
		Args:              subcommandOnly,
		RunE:              func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		SilenceErrors:     true,
		SilenceUsage:      true,
		DisableAutoGenTag: true,
	}
	root.SetFlagErrorFunc(flagError)
	root.SetIn(c.stdin)
	root.SetOut(c.stdout)
	root.SetErr(c.stderr)
	root.AddCommand(c.serve(), c.healthcheck(), c.migrate(), c.keys(), c.users(), c.usage(), c.audit(), c.version(), &cobra.Command{
		Use: "exit-codes", Short: "What the exit codes mean", Long: exitCodesHelp,
	}, &cobra.Command{
		Use: "variables", Short: "What is read from the environment and .env", Long: variablesHelp(),
	})
	addCompletion(root)
	return root
}

// plainWord is what may be repeated of an argument that was not understood;
// anything else may be a connection string or a token.
var plainWord = regexp.MustCompile(`^[a-z][a-z-]{0,20}$`)

func subcommandOnly(cmd *cobra.Command, args []string) error {
	switch {
	case len(args) == 0:
		return nil
	case plainWord.MatchString(args[0]):
		return usage("%s has no command %q; see %q", cmd.CommandPath(), args[0], cmd.CommandPath()+" --help")
	}
	return usage("%s has no such command; see %q", cmd.CommandPath(), cmd.CommandPath()+" --help")
}

func noArguments(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usage("%s takes no arguments; see %q", cmd.CommandPath(), cmd.CommandPath()+" --help")
	}
	return nil
}

// oneLine keeps errors of several lines, and whatever a server wrote into
// one, to a line that a terminal shows as it is, after the name of the command.
func oneLine(text string) string {
	var parts []string
	for line := range strings.Lines(text) {
		if line = strings.TrimPrefix(strings.TrimSpace(line), "keyfold: "); line != "" {
			parts = append(parts, line)
		}
	}
	return printable(strings.Join(parts, "; "))
}
