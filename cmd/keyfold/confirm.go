package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// isTerminal reports whether somebody may sit before the input. It takes
// /dev/null for a terminal too, at which a question ends without an answer.
func isTerminal(in io.Reader) bool {
	file, ok := in.(*os.File)
	if !ok {
		return false
	}
	info, err := file.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// confirm asks on standard error, and wants "yes" on standard input.
func (c *command) confirm(ctx context.Context, question string) error {
	if _, err := fmt.Fprintf(c.stderr, "%s Type yes to go on: ", question); err != nil {
		return err
	}
	answer := make(chan string, 1)
	go func() { // a read cannot be interrupted
		line, _ := bufio.NewReader(c.stdin).ReadString('\n')
		answer <- strings.TrimSpace(line)
	}()
	select {
	case <-ctx.Done():
		fmt.Fprintln(c.stderr)
		return ctx.Err()
	case line := <-answer:
		if line == "yes" {
			return nil
		}
		if line == "" {
			fmt.Fprintln(c.stderr) // there may have been no line at all
		}
		return &failure{exitFailure, errors.New("not confirmed: nothing was changed")}
	}
}
