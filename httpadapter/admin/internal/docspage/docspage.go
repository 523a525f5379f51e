// Package docspage serves the documentation page of the admin API. It is one
// file: Swagger UI and what page.html puts around it, built by scripts/docs-page
// and kept compressed. It shows the document at openapi.json next to it, and asks
// no other host for anything.
package docspage

import (
	"compress/gzip"
	"crypto/sha256"
	_ "embed"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
)

//go:embed docs.html.gz
var compressed string

const (
	// policy lets run what is in the page, byte by byte, and lets that talk to
	// where it came from. The images are in the style.
	policy = "default-src 'none'; script-src " + scripts + "; style-src " + styles + "; connect-src 'self'; img-src data:; " +
		"frame-ancestors 'none'; base-uri 'none'; form-action 'none'"

	// etag is a weak one because it stands for both encodings.
	etag = `W/"` + pageSum + `"`
)

// Serve answers a GET or HEAD with the page. A client may keep it and asks each
// time whether it is still the same.
func Serve(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Security-Policy", policy)
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	// Without the header any encoding will do (RFC 9110 section 12.5.3). The page is
	// four times as long without gzip, and for browsers, which unpack it.
	page := asset{compressed: compressed, size: pageSize, etag: etag, contentType: "text/html; charset=utf-8", zippedByDefault: true}
	page.serve(w, r)
}

// Document returns a handler that answers a GET or HEAD with the document that the
// page shows, in the same way, but that a client which names no encoding gets it as
// it is: such clients are tools like curl, whose output goes to a generator.
func Document(text []byte) http.HandlerFunc {
	var zipped strings.Builder
	compressor, _ := gzip.NewWriterLevel(&zipped, gzip.BestCompression) // the level is valid
	_, _ = compressor.Write(text)                                       // a Builder takes everything
	_ = compressor.Close()
	document := asset{
		compressed: zipped.String(), size: len(text), etag: fmt.Sprintf(`W/"%x"`, sha256.Sum256(text)),
		contentType: "application/openapi+json",
	}
	return document.serve
}

// asset is what is served as it is kept: compressed.
type asset struct {
	compressed  string
	size        int // of what is compressed
	etag        string
	contentType string

	zippedByDefault bool // for clients without Accept-Encoding
}

func (a *asset) serve(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Cache-Control", "no-cache")
	h.Set("Vary", "Accept-Encoding")
	h.Set("Etag", a.etag)
	if a.isKept(r.Header.Values("If-None-Match")) {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	h.Set("Content-Type", a.contentType)
	if lists := r.Header.Values("Accept-Encoding"); acceptsGzip(lists) || a.zippedByDefault && len(lists) == 0 {
		h.Set("Content-Encoding", "gzip")
		h.Set("Content-Length", strconv.Itoa(len(a.compressed)))
		if r.Method != http.MethodHead {
			_, _ = io.WriteString(w, a.compressed) // the client is gone
		}
		return
	}
	h.Set("Content-Length", strconv.Itoa(a.size))
	if r.Method != http.MethodHead {
		_ = a.decompress(w)
	}
}

func (a *asset) decompress(w io.Writer) error {
	text, err := gzip.NewReader(strings.NewReader(a.compressed))
	if err != nil {
		return err
	}
	_, err = io.Copy(w, text)
	return err
}

// isKept reads If-None-Match (RFC 9110 section 13.1.2).
func (a *asset) isKept(lists []string) bool {
	for tag := range elements(lists) {
		if tag == "*" || strings.TrimPrefix(tag, "W/") == strings.TrimPrefix(a.etag, "W/") {
			return true
		}
	}
	return false
}

// acceptsGzip reads Accept-Encoding (RFC 9110 section 12.5.3): gzip by its name
// counts before "*", and a weight of zero refuses.
func acceptsGzip(lists []string) bool {
	any := false
	for element := range elements(lists) {
		coding, weight, _ := strings.Cut(element, ";")
		_, q, weighted := strings.Cut(strings.ReplaceAll(weight, " ", ""), "=")
		accepted := !weighted || strings.Trim(q, "0.") != ""
		switch strings.ToLower(strings.TrimSpace(coding)) {
		case "gzip", "x-gzip":
			return accepted
		case "*":
			any = accepted
		}
	}
	return any
}

// elements yields the elements of a header that is a list.
func elements(lists []string) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for _, list := range lists {
			for element := range strings.SplitSeq(list, ",") {
				if element = strings.TrimSpace(element); element != "" && !yield(element) {
					return
				}
			}
		}
	}
}
