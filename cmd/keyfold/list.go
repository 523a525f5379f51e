package main

import (
	"bufio"
	"context"
	"fmt"

	"github.com/spf13/cobra"
)

const (
	defaultLimit = 50
	maxPage      = 200 // what one call of the library returns at most
)

// pageFlags say how much of a list is wanted.
type pageFlags struct {
	limit  int
	cursor string
	all    bool
}

func (f *pageFlags) add(cmd *cobra.Command) {
	cmd.Flags().IntVar(&f.limit, "limit", defaultLimit, "at most `n`")
	cmd.Flags().StringVar(&f.cursor, "cursor", "", "go on where a list with the same filters ended: its `next`")
	cmd.Flags().BoolVar(&f.all, "all", false, "the whole list; with --json one document a line")
	exclusive(cmd, "limit", "all")
}

func (f *pageFlags) check() error {
	if f.limit < 1 {
		return usage("--limit wants a number above zero; --all is for the whole list")
	}
	return nil
}

// listing is a list of the library and how it is shown.
type listing[T any] struct {
	fetch    func(ctx context.Context, cursor string, limit int) (items []T, next string, err error)
	document func(items []T, next string) any // the page, whose JSON is that of the admin API
	table    func([]T) *table
}

// print prints what the flags ask for. People and programs are both told where
// the list goes on.
func (l listing[T]) print(ctx context.Context, c *command, flags *pageFlags, asJSON bool) error {
	if flags.all && asJSON {
		return l.stream(ctx, c, flags)
	}
	var items []T
	next, err := l.walk(ctx, flags, func(page []T) error {
		items = append(items, page...)
		return nil
	})
	if err != nil {
		return err
	}
	if asJSON {
		return c.printJSON(l.document(items, next))
	}
	if err := l.table(items).print(c.stdout); err != nil || next == "" {
		return err
	}
	_, err = fmt.Fprintf(c.stderr, "keyfold: there is more: --cursor %s goes on, --all shows everything\n", next)
	return err
}

// stream prints each document as soon as it is read, so that lists of any
// length take little memory.
func (l listing[T]) stream(ctx context.Context, c *command, flags *pageFlags) error {
	out := bufio.NewWriter(c.stdout)
	_, err := l.walk(ctx, flags, func(page []T) error {
		for _, item := range page {
			if err := writeJSON(out, item); err != nil {
				return err
			}
		}
		return out.Flush()
	})
	return err
}

// walk calls each with the pages, which may be empty, until there are enough. It
// returns the cursor of what follows.
func (l listing[T]) walk(ctx context.Context, flags *pageFlags, each func([]T) error) (next string, err error) {
	next = flags.cursor
	for left := flags.limit; flags.all || left > 0; {
		limit := maxPage
		if !flags.all {
			limit = min(left, maxPage)
		}
		var page []T
		if page, next, err = l.fetch(ctx, next, limit); err != nil {
			return "", err
		}
		if err := each(page); err != nil {
			return "", err
		}
		if left -= len(page); next == "" {
			return "", nil
		}
		if err := ctx.Err(); err != nil {
			return "", err
		}
	}
	return next, nil
}
