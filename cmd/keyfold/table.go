package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"
)

// table is rows for people, in columns that are as wide as they need: nothing
// is cut. What is in them was checked when it was stored, but what a terminal
// obeys and what turns text around are replaced all the same.
type table struct {
	heads []string
	rows  [][]string
}

// newTable returns a table with these columns. One whose name ends in "?" is
// left out when it is empty in every row.
func newTable(heads ...string) *table { return &table{heads: heads} }

func (t *table) add(cells ...string) { t.rows = append(t.rows, cells) }

func (t *table) print(w io.Writer) error {
	out := newAligned(w)
	var shown []int
	var heads []string
	for i, head := range t.heads {
		name, optional := strings.CutSuffix(head, "?")
		if !optional || t.fills(i) {
			shown, heads = append(shown, i), append(heads, name)
		}
	}
	if len(heads) > 0 {
		fmt.Fprintln(out, strings.Join(heads, "\t"))
	}
	for _, row := range t.rows {
		var cells []string
		for _, i := range shown {
			cells = append(cells, cell(row[i]))
		}
		fmt.Fprintln(out, strings.Join(cells, "\t"))
	}
	return out.close()
}

func (t *table) fills(column int) bool {
	for _, row := range t.rows {
		if row[column] != "" {
			return true
		}
	}
	return false
}

func cell(text string, but ...rune) string {
	if text == "" {
		return "-"
	}
	return printable(text, but...)
}

// details is what is known of one thing, a line each.
type details [][2]string

func (d *details) add(name, value string) { *d = append(*d, [2]string{name, value}) }

func (d details) print(w io.Writer) error {
	out := newAligned(w)
	for _, line := range d {
		name := line[0]
		for part := range strings.SplitSeq(cell(line[1], '\n', '\t'), "\n") { // notes have lines
			fmt.Fprintf(out, "%s\t%s\n", name, strings.ReplaceAll(part, "\t", "    "))
			name = ""
		}
	}
	return out.close()
}

// aligned writes columns that tabs end, and keeps the first error.
type aligned struct {
	*tabwriter.Writer
	out *bufio.Writer
}

func newAligned(w io.Writer) aligned {
	out := bufio.NewWriter(w)
	return aligned{tabwriter.NewWriter(out, 0, 0, 2, ' ', 0), out}
}

func (a aligned) close() error { return errors.Join(a.Writer.Flush(), a.out.Flush()) }

// shortTime shows a time to the second; the zero time is empty.
func shortTime(at time.Time) string { return formatTime(at, time.RFC3339) }

// exactTime shows a time to the millisecond, as it is stored.
func exactTime(at time.Time) string { return formatTime(at, "2006-01-02T15:04:05.000Z07:00") }

func formatTime(at time.Time, layout string) string {
	if at.IsZero() {
		return ""
	}
	return at.UTC().Format(layout)
}

// printable replaces what is neither a graphic character nor a space nor one of
// the exceptions.
func printable(text string, but ...rune) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) && !slices.Contains(but, r) {
			return unicode.ReplacementChar
		}
		return r
	}, text)
}
