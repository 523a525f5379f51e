package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/term"
)

// table is a list of rows. On a terminal it has aligned columns that fit the width
// of the terminal. Elsewhere it is tab-separated values without a header, for
// programs. Control characters and characters that change the direction of text are
// replaced in both forms.
type table struct {
	noun  string // what the rows are, for the message about an empty table
	heads []head
	rows  [][]string
}

// head is the name of a column.
type head struct {
	name     string
	optional bool // not shown on a terminal if it is empty in every row
	whole    bool // never shortened, because the cells are copied, such as IDs
}

// newTable returns a table with these columns. A name that ends in "?" is optional,
// and the cells of one that ends in "!" are never shortened.
func newTable(noun string, names ...string) *table {
	t := &table{noun: noun}
	for _, name := range names {
		plain := strings.TrimRight(name, "?!")
		t.heads = append(t.heads, head{plain, strings.HasSuffix(name, "?"), strings.HasSuffix(name, "!")})
	}
	return t
}

func (t *table) add(cells ...string) { t.rows = append(t.rows, cells) }

// print prints the table on standard output. An empty table prints nothing there,
// and a message on standard error if standard output is a terminal.
func (t *table) print(c *command) error {
	width := terminalWidth(c.stdout)
	switch {
	case width == 0:
		return t.printValues(c.stdout)
	case len(t.rows) == 0:
		_, err := fmt.Fprintf(c.stderr, "keyfold: no %s found%s\n", t.noun, c.inDatabase())
		return err
	}
	return t.printColumns(c.stdout, width)
}

// terminalWidth returns the number of columns of a terminal, or 0 for a writer that
// is not a terminal. A terminal that does not know its width has 80 columns.
func terminalWidth(w io.Writer) int {
	file, ok := w.(*os.File)
	if !ok || !isTerminal(file) {
		return 0
	}
	if width, _, err := term.GetSize(int(file.Fd())); err == nil && width > 0 {
		return width
	}
	return 80
}

// printValues prints tab-separated values. Every column is present, so that the
// position of a column does not depend on the rows.
func (t *table) printValues(w io.Writer) error {
	out := bufio.NewWriter(w)
	for _, row := range t.rows {
		for i, text := range row {
			if i > 0 {
				out.WriteByte('\t')
			}
			out.WriteString(printable(text))
		}
		out.WriteByte('\n')
	}
	return out.Flush()
}

func (t *table) printColumns(w io.Writer, width int) error {
	var columns []int
	for i, head := range t.heads {
		if !head.optional || t.isFilled(i) {
			columns = append(columns, i)
		}
	}
	limit := t.limit(columns, width)
	out := newAligned(w)
	line := func(text func(column int) string) {
		var cells []string
		for _, i := range columns {
			cell := text(i)
			if !t.heads[i].whole {
				cell = shorten(cell, limit)
			}
			cells = append(cells, cell)
		}
		fmt.Fprintln(out, strings.Join(cells, "\t"))
	}
	line(func(column int) string { return t.heads[column].name })
	for _, row := range t.rows {
		line(func(column int) string { return cell(row[column]) })
	}
	return out.close()
}

// minColumn is the least width to which a column is shortened. On a terminal that is
// too narrow even for such columns, lines wrap.
const minColumn = 5

// limit returns the greatest width of columns at which the table fits.
func (t *table) limit(columns []int, width int) int {
	widest := 0
	needs := make([]func(limit int) int, len(columns))
	for n, i := range columns {
		cells := []string{t.heads[i].name}
		for _, row := range t.rows {
			cells = append(cells, cell(row[i]))
		}
		full := 0
		for _, text := range cells {
			full = max(full, utf8.RuneCountInString(text))
		}
		widest = max(widest, full)
		needs[n] = func(limit int) int {
			if t.heads[i].whole {
				return full
			}
			need := 0
			for _, text := range cells {
				need = max(need, utf8.RuneCountInString(shorten(text, limit)))
			}
			return need
		}
	}
	fits := func(limit int) bool {
		total := columnGap * (len(columns) - 1)
		for _, need := range needs {
			total += need(limit)
		}
		return total <= width
	}
	limit := widest
	for limit > minColumn && !fits(limit) {
		limit--
	}
	return limit
}

var timeCell = regexp.MustCompile(`^\d{4}-\d\d-\d\dT[\d:.]+Z$`)

// shorten cuts a text to a width. A time becomes a date if that fits.
func shorten(text string, width int) string {
	if utf8.RuneCountInString(text) <= width {
		return text
	}
	if date := len(time.DateOnly); width >= date && timeCell.MatchString(text) {
		return text[:date]
	}
	return string([]rune(text)[:width-1]) + "…"
}

func (t *table) isFilled(column int) bool {
	return slices.ContainsFunc(t.rows, func(row []string) bool { return row[column] != "" })
}

func cell(text string, but ...rune) string {
	if text == "" {
		return "-"
	}
	return printable(text, but...)
}

// details are the fields of one object, one on each line.
type details [][2]string

func (d *details) add(name, value string) { *d = append(*d, [2]string{name, value}) }

func (d details) print(w io.Writer) error {
	out := newAligned(w)
	for _, line := range d {
		name := line[0]
		for part := range strings.SplitSeq(cell(line[1], '\n', '\t'), "\n") { // notes have several lines
			fmt.Fprintf(out, "%s\t%s\n", name, strings.ReplaceAll(part, "\t", "    "))
			name = ""
		}
	}
	return out.close()
}

// columnGap is the number of spaces between columns.
const columnGap = 2

// aligned writes columns that end with tabs, and keeps the first error.
type aligned struct {
	*tabwriter.Writer
	out *bufio.Writer
}

func newAligned(w io.Writer) aligned {
	out := bufio.NewWriter(w)
	return aligned{tabwriter.NewWriter(out, 0, 0, columnGap, ' ', 0), out}
}

func (a aligned) close() error { return errors.Join(a.Writer.Flush(), a.out.Flush()) }

// shortTime formats a time to the second; the zero time is empty.
func shortTime(at time.Time) string { return formatTime(at, time.RFC3339) }

// exactTime formats a time to the millisecond, as it is stored.
func exactTime(at time.Time) string { return formatTime(at, "2006-01-02T15:04:05.000Z07:00") }

func formatTime(at time.Time, layout string) string {
	if at.IsZero() {
		return ""
	}
	return at.UTC().Format(layout)
}

// printable replaces every character that is not printable, except for the given
// ones.
func printable(text string, but ...rune) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) && !slices.Contains(but, r) {
			return unicode.ReplacementChar
		}
		return r
	}, text)
}
