// Package usageexport writes usage events as NDJSON or CSV, one at a time.
package usageexport

import (
	"bufio"
	"encoding/csv"
	"encoding/json"
	"io"
	"strings"
	"time"

	"github.com/keyfold/keyfold"
)

// Format is a format of an export.
type Format string

// The formats.
const (
	NDJSON Format = "ndjson" // one JSON object a line, in the form of the admin API
	CSV    Format = "csv"    // RFC 4180, with a header line
)

// MediaType returns the media type of the format.
func (f Format) MediaType() string {
	if f == CSV {
		return "text/csv; charset=utf-8"
	}
	return "application/x-ndjson"
}

// columns are the names of the columns of a CSV file.
var columns = []string{"at", "key_id", "outcome", "route", "ip", "request_id", "user_agent"}

// Writer writes usage events. It buffers: call Flush at the end.
type Writer struct {
	buffer *bufio.Writer
	csv    *csv.Writer // nil for NDJSON
	cells  []string
}

// NewWriter returns a Writer, and writes the header line of a CSV file.
func NewWriter(w io.Writer, f Format) *Writer {
	out := &Writer{buffer: bufio.NewWriterSize(w, 32<<10)}
	if f == CSV {
		out.csv = csv.NewWriter(out.buffer)
		_ = out.csv.Write(columns) // an error is kept for the next Write
	}
	return out
}

// Write writes one event. It returns the error of the underlying writer, perhaps that
// of an earlier event.
func (w *Writer) Write(e *keyfold.UsageEvent) error {
	if w.csv == nil {
		line, err := json.Marshal(e)
		if err != nil {
			return err
		}
		_, err = w.buffer.Write(append(line, '\n'))
		return err
	}
	ip := ""
	if e.IP.IsValid() {
		ip = e.IP.String()
	}
	w.cells = append(w.cells[:0], e.At.UTC().Format(time.RFC3339Nano), e.KeyID, e.Outcome.String(),
		cell(e.Route), cell(ip), cell(e.RequestID), cell(e.UserAgent))
	return w.csv.Write(w.cells)
}

// Flush writes what is buffered.
func (w *Writer) Flush() error {
	if w.csv != nil {
		w.csv.Flush()
		if err := w.csv.Error(); err != nil {
			return err
		}
	}
	return w.buffer.Flush()
}

// cell puts an apostrophe before a text that spreadsheets would run as a formula
// (OWASP, CSV Injection). The texts come from the clients of the API.
func cell(text string) string {
	if text != "" && strings.ContainsRune("=+-@\t\r\n", rune(text[0])) {
		return "'" + text
	}
	return text
}
