package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/keyfold/keyfold/fromenv"
	"github.com/keyfold/keyfold/internal/spelling"
)

// The exit codes, which "keyfold help exit-codes" explains.
const (
	exitOK       = 0
	exitFailure  = 1
	exitUsage    = 2
	exitNotFound = 3
	exitRefused  = 4
)

const exitCodesHelp = `Exit codes:

  0  success; "serve" was stopped by a signal and finished in order
  1  failure: the database or the server does not respond, the address is in
     use, the state of a key forbids the change, the change was not confirmed, …
  2  invalid input, nothing was changed: flags, arguments or variables
  3  the key, the user or the database does not exist
  4  "keys verify" refused the token

A command with several IDs continues after an error. Its exit code is 1 or 3,
from the first ID that failed. With exit code 2, none of them was changed.

Errors are one line on standard error, with --json as well. A second signal
stops "serve" at once.
`

// command holds the streams and the environment of one command line.
type command struct {
	stdin   io.Reader
	stdout  io.Writer
	stderr  io.Writer
	environ []string

	database fromenv.Database // the open database, for messages
}

// run executes one command line and returns its exit code. When ctx is done, the
// command stops; serve first lets requests finish.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer, environ []string) int {
	c := &command{stdin: stdin, stdout: stdout, stderr: stderr, environ: environ}
	root := c.root()
	help := &remembering{w: stdout}
	root.SetOut(help)
	addHelp(root)
	addCompletion(root)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err == nil && help.err != nil {
		err = &failure{exitFailure, fmt.Errorf("standard output cannot be written: %w", help.err)}
	}
	if err == nil {
		return exitOK
	}
	fmt.Fprintf(stderr, "keyfold: %s\n", oneLine(err.Error()))
	if failed, ok := errors.AsType[*failure](err); ok {
		return failed.code
	}
	return exitUsage // cobra's own: flags and arguments
}

// remembering is a writer that keeps its first error. Cobra prints errors of writing
// help itself and does not return them.
type remembering struct {
	w   io.Writer
	err error
}

func (r *remembering) Write(p []byte) (int, error) {
	if r.err == nil {
		_, r.err = r.w.Write(p)
	}
	return len(p), nil
}

func (c *command) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "keyfold",
		Short: "Create, manage and serve API keys",
		Long: `Create, manage and serve API keys.

Without --db, KEYFOLD_DATABASE_URL names the database. KEYFOLD_SECRET is the
admin secret of "serve". The command reads these and other variables from the
environment and from .env in the current directory: see "keyfold help
variables".`,
		Args:              subcommandOnly,
		RunE:              func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		SilenceErrors:     true,
		SilenceUsage:      true,
		DisableAutoGenTag: true,
		Version:           readVersion().String(),
	}
	root.SetVersionTemplate("{{.Version}}\n")
	root.SetFlagErrorFunc(flagError)
	root.SetUsageFunc(printUsage)
	root.SetIn(c.stdin)
	root.SetErr(c.stderr)
	root.AddCommand(c.serve(), c.healthcheck(), c.migrate(), c.keys(), c.users(), c.usage(), c.audit(), c.version(), &cobra.Command{
		Use: "exit-codes", Short: "The meaning of the exit codes", Long: exitCodesHelp,
	}, &cobra.Command{
		Use: "variables", Short: "The variables in the environment and in .env", Long: variablesHelp(),
	})
	return root
}

// plainWord matches unknown arguments that errors may repeat. Other arguments may be
// a connection string or a token.
var plainWord = regexp.MustCompile(`^[a-z][a-z-]{0,20}$`)

func subcommandOnly(cmd *cobra.Command, args []string) error {
	switch {
	case len(args) == 0:
		return nil
	case plainWord.MatchString(args[0]):
		var names []string
		for _, below := range cmd.Commands() {
			names = append(names, below.Name())
		}
		return usage("unknown command %q of %q; %s", args[0], cmd.CommandPath(), suggestion(cmd, args[0], names, ""))
	}
	return usage("unknown command of %q; see %q", cmd.CommandPath(), cmd.CommandPath()+" --help")
}

// suggestion returns a question about the name that is most similar to a misspelt one,
// or where to find all names.
func suggestion(cmd *cobra.Command, name string, names []string, dashes string) string {
	if near := spelling.Nearest(name, names, 2); near != "" {
		return "did you mean " + strconv.Quote(dashes+near) + "?"
	}
	return fmt.Sprintf("see %q", cmd.CommandPath()+" --help")
}

// addHelp adds the command that shows help, which is cobra's, with an error for
// text that is not a command.
func addHelp(root *cobra.Command) {
	root.InitDefaultHelpCmd()
	for _, cmd := range root.Commands() {
		if cmd.Name() != "help" {
			continue
		}
		cmd.Run, cmd.RunE = nil, func(_ *cobra.Command, args []string) error {
			found, rest, err := root.Find(args)
			if err != nil {
				return err
			}
			if err := subcommandOnly(found, rest); err != nil {
				return err
			}
			found.InitDefaultHelpFlag()
			return found.Help()
		}
	}
}

func noArguments(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usage("%s takes no arguments; see %q", cmd.CommandPath(), cmd.CommandPath()+" --help")
	}
	return nil
}

// oneLine joins the lines of an error into one printable line. Errors can contain
// text from a server, and several lines. Repeated reasons are dropped: a driver that
// tries to connect with and without TLS reports both failures.
func oneLine(text string) string {
	var parts []string
	for line := range strings.Lines(text) {
		if line = strings.TrimPrefix(strings.TrimSpace(line), "keyfold: "); line != "" && !repeats(parts, line) {
			parts = append(parts, line)
		}
	}
	return printable(strings.Join(parts, "; "))
}

// repeats reports whether a line is already in parts, alone or at the end of a part.
func repeats(parts []string, line string) bool {
	return slices.ContainsFunc(parts, func(part string) bool { return part == line || strings.HasSuffix(part, ": "+line) })
}
