package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// isTerminal reports whether a stream is connected to a terminal.
func isTerminal(stream any) bool {
	file, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(file.Fd()))
}

// yesFlag is the flag of commands that ask for confirmation: those that delete or
// revoke, and those that change all keys of an owner, a user or a tenant.
type yesFlag struct{ yes bool }

func (f *yesFlag) add(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&f.yes, "yes", false, "do not ask for confirmation")
}

// check refuses a command that needs confirmation and cannot ask for it.
func (f *yesFlag) check(c *command, cmd *cobra.Command) error {
	if f.yes || isTerminal(c.stdin) {
		return nil
	}
	return usage("%s asks for confirmation, and standard input is not a terminal; add --yes to skip the question", cmd.CommandPath())
}

// confirm asks a question unless --yes was given.
func (f *yesFlag) confirm(ctx context.Context, c *command, question string) error {
	if f.yes {
		return nil
	}
	return c.confirm(ctx, question)
}

// confirm asks on standard error and returns nil only if the answer on standard
// input is "yes".
func (c *command) confirm(ctx context.Context, question string) error {
	if _, err := fmt.Fprintf(c.stderr, "%s Type yes to continue: ", question); err != nil {
		return err
	}
	line, _ := readLine(ctx, c.stdin) // an answer that cannot be read is not "yes"
	line = strings.TrimSpace(line)
	switch {
	case ctx.Err() != nil:
		fmt.Fprintln(c.stderr)
		return ctx.Err()
	case line == "yes":
		return nil
	case line == "":
		fmt.Fprintln(c.stderr) // the input may have ended without a line
	}
	return &failure{exitFailure, errors.New("not confirmed; nothing was changed")}
}
