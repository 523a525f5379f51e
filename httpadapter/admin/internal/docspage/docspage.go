// Package docspage serves the documentation page of the admin API. The page is a
// single file, which scripts/docs-page builds from Swagger UI and page.html, and
// which is stored compressed. It shows the document at openapi.json in the same
// directory and does not send requests to other hosts.
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
	// policy permits only the scripts and styles of the page, by their hashes, and
	// only requests to the origin of the page. The images are part of the style.
	policy = "default-src 'none'; script-src " + scripts + "; style-src " + styles + "; connect-src 'self'; img-src data:; " +
		"frame-ancestors 'none'; base-uri 'none'; form-action 'none'"

	// etag is weak because it applies to both encodings.
	etag = `W/"` + pageSum + `"`
)

// Serve answers a GET or HEAD request with the page. Clients may cache the page, but
// must revalidate it each time.
func Serve(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Security-Policy", policy)
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	// Without Accept-Encoding, any encoding is acceptable (RFC 9110 section 12.5.3).
	// Uncompressed, the page is four times as long. It is for browsers, which
	// decompress it.
	page := asset{compressed: compressed, size: pageSize, etag: etag, contentType: "text/html; charset=utf-8", compressedByDefault: true}
	page.serve(w, r)
}

// Document returns a handler that answers a GET or HEAD request with the OpenAPI
// document. It differs from [Serve] in that clients without Accept-Encoding get the
// document uncompressed: they are tools like curl, whose output is passed to a
// generator.
func Document(text []byte) http.HandlerFunc {
	var zipped strings.Builder
	compressor, _ := gzip.NewWriterLevel(&zipped, gzip.BestCompression) // the level is valid
	_, _ = compressor.Write(text)                                       // a Builder accepts everything
	_ = compressor.Close()
	document := asset{
		compressed: zipped.String(), size: len(text), etag: fmt.Sprintf(`W/"%x"`, sha256.Sum256(text)),
		contentType: "application/openapi+json",
	}
	return document.serve
}

// asset is a file that is stored compressed.
type asset struct {
	compressed  string
	size        int // uncompressed, in bytes
	etag        string
	contentType string

	compressedByDefault bool // for clients without Accept-Encoding
}

func (a *asset) serve(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Cache-Control", "no-cache")
	h.Set("Vary", "Accept-Encoding")
	h.Set("Etag", a.etag)
	if a.isCached(r.Header.Values("If-None-Match")) {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	h.Set("Content-Type", a.contentType)
	if lists := r.Header.Values("Accept-Encoding"); acceptsGzip(lists) || a.compressedByDefault && len(lists) == 0 {
		h.Set("Content-Encoding", "gzip")
		h.Set("Content-Length", strconv.Itoa(len(a.compressed)))
		if r.Method != http.MethodHead {
			_, _ = io.WriteString(w, a.compressed) // an error means that the client is gone
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

// isCached reports whether If-None-Match lists the asset (RFC 9110 section 13.1.2).
func (a *asset) isCached(lists []string) bool {
	for tag := range elements(lists) {
		if tag == "*" || strings.TrimPrefix(tag, "W/") == strings.TrimPrefix(a.etag, "W/") {
			return true
		}
	}
	return false
}

// acceptsGzip reports whether Accept-Encoding permits gzip (RFC 9110 section 12.5.3).
// The name gzip takes precedence over "*", and a weight of zero refuses.
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

// elements yields the elements of a list-valued header.
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
