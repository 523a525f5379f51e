package main

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"github.com/keyfold/keyfold"
)

// table writes keys for people. Names are checked when keys are made, but what
// a terminal obeys and what turns text around are replaced all the same.
type table struct {
	out *tabwriter.Writer
	now time.Time
}

func newTable(w io.Writer, now time.Time) *table {
	t := &table{out: tabwriter.NewWriter(w, 0, 0, 2, ' ', 0), now: now}
	t.row("ID", "TOKEN", "NAME", "OWNER", "STATE", "EXPIRES", "USES", "LAST USED")
	return t
}

func (t *table) row(cells ...string) {
	for i, cell := range cells {
		if cell == "" {
			cell = "-"
		}
		cells[i] = printable(cell)
	}
	fmt.Fprintln(t.out, strings.Join(cells, "\t"))
}

func (t *table) add(k *keyfold.Key) {
	expires := "never"
	if !k.ExpiresAt.IsZero() {
		expires = shortTime(k.ExpiresAt)
	}
	t.row(k.ID, k.Hint, k.Name, k.OwnerID, string(k.State(t.now)), expires, strconv.FormatInt(k.Uses, 10), shortTime(k.LastUsedAt))
}

func (t *table) close() error { return t.out.Flush() }

func shortTime(at time.Time) string {
	if at.IsZero() {
		return ""
	}
	return at.UTC().Format("2006-01-02 15:04Z")
}

// printable replaces what is not a graphic character or a space.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return unicode.ReplacementChar
		}
		return r
	}, text)
}
