// Coupling measures how the files of a package depend on each other. Run it
// from the root of the repository:
//
//	go run ./internal/coupling [-edges] [DIR...]
//
// For each directory it type-checks the package without its tests and prints
// the number of files, the number of references (ordered pairs of files of
// which the first uses a name that the second declares), the largest knot (the
// files that reach each other through references), and the functions of more
// than 50 lines. With -edges it also prints every reference.
package main

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"go/ast"
	"go/build"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"log"
	"maps"
	"path/filepath"
	"slices"
	"strings"
)

// longFunction is the number of lines above which a function is reported.
const longFunction = 50

func main() {
	log.SetFlags(0)
	edges := flag.Bool("edges", false, "print every reference")
	flag.Parse()
	dirs := flag.Args()
	if len(dirs) == 0 {
		dirs = []string{"."}
	}
	for _, dir := range dirs {
		p, err := load(dir)
		if err != nil {
			log.Fatalf("coupling: %s: %v", dir, err)
		}
		p.print(dir, *edges)
	}
}

// pkg is a type-checked package: its files, and what each uses of the others.
type pkg struct {
	fset *token.FileSet
	asts []*ast.File
	uses map[string]map[string][]string // by using file, by declaring file: the names
}

// load parses and type-checks the package in dir.
func load(dir string) (*pkg, error) {
	found, err := build.ImportDir(dir, 0)
	if err != nil {
		return nil, err
	}
	p := &pkg{fset: token.NewFileSet(), uses: map[string]map[string][]string{}}
	for _, name := range found.GoFiles {
		file, err := parser.ParseFile(p.fset, filepath.Join(dir, name), nil, parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		p.asts = append(p.asts, file)
		p.uses[name] = map[string][]string{}
	}
	info := &types.Info{Uses: map[*ast.Ident]types.Object{}}
	var errs []error
	config := types.Config{
		Importer: importer.ForCompiler(p.fset, "source", nil),
		Error:    func(err error) { errs = append(errs, err) },
	}
	checked, err := config.Check(dir, p.fset, p.asts, info)
	if err != nil {
		return nil, errors.Join(errs...)
	}
	for ident, object := range info.Uses {
		if object.Pkg() != checked || !shared(checked, object) {
			continue
		}
		from, to := p.file(ident.Pos()), p.file(object.Pos())
		if from != to && !slices.Contains(p.uses[from][to], object.Name()) {
			p.uses[from][to] = append(p.uses[from][to], object.Name())
		}
	}
	return p, nil
}

// shared reports whether other files can use an object: it is declared at
// package level, or is a method or a field.
func shared(checked *types.Package, object types.Object) bool {
	switch object := object.(type) {
	case *types.Var:
		return object.IsField() || object.Parent() == checked.Scope()
	case *types.Func:
		return true
	default:
		return object.Parent() == checked.Scope()
	}
}

func (p *pkg) file(pos token.Pos) string { return filepath.Base(p.fset.Position(pos).Filename) }

func (p *pkg) print(dir string, edges bool) {
	references := 0
	for _, to := range p.uses {
		references += len(to)
	}
	knot := p.knot()
	fmt.Printf("%s: %d files, %d references, largest knot %d\n", dir, len(p.asts), references, len(knot))
	if len(knot) > 1 {
		fmt.Printf("  knot: %s\n", strings.Join(knot, " "))
	}
	for _, line := range p.longFunctions() {
		fmt.Printf("  %s\n", line)
	}
	if !edges {
		return
	}
	for _, from := range slices.Sorted(maps.Keys(p.uses)) {
		for _, to := range slices.Sorted(maps.Keys(p.uses[from])) {
			names := p.uses[from][to]
			slices.Sort(names)
			fmt.Printf("  %s -> %s: %s\n", from, to, strings.Join(names, " "))
		}
	}
}

// knot returns the largest set of files of which each reaches each other.
func (p *pkg) knot() []string {
	reached := map[string]map[string]bool{}
	for from := range p.uses {
		reached[from] = map[string]bool{}
		p.reach(from, reached[from])
	}
	var largest []string
	for from := range p.uses {
		var together []string
		for to := range reached[from] {
			if reached[to][from] {
				together = append(together, to)
			}
		}
		if len(together) > len(largest) {
			largest = together
		}
	}
	slices.Sort(largest)
	return largest
}

// reach adds every file that from leads to.
func (p *pkg) reach(from string, reached map[string]bool) {
	for to := range p.uses[from] {
		if !reached[to] {
			reached[to] = true
			p.reach(to, reached)
		}
	}
}

// longFunctions returns a line for each function of more than longFunction
// lines, the longest first.
func (p *pkg) longFunctions() []string {
	type found struct {
		lines int
		text  string
	}
	var long []found
	for _, file := range p.asts {
		for _, decl := range file.Decls {
			f, ok := decl.(*ast.FuncDecl)
			if !ok {
				continue
			}
			from, to := p.fset.Position(f.Pos()), p.fset.Position(f.End())
			if lines := to.Line - from.Line + 1; lines > longFunction {
				long = append(long, found{lines, fmt.Sprintf("%s:%d: %s has %d lines",
					filepath.Base(from.Filename), from.Line, f.Name.Name, lines)})
			}
		}
	}
	slices.SortFunc(long, func(a, b found) int { return cmp.Compare(b.lines, a.lines) })
	texts := make([]string, len(long))
	for i, f := range long {
		texts[i] = f.text
	}
	return texts
}
