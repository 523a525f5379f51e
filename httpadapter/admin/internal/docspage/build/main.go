// Command build writes the page of package docspage: docs.html.gz, page_gen.go
// and the licences. Its argument is an archive of the npm package that source.json
// names, which scripts/docs-page downloads.
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

// source is source.json, which names the third-party parts of the page.
type source struct {
	Package   string            `json:"package"`
	Version   string            `json:"version"`
	Integrity string            `json:"integrity"` // of the archive, as npm states it
	Files     map[string]string `json:"files"`     // SHA-256 of the files that the page uses
}

// licences returns the names of the licence files in the archive, and the names
// that they have next to the page.
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

// unpack returns the files of an npm archive by name.
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

// assemble inserts the parts into the template.
func assemble(template string, from source, files map[string][]byte) (string, error) {
	// Developer tools would request the source map, which is not served.
	style := strings.TrimSuffix(string(files["swagger-ui.css"]), "\n/*# sourceMappingURL=swagger-ui.css.map*/")
	script := escape(string(files["swagger-ui-bundle.js"]))
	for part, text := range map[string]string{"swagger-ui.css": style, "swagger-ui-bundle.js": script} {
		for _, bad := range []string{"</style", "</script", "<!--", "<script", "sourceMappingURL", "\r", "\x00"} {
			if strings.Contains(strings.ToLower(text), strings.ToLower(bad)) {
				return "", fmt.Errorf("%s contains %q, which a page must not contain", part, bad)
			}
		}
	}
	about := "It holds Swagger UI " + from.Version + ` (https://swagger.io/tools/swagger-ui),
  Copyright 2020-2021 SmartBear Software Inc., Apache License 2.0, which itself holds
  works under other licences. All licences are in the folder licenses next to the source
  of this page. Changes: in strings and patterns of the script, the start of a comment
  or of an element named script is escaped; the link to a source map is removed from
  the style.`
	return strings.NewReplacer("{{about}}", about, "{{swagger-ui.css}}", style, "{{swagger-ui-bundle.js}}", script).Replace(template), nil
}

// escape replaces the texts that would change how HTML parses the rest of a script.
// In the bundle they occur only in strings and regular expressions, where the escaped
// form has the same meaning.
func escape(script string) string {
	return strings.NewReplacer("<!--", `\x3C!--`, "<script", `\x3Cscript`).Replace(script)
}

// describe returns page_gen.go, the constants that the server needs.
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

// contents returns the contents of the elements with that name.
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
	w, _ := gzip.NewWriterLevel(&out, gzip.BestCompression) // the level is valid
	_, _ = io.WriteString(w, page)                          // a Buffer accepts everything
	_ = w.Close()
	return out.Bytes()
}

func hexSum(content []byte) string {
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:])
}
