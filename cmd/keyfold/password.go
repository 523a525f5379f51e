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

const passwordHelp = `On a terminal, the command asks for the password twice and does not show it.
Elsewhere, it reads the password from the first line of standard input. A
password is never an argument, because other users of the machine can read
arguments.`

// passwordFlags are the flags of commands that can set a password.
type passwordFlags struct{ given bool }

func (f *passwordFlags) add(cmd *cobra.Command, text string) {
	cmd.Flags().BoolVar(&f.given, "password", false, text)
}

// read returns the password, or an empty text without --password.
func (f *passwordFlags) read(ctx context.Context, c *command) (string, error) {
	if !f.given {
		return "", nil
	}
	return c.readPassword(ctx)
}

func (c *command) readPassword(ctx context.Context) (string, error) {
	return c.readSecret(ctx, "password", "New password: ", "Repeat the password: ")
}

func (c *command) readToken(ctx context.Context) (string, error) {
	return c.readSecret(ctx, "token", "Token: ")
}

// maxSecretLine is longer than any password or token.
const maxSecretLine = 16 << 10

// readSecret reads a secret from the terminal, without echo, or from the first line of
// standard input. On a terminal, the answers to all questions must be the same.
func (c *command) readSecret(ctx context.Context, noun string, questions ...string) (string, error) {
	if file, ok := c.stdin.(*os.File); ok && isTerminal(file) {
		return c.askSecret(ctx, file, noun, questions)
	}
	line, err := readLine(ctx, io.LimitReader(c.stdin, maxSecretLine))
	switch {
	case ctx.Err() != nil:
		return "", ctx.Err()
	case err != nil && !errors.Is(err, io.EOF):
		return "", &failure{exitFailure, fmt.Errorf("standard input cannot be read: %w", err)}
	}
	if line = strings.TrimSuffix(strings.TrimSuffix(line, "\n"), "\r"); line == "" {
		return "", usage("standard input must contain a %s on its first line", noun)
	}
	return line, nil
}

// readLine reads the first line, or returns when ctx is done. A read cannot be
// interrupted, so it may continue until the process ends.
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

// askSecret asks the questions on a terminal, and restores the state of the terminal
// even if it is interrupted. The terminal stops showing text before the first question,
// so that it does not show text that is typed ahead.
func (c *command) askSecret(ctx context.Context, terminal *os.File, noun string, questions []string) (string, error) {
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
		typed []string
		err   error
	}
	read := make(chan answers, 1)
	go func() { // a read cannot be interrupted
		var a answers
		for _, question := range questions {
			text, err := screen.ReadPassword(question)
			if a.typed, a.err = append(a.typed, text), err; err != nil || text == "" {
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
		if a.err != nil { // Ctrl-C, Ctrl-D, or the terminal was closed
			fmt.Fprint(c.stderr, "\r\n")
			return "", usage("no %s was entered", noun)
		}
		if a.typed[0] == "" {
			return "", usage("no %s was entered", noun)
		}
		for _, text := range a.typed {
			if text != a.typed[0] {
				return "", usage("the two %ss differ; nothing was changed", noun)
			}
		}
		return a.typed[0], nil
	}
}
