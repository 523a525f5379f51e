//go:build unix

// Package doctest compiles and runs what README.md and docs/ tell readers to
// compile and run.
//
// A page is Markdown with fenced blocks, none of which is passed over:
//
//	go        a complete program is built, and run to its end. Anything else is a
//	          fragment, which runs inside a file of testdata/.
//	sh        is typed into a terminal, in the order of the page.
//	text      the output of the block before; … stands for what differs or is left out.
//	json      the same, of which the output must hold at least these members.
//
// A block with another tag fails, and so does a fragment that names no file. An
// HTML comment on the line before a block, which readers do not see, says more:
//
//	<!-- doctest: in=service use=key,err -->      the file for a fragment; variables that it leaves
//	<!-- doctest: in=testing run=TestReports -->  the function of the fragment that the file calls
//	<!-- doctest: from=examples/gin/main.go -->   an excerpt of that file, which has tests of its own
//	<!-- doctest: program -->                     what "go run ." starts from here on; built, not run
//	<!-- doctest: stays -->                       stays in the foreground of a terminal of its own
//	<!-- doctest: again -->                       typed again until the output is as it is shown
//
// Two things differ from what a reader types, see [page.substitutions]: the
// port, and the binary in place of "go run".
package doctest

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
)

// root is the directory of the module.
const root = "../.."

// block is a fenced block of a page.
type block struct {
	page   *page
	line   int // of the first line inside
	tag    string
	text   string
	words  map[string]string // of the comment before it
	output *block            // what it is said to print; nil: nothing is said
	id     string            // a Go identifier
}

func (b *block) String() string { return fmt.Sprintf("%s:%d", b.page.name, b.line) }

// has reports whether the comment before the block holds that word.
func (b *block) has(word string) bool { _, ok := b.words[word]; return ok }

func (b *block) isProgram() bool { return strings.HasPrefix(b.text, "package main\n") }

// page is a Markdown file.
type page struct {
	name   string // relative to root
	text   string
	port   string // stands for 8080
	blocks []*block
}

// pages reads README.md and docs/*.md.
func pages(t *testing.T) []*page {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(root, "docs", "*.md"))
	if err != nil || len(names) == 0 {
		t.Fatalf("no pages in docs: %v", err)
	}
	var all []*page
	for _, name := range append(names, filepath.Join(root, "README.md")) {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		name, err = filepath.Rel(root, name)
		if err != nil {
			t.Fatal(err)
		}
		p := &page{name: filepath.ToSlash(name), text: string(text), port: freePort(t)}
		if err := p.parse(); err != nil {
			t.Error(err)
		}
		all = append(all, p)
	}
	return all
}

var (
	comment = regexp.MustCompile(`^<!-- doctest: (.*) -->$`)
	fence   = regexp.MustCompile("^\\s*(```|~~~)")
	words   = map[string]map[string]bool{ // allowed, by tag
		"go":   {"in": true, "use": true, "run": true, "from": true, "program": true},
		"sh":   {"stays": true, "again": true},
		"text": {}, "json": {},
	}
)

// parse finds the blocks. It is strict, so that a block that it does not
// understand is an error and not prose.
func (p *page) parse() error {
	var b *block
	said := ""
	for i, line := range strings.Split(p.text, "\n") {
		switch {
		case b != nil && line == "```":
			if err := p.add(b); err != nil {
				return err
			}
			b, said = nil, ""
		case b != nil:
			b.text += line + "\n"
		case fence.MatchString(line):
			tag, ok := strings.CutPrefix(line, "```")
			b = &block{page: p, line: i + 2, tag: tag, words: map[string]string{}, id: fmt.Sprintf("block%d", i+2)}
			b.id = regexp.MustCompile(`\W`).ReplaceAllString(p.name, "_") + "_" + b.id
			if words[tag] == nil || !ok {
				return fmt.Errorf("%v: a block is tagged go, sh, text or json, not %q, and is not indented", b, tag)
			}
			for word := range strings.FieldsSeq(said) {
				name, value, _ := strings.Cut(word, "=")
				if !words[tag][name] {
					return fmt.Errorf("%v: doctest knows no %q for a block of %s", b, name, tag)
				}
				b.words[name] = value
			}
		case comment.MatchString(line):
			said = comment.FindStringSubmatch(line)[1]
		case said != "":
			return fmt.Errorf("%s:%d: a doctest comment without a block behind it", p.name, i)
		case strings.Contains(line, "doctest:"):
			return fmt.Errorf("%s:%d: a doctest comment that is not of the form <!-- doctest: … -->", p.name, i+1)
		}
	}
	if b != nil {
		return fmt.Errorf("%v: the block does not end", b)
	}
	return nil
}

// add takes a block in, or notes it as the output of the one before.
func (p *page) add(b *block) error {
	if b.tag == "go" && !b.isProgram() && b.words["in"] == "" && b.words["from"] == "" {
		return fmt.Errorf("%v: a fragment needs a comment: <!-- doctest: in=… -->", b)
	}
	if b.tag != "text" && b.tag != "json" {
		p.blocks = append(p.blocks, b)
		return nil
	}
	if len(p.blocks) == 0 || p.blocks[len(p.blocks)-1].output != nil || p.blocks[len(p.blocks)-1].has("from") {
		return fmt.Errorf("%v: no block before this one has output", b)
	}
	p.blocks[len(p.blocks)-1].output = b
	return nil
}

// matches says whether the output is as the block shows it.
func (b *block) matches(output string) error {
	shown := b.page.substitutions(nil).Replace(b.text)
	if b.tag == "json" {
		var want, got any
		if err := json.Unmarshal([]byte(shown), &want); err != nil {
			return fmt.Errorf("%v: %w", b, err)
		}
		decoder := json.NewDecoder(strings.NewReader(output))
		if err := decoder.Decode(&got); err != nil || !within(want, got) {
			return fmt.Errorf("%v: got %q, %v, want at least\n%s", b, output, err, shown)
		}
		return nil
	}
	pattern := ""
	for line := range strings.Lines(strings.TrimSpace(shown)) {
		if line = strings.TrimSpace(line); line == "…" {
			pattern += `(?:.*\n)*?`
			continue
		}
		pattern += strings.ReplaceAll(regexp.QuoteMeta(line), "…", ".*") + `\n`
	}
	output = strings.TrimSpace(strings.ReplaceAll(output, "\r", "")) + "\n"
	if !regexp.MustCompile(`^` + pattern + `$`).MatchString(output) {
		return fmt.Errorf("%v: got\n%s\nwant\n%s", b, output, shown)
	}
	return nil
}

// within reports whether want is in got: objects may have more members, and …
// in a text stands for anything.
func within(want, got any) bool {
	switch want := want.(type) {
	case map[string]any:
		object, ok := got.(map[string]any)
		for name, value := range want {
			member, found := object[name]
			ok = ok && found && within(value, member)
		}
		return ok
	case []any:
		list, ok := got.([]any)
		ok = ok && len(list) == len(want)
		for i := 0; ok && i < len(want); i++ {
			ok = within(want[i], list[i])
		}
		return ok
	case string:
		text, ok := got.(string)
		return ok && regexp.MustCompile(`(?s)^`+strings.ReplaceAll(regexp.QuoteMeta(want), "…", ".+")+`$`).MatchString(text)
	}
	return reflect.DeepEqual(want, got)
}

var (
	link    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading = regexp.MustCompile(`(?m)^#+ (.*)$`)
	named   = regexp.MustCompile("`(Test\\w+)`")
)

func TestLinksLeadSomewhere(t *testing.T) {
	t.Parallel()
	for _, p := range pages(t) {
		for _, match := range link.FindAllStringSubmatch(p.text, -1) {
			target, anchor, _ := strings.Cut(match[1], "#")
			if strings.Contains(target, "://") {
				continue
			}
			path := filepath.Join(root, filepath.Dir(p.name), target)
			if target == "" {
				path = filepath.Join(root, p.name)
			}
			info, err := os.Stat(path)
			if err != nil {
				t.Errorf("%s links to %s, which is not there", p.name, match[1])
				continue
			}
			if anchor == "" || info.IsDir() {
				continue
			}
			if text, err := os.ReadFile(path); err != nil || !anchors(text)[anchor] {
				t.Errorf("%s links to %s, which has no such heading", p.name, match[1])
			}
		}
	}
}

// anchors returns the names that GitHub gives to headings.
func anchors(text []byte) map[string]bool {
	found := map[string]bool{}
	for _, match := range heading.FindAllSubmatch(text, -1) {
		name := strings.ReplaceAll(strings.ToLower(string(match[1])), " ", "-")
		found[regexp.MustCompile(`[^\w-]`).ReplaceAllString(name, "")] = true
	}
	return found
}

// Code that needs a module of its own, such as that of a web framework, is shown as
// an excerpt of a file that the tests of that module run.
func TestExcerptsAreInTheirFiles(t *testing.T) {
	t.Parallel()
	for _, p := range pages(t) {
		for _, b := range p.blocks {
			if !b.has("from") {
				continue
			}
			if err := b.isExcerpt(); err != nil {
				t.Error(err)
			}
		}
	}
	altered := &block{page: &page{name: "page.md"}, text: "module github.com/keyfold/another\n", words: map[string]string{"from": "go.mod"}}
	if altered.isExcerpt() == nil {
		t.Error("a block that differs from its file: got no error")
	}
}

// isExcerpt reports an error if the block is not part of the file that its comment
// names.
func (b *block) isExcerpt() error {
	source, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(b.words["from"])))
	if err != nil {
		return fmt.Errorf("%v: %w", b, err)
	}
	if !strings.Contains("\n"+string(source), "\n"+b.text) {
		return fmt.Errorf("%v: the block must be an excerpt of %s", b, b.words["from"])
	}
	return nil
}

// A page that says where something is tested must not outlive the test.
func TestTestsThatPagesNameExist(t *testing.T) {
	t.Parallel()
	tests := map[string]bool{}
	err := filepath.WalkDir(root, func(path string, entry os.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		for _, match := range regexp.MustCompile(`(?m)^func (Test\w+)\(`).FindAllSubmatch(text, -1) {
			tests[string(match[1])] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range pages(t) {
		for _, match := range named.FindAllStringSubmatch(p.text, -1) {
			if !tests[match[1]] {
				t.Errorf("%s names %s, which does not exist", p.name, match[1])
			}
		}
	}
}

// The parser itself: what it must not let pass.
func TestBlocksThatAreNotUnderstoodFail(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"an unknown tag":                "```yaml\na: b\n```\n",
		"no tag":                        "```\nls\n```\n",
		"tildes":                        "~~~go\n~~~\n",
		"an indented fence":             "- item\n\n  ```sh\n  ls\n  ```\n",
		"a fragment without a wrapper":  "```go\nx := 1\n```\n",
		"an unknown word":               "<!-- doctest: skip -->\n```sh\nls\n```\n",
		"a comment before prose":        "<!-- doctest: again -->\n\n```sh\nls\n```\n",
		"a comment that is misspelt":    "<!--doctest: again-->\n```sh\nls\n```\n",
		"output of an excerpt":          "<!-- doctest: from=go.mod -->\n```go\nx\n```\n```text\na\n```\n",
		"output of nothing":             "```text\nhello\n```\n",
		"a block that does not end":     "```sh\nls\n",
		"output of a block that has it": "```sh\nls\n```\n```text\na\n```\n```text\nb\n```\n",
	} {
		t.Run(name, func(t *testing.T) {
			if err := (&page{name: "page.md", text: text}).parse(); err == nil {
				t.Errorf("%s: got no error", name)
			}
		})
	}
}

func TestOutputIsComparedAsShown(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		tag, shown, output string
		want               bool
	}{
		{"text", "200 ok", "200 ok\n", true},
		{"text", "200 ok", "200 ok\nmore\n", false},
		{"text", "HTTP/1.1 401 Unauthorized\n…\n{…}", "HTTP/1.1 401 Unauthorized\r\nA: b\r\nC: d\r\n\r\n{\"a\":1}", true},
		{"text", "HTTP/1.1 401 Unauthorized\n…", "HTTP/1.1 200 OK\nA: b\n", false},
		{"text", "a.c", "abc\n", false},
		{"json", `{"uses": 2, "token": "kf_…"}`, `{"uses":2,"token":"kf_x","name":"ci"}`, true},
		{"json", `{"uses": 2}`, `{"uses":3}`, false},
		{"json", `{"uses": 2}`, `{}`, false},
		{"json", `{"last_used_at": "…"}`, `{"last_used_at":null}`, false},
		{"json", `{"scopes": ["a:b"]}`, `{"scopes":["a:b","c:d"]}`, false},
	} {
		t.Run(row.tag, func(t *testing.T) {
			b := &block{page: &page{name: "page.md"}, tag: row.tag, text: row.shown}
			if err := b.matches(row.output); (err == nil) != row.want {
				t.Errorf("%q against %q: %v, want a match: %v", row.shown, row.output, err, row.want)
			}
		})
	}
}
