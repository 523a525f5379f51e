// Command build writes the page of package docspage: docs.html.gz, page_gen.go
// and the licences. It is given the npm package of source.json as an archive;
// scripts/docs-page fetches it.
package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"go/format"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// source is source.json: where the parts that are not ours come from.
type source struct {
	Package   string            `json:"package"`
	Version   string            `json:"version"`
	Integrity string            `json:"integrity"` // of the archive, as npm states it
	Files     map[string]string `json:"files"`     // SHA-256 of what is taken from it
}

// licences returns what has to be shipped with the page, by its name in the
// archive.
func licences() map[string]string {
	return map[string]string{
		"LICENSE":                          "swagger-ui.LICENSE.txt",
		"NOTICE":                           "swagger-ui.NOTICE.txt",
		"swagger-ui-bundle.js.LICENSE.txt": "swagger-ui-bundle.js.LICENSE.txt",
	}
}

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: build PACKAGE.tgz DIRECTORY")
		os.Exit(2)
	}
	if err := build(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "build:", err)
		os.Exit(1)
	}
}

func build(archive, directory string) error {
	var from source
	recorded, err := os.ReadFile(filepath.Join(directory, "source.json"))
	if err != nil {
		return err
	}
	if err := json.Unmarshal(recorded, &from); err != nil {
		return fmt.Errorf("source.json: %w", err)
	}
	files, err := unpack(archive, from.Integrity)
	if err != nil {
		return err
	}
	for name, want := range from.Files {
		if got := hexSum(files[name]); got != want {
			return fmt.Errorf("%s has SHA-256 %s, source.json says %s", name, got, want)
		}
	}
	template, err := os.ReadFile(filepath.Join(directory, "page.html"))
	if err != nil {
		return err
	}
	page, err := assemble(string(template), from, files)
	if err != nil {
		return err
	}
	generated, err := describe(page, from)
	if err != nil {
		return err
	}
	writes := map[string][]byte{"docs.html.gz": compress(page), "page_gen.go": generated}
	for name, as := range licences() {
		if len(files[name]) == 0 {
			return fmt.Errorf("the package has no %s", name)
		}
		writes["licenses/"+as] = files[name]
	}
	for name, content := range writes {
		if err := os.WriteFile(filepath.Join(directory, name), content, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// unpack returns the files of an npm archive by their names in it.
func unpack(archive, integrity string) (map[string][]byte, error) {
	packed, err := os.ReadFile(archive)
	if err != nil {
		return nil, err
	}
	sum := sha512.Sum512(packed)
	if got := "sha512-" + base64.StdEncoding.EncodeToString(sum[:]); got != integrity {
		return nil, fmt.Errorf("the archive has the integrity %s, source.json says %s", got, integrity)
	}
	unzipped, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, err
	}
	files := map[string][]byte{}
	for entries := tar.NewReader(unzipped); ; {
		entry, err := entries.Next()
		if errors.Is(err, io.EOF) {
			return files, nil
		}
		if err != nil {
			return nil, err
		}
		content, err := io.ReadAll(entries)
		if err != nil {
			return nil, err
		}
		files[strings.TrimPrefix(entry.Name, "package/")] = content
	}
}

// assemble puts the parts into the page.
func assemble(template string, from source, files map[string][]byte) (string, error) {
	// A map of the source is fetched by developer tools, and there is none here.
	style := strings.TrimSuffix(string(files["swagger-ui.css"]), "\n/*# sourceMappingURL=swagger-ui.css.map*/")
	script := escape(string(files["swagger-ui-bundle.js"]))
	for part, text := range map[string]string{"swagger-ui.css": style, "swagger-ui-bundle.js": script} {
		for _, bad := range []string{"</style", "</script", "<!--", "<script", "sourceMappingURL", "\r", "\x00"} {
			if strings.Contains(strings.ToLower(text), strings.ToLower(bad)) {
				return "", fmt.Errorf("%s contains %q, which may not stand inside of a page", part, bad)
			}
		}
	}
	about := "It holds Swagger UI " + from.Version + ` (https://swagger.io/tools/swagger-ui),
  Copyright 2020-2021 SmartBear Software Inc., Apache License 2.0, which itself holds
  works under other licences; all are in the folder licenses next to the source of this
  page. Changed: where its script has the beginning of a comment or of an element named
  script, in strings and patterns, that is escaped; its style has no source map.`
	return strings.NewReplacer("{{about}}", about, "{{swagger-ui.css}}", style, "{{swagger-ui-bundle.js}}", script).Replace(template), nil
}

// escape writes what would change how HTML reads the rest of a script by other
// means. In the bundle it stands in strings and regular expressions alone, where
// both spellings mean the same.
func escape(script string) string {
	return strings.NewReplacer("<!--", `\x3C!--`, "<script", `\x3Cscript`).Replace(script)
}

// describe writes page_gen.go: what a server has to know of the page.
func describe(page string, from source) ([]byte, error) {
	list := func(element string) string {
		var hashes []string
		for _, text := range contents(page, element) {
			sum := sha256.Sum256([]byte(text))
			hashes = append(hashes, "'sha256-"+base64.StdEncoding.EncodeToString(sum[:])+"'")
		}
		return strings.Join(hashes, " ")
	}
	return format.Source(fmt.Appendf(nil, `// Code generated by scripts/docs-page from page.html and %s %s. DO NOT EDIT.

package docspage

const (
	pageSize = %d
	pageSum  = %q // SHA-256
	scripts  = %q
	styles   = %q
)
`, from.Package, from.Version, len(page), hexSum([]byte(page)), list("script"), list("style")))
}

// contents returns what the elements of that name hold.
func contents(page, element string) []string {
	var found []string
	for {
		_, rest, ok := strings.Cut(page, "<"+element+">")
		if !ok {
			return found
		}
		text, rest, _ := strings.Cut(rest, "</"+element+">")
		found, page = append(found, text), rest
	}
}

func compress(page string) []byte {
	var out bytes.Buffer
	w, _ := gzip.NewWriterLevel(&out, gzip.BestCompression) // the level is a known one
	_, _ = io.WriteString(w, page)                          // to memory
	_ = w.Close()
	return out.Bytes()
}

func hexSum(content []byte) string {
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:])
}
