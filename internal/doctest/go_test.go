//go:build unix

package doctest

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

const (
	buildTime = 5 * time.Minute  // with a cold cache, while other packages are tested
	patience  = 30 * time.Second // for anything that a page starts

	blocksPath = "internal/doctest/blocks"
)

// binaries is what the blocks of the pages were built into.
type binaries struct {
	keyfold   string
	programs  map[*block]string
	fragments string // a test binary with a test for each fragment
}

// build compiles every block of Go. The files are laid over the module without
// being written into it, so that no other process sees them there.
func build(t *testing.T, all []*page) binaries {
	t.Helper()
	lookAtSources(t)
	dir := t.TempDir()
	overlay := map[string]string{}
	built := binaries{keyfold: filepath.Join(dir, "keyfold"), programs: map[*block]string{}, fragments: filepath.Join(dir, "fragments")}
	module, err := filepath.Abs(root)
	if err != nil {
		t.Fatal(err)
	}
	lay := func(name, text string) {
		real := filepath.Join(dir, strings.ReplaceAll(name, "/", "_"))
		if err := os.WriteFile(real, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		overlay[filepath.Join(module, blocksPath, filepath.FromSlash(name))] = real
	}
	var imports, tests strings.Builder
	for _, p := range all {
		for _, b := range p.blocks {
			switch {
			case b.tag != "go" || b.has("from"):
			case b.isProgram():
				lay(b.id+"/main.go", p.substitutions(nil).Replace(b.text))
				built.programs[b] = filepath.Join(dir, b.id)
			default:
				lay(b.id+"/block.go", b.wrap(t))
				fmt.Fprintf(&imports, "\t%q\n", "github.com/keyfold/keyfold/"+blocksPath+"/"+b.id)
				fmt.Fprintf(&tests, "func Test_%s(t *testing.T) { %s.Run(t) }\n", b.id, b.id)
			}
		}
	}
	lay("blocks_test.go", "package blocks\n\nimport (\n\t\"testing\"\n"+imports.String()+")\n\n"+tests.String())

	encoded, err := json.Marshal(map[string]any{"Replace": overlay})
	if err != nil {
		t.Fatal(err)
	}
	list := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(list, encoded, 0o600); err != nil {
		t.Fatal(err)
	}
	compile := func(command []string, args ...string) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), buildTime)
		defer cancel()
		cmd := exec.CommandContext(ctx, "go", append(command, args...)...)
		cmd.Dir = root
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("go %s: %v\n%s", command[0], err, bytes.TrimSpace(out))
		}
	}
	test := slices.Concat([]string{"test", "-c", "-vet=off"}, buildFlags[1:])
	compile(buildFlags, "-o", built.keyfold, "./cmd/keyfold")
	compile(test, "-overlay", list, "-o", built.fragments, "./"+blocksPath)
	for b, binary := range built.programs {
		compile(buildFlags, "-overlay", list, "-o", binary, "./"+blocksPath+"/"+b.id)
	}
	return built
}

// lookAtSources makes go test run this again, rather than repeat an answer, when
// what the blocks are built with has changed: it remembers what a test looked at.
func lookAtSources(t *testing.T) {
	t.Helper()
	err := filepath.WalkDir(root, func(name string, entry os.DirEntry, err error) error {
		if err == nil && entry.IsDir() && strings.HasPrefix(entry.Name(), ".") && name != root {
			return filepath.SkipDir
		}
		if ext := filepath.Ext(name); err == nil && (ext == ".go" || ext == ".sql" || ext == ".mod") {
			_, err = os.Stat(name)
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil // another test's, and gone
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

var placeholder = regexp.MustCompile(`(?m)^\s*// BLOCK$`)

// wrap puts a fragment into the file that its comment names, in place of the
// line "// BLOCK". Imports that the result does not use go away.
func (b *block) wrap(t *testing.T) string {
	t.Helper()
	name := filepath.Join("testdata", b.words["in"]+".go")
	wrapper, err := os.ReadFile(name)
	if err != nil {
		t.Fatalf("%v: %v", b, err)
	}
	at := placeholder.FindIndex(wrapper)
	if at == nil {
		t.Fatalf("%s has no line // BLOCK", name)
	}
	rest := bytes.Count(wrapper[:at[1]], []byte("\n")) + 2
	text := strings.Replace(string(wrapper[:at[0]]), "RUN(", b.words["run"]+"(", 1) + fmt.Sprintf("//line %s:%d\n%s//line %s:%d\n", b.page.name, b.line, b.text, name, rest-1)
	for variable := range strings.SplitSeq(b.words["use"], ",") {
		switch variable {
		case "":
		case "err":
			text += "if err != nil { t.Fatal(err) }; "
		default:
			text += "_ = " + variable + "; "
		}
	}
	text = strings.Replace(text+string(wrapper[at[1]:]), "package wrapper", "package "+b.id, 1)
	return b.prune(t, text)
}

// prune blanks the imports out that nothing uses.
func (b *block) prune(t *testing.T, text string) string {
	t.Helper()
	files := token.NewFileSet()
	file, err := parser.ParseFile(files, "", text, parser.SkipObjectResolution)
	if err != nil {
		t.Fatalf("%v: %v", b, err)
	}
	used := map[string]bool{}
	ast.Inspect(file, func(n ast.Node) bool {
		if selector, ok := n.(*ast.SelectorExpr); ok {
			if pkg, ok := selector.X.(*ast.Ident); ok {
				used[pkg.Name] = true
			}
		}
		return true
	})
	source := []byte(text)
	for _, spec := range file.Imports {
		importPath, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			t.Fatal(err)
		}
		name := path.Base(importPath)
		if name == "v5" {
			name = path.Base(path.Dir(importPath))
		}
		if spec.Name != nil {
			name = spec.Name.Name
		}
		if name != "_" && !used[name] {
			start, end := files.PositionFor(spec.Pos(), false).Offset, files.PositionFor(spec.End(), false).Offset
			copy(source[start:end], bytes.Repeat([]byte(" "), end-start))
		}
	}
	return string(source)
}

// noise is what a test binary prints of its own under -test.v.
var noise = regexp.MustCompile(`(?m)^(=== .*|\s*--- .*|PASS|FAIL)\n`)

// runFragment runs the test of a fragment.
func (b *block) runFragment(t *testing.T, binary string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary, "-test.v", "-test.run", "^Test_"+b.id+"$")
	cmd.Dir, cmd.Env = t.TempDir(), append(os.Environ(), "KEYFOLD_SECRET="+rand.Text()+rand.Text())
	var out, log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &log
	err := cmd.Run()
	switch {
	case err != nil:
		t.Fatalf("%v: %v\n%s%s", b, err, &out, &log)
	case strings.Contains(out.String(), "--- SKIP"):
		t.Skipf("%v: %s", b, &out)
	}
	b.check(t, noise.ReplaceAllString(out.String(), ""))
}

// runProgram runs a program that ends by itself.
func (b *block) runProgram(t *testing.T, binary string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary)
	cmd.Dir = t.TempDir()
	var log bytes.Buffer
	cmd.Stderr = &log
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %v\n%s%s", b, err, out, &log)
	}
	b.check(t, string(out))
}

func (b *block) check(t *testing.T, output string) {
	t.Helper()
	switch {
	case b.output != nil:
		if err := b.output.matches(output); err != nil {
			t.Error(err)
		}
	case strings.TrimSpace(output) != "":
		t.Errorf("%v: it prints what the page does not show:\n%s", b, output)
	}
}
