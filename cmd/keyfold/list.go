package main

import (
	"bufio"
	"context"
	"fmt"

	"github.com/spf13/cobra"
)

const (
	defaultLimit = 50
	maxPage      = 200 // the most that one call of the library returns
)

// pageFlags select a part of a list.
type pageFlags struct {
	limit  int
	cursor string
	all    bool
}

func (f *pageFlags) add(cmd *cobra.Command) {
	cmd.Flags().IntVar(&f.limit, "limit", defaultLimit, "show at most `n` entries")
	cmd.Flags().StringVar(&f.cursor, "cursor", "", "continue a list with the same filters: its `next` value")
	cmd.Flags().BoolVar(&f.all, "all", false, "show the whole list; with --json, one document per line")
	exclusive(cmd, "limit", "all")
}

func (f *pageFlags) check() error {
	if f.limit < 1 {
		return usage("--limit must be above zero; use --all for the whole list")
	}
	return nil
}

// listing is a list of the library and its presentation.
type listing[T any] struct {
	fetch    func(ctx context.Context, cursor string, limit int) (items []T, next string, err error)
	document func(items []T, next string) any // the page, whose JSON is that of the admin API
	table    func([]T) *table
}

// print prints the part of the list that the flags select, and how to continue it.
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
	if err := l.table(items).print(c); err != nil || next == "" {
		return err
	}
	_, err = fmt.Fprintf(c.stderr, "keyfold: there are more entries; use --cursor %s to continue, or --all\n", next)
	return err
}

// stream prints each document as soon as it is read, so that long lists take
// little memory.
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

// walk calls each with every page, which may be empty, up to the limit. It returns
// the cursor of the remaining entries.
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
