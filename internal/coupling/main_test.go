package main

import (
	"maps"
	"slices"
	"testing"
)

func TestReferencesAndKnotOfASmallPackage(t *testing.T) {
	t.Parallel()
	p, err := load("testdata/knot")
	if err != nil {
		t.Fatal(err)
	}
	want := map[string][]string{"a.go": {"b.go", "c.go"}, "b.go": {"a.go"}, "c.go": nil}
	for from, to := range p.uses {
		if got := slices.Sorted(maps.Keys(to)); !slices.Equal(got, want[from]) {
			t.Errorf("%s refers to %v, want %v", from, got, want[from])
		}
	}
	if got := p.knot(); !slices.Equal(got, []string{"a.go", "b.go"}) {
		t.Errorf("the largest knot is %v, want a.go and b.go", got)
	}
	if got := p.longFunctions(); len(got) != 0 {
		t.Errorf("long functions: %v, want none", got)
	}
}
