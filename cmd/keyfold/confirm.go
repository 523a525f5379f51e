package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"
)

// isTerminal reports whether somebody may sit before the input.
func isTerminal(in io.Reader) bool {
	file, ok := in.(*os.File)
	return ok && term.IsTerminal(int(file.Fd()))
}

// confirm asks on standard error, and wants "yes" on standard input.
func (c *command) confirm(ctx context.Context, question string) error {
	if _, err := fmt.Fprintf(c.stderr, "%s Type yes to go on: ", question); err != nil {
		return err
	}
	line, _ := readLine(ctx, c.stdin) // what cannot be read is no yes
	line = strings.TrimSpace(line)
	switch {
	case ctx.Err() != nil:
		fmt.Fprintln(c.stderr)
		return ctx.Err()
	case line == "yes":
		return nil
	case line == "":
		fmt.Fprintln(c.stderr) // there may have been no line at all
	}
	return &failure{exitFailure, errors.New("not confirmed: nothing was changed")}
}
