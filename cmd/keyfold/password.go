package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

const passwordHelp = `The password is asked for twice at a terminal, which does not show it, and read
from the first line of standard input elsewhere. It is never an argument: others
on the machine can read those.`

// passwordFlags say whether there is a password to be read.
type passwordFlags struct{ wanted bool }

func (f *passwordFlags) add(cmd *cobra.Command, what string) {
	cmd.Flags().BoolVar(&f.wanted, "password", false, what)
}

// read returns the password, or nothing where none is wanted.
func (f *passwordFlags) read(ctx context.Context, c *command) (string, error) {
	if !f.wanted {
		return "", nil
	}
	return c.readPassword(ctx)
}

// maxPasswordLine is more than any password may have.
const maxPasswordLine = 16 << 10

// readPassword reads a password from the terminal, without echo, or from the
// first line of standard input.
func (c *command) readPassword(ctx context.Context) (string, error) {
	if file, ok := c.stdin.(*os.File); ok && isTerminal(file) {
		return c.askPassword(ctx, file)
	}
	line, err := readLine(ctx, io.LimitReader(c.stdin, maxPasswordLine))
	switch {
	case ctx.Err() != nil:
		return "", ctx.Err()
	case err != nil && !errors.Is(err, io.EOF):
		return "", &failure{exitFailure, fmt.Errorf("standard input cannot be read: %w", err)}
	}
	if line = strings.TrimSuffix(strings.TrimSuffix(line, "\n"), "\r"); line == "" {
		return "", usage("standard input holds no password")
	}
	return line, nil
}

// readLine reads to the end of the first line, or until ctx is done: a read
// cannot be interrupted, and goes on until the process ends.
func readLine(ctx context.Context, in io.Reader) (string, error) {
	type result struct {
		line string
		err  error
	}
	read := make(chan result, 1)
	go func() {
		line, err := bufio.NewReader(in).ReadString('\n')
		read <- result{line, err}
	}()
	select {
	case <-ctx.Done():
		return "", ctx.Err()
	case r := <-read:
		return r.line, r.err
	}
}

// errNotTyped is what ends a question: control-C, control-D, or no terminal any more.
var errNotTyped = usage("no password was typed")

// askPassword asks twice, and leaves the terminal as it was also when it is
// interrupted. The terminal shows nothing from before the first question on, so
// not what is typed ahead either.
func (c *command) askPassword(ctx context.Context, terminal *os.File) (string, error) {
	before, err := term.MakeRaw(int(terminal.Fd()))
	if err != nil {
		return "", &failure{exitFailure, err}
	}
	defer func() { _ = term.Restore(int(terminal.Fd()), before) }()
	screen := term.NewTerminal(struct {
		io.Reader
		io.Writer
	}{terminal, c.stderr}, "")
	type answers struct {
		typed [2]string
		err   error
	}
	read := make(chan answers, 1)
	go func() { // a read cannot be interrupted
		var a answers
		for i, question := range []string{"New password: ", "The same again: "} {
			if a.typed[i], a.err = screen.ReadPassword(question); a.err != nil || a.typed[i] == "" {
				break
			}
		}
		read <- a
	}()
	select {
	case <-ctx.Done():
		fmt.Fprint(c.stderr, "\r\n")
		return "", ctx.Err()
	case a := <-read:
		switch {
		case a.err != nil:
			fmt.Fprint(c.stderr, "\r\n")
			return "", errNotTyped
		case a.typed[0] == "":
			return "", errNotTyped
		case a.typed[0] != a.typed[1]:
			return "", usage("the two passwords differ: nothing was changed")
		}
		return a.typed[0], nil
	}
}
