package scope_test

import (
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/keyfold/keyfold/internal/scope"
)

func TestGrammar(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]struct{ valid, concrete bool }{
		"read":                   {true, true},
		"orders.read":            {true, true},
		"repo:user:read":         {true, true},
		"https//api.example/v1":  {true, true},
		"A-1_b":                  {true, true},
		"a:b:c:d:e:f:g:h":        {true, true},
		strings.Repeat("a", 128): {true, true},
		"*":                      {true, false},
		"**":                     {true, false},
		"*:*":                    {true, false},
		"reports:*":              {true, false},
		"*:read":                 {true, false},
		"repo:*:read":            {true, false},
		"repo:**":                {true, false},
		"*:**":                   {true, false},

		"":                       {},
		":":                      {},
		"a:":                     {},
		":a":                     {},
		"a::b":                   {},
		"a:b:c:d:e:f:g:h:i":      {},
		strings.Repeat("a", 129): {},
		"a b":                    {},
		"a\n":                    {},
		"é":                      {},
		"re*:read":               {},
		"***":                    {},
		"**:read":                {},
		"a:**:b":                 {},
		"a:b**":                  {},
		"a,b":                    {},
		"a;b":                    {},
		"a\"b":                   {},
	} {
		t.Run(s, func(t *testing.T) {
			if got := scope.IsValid(s); got != want.valid {
				t.Errorf("IsValid(%q): got %v, want %v", s, got, want.valid)
			}
			if got := scope.IsConcrete(s); got != want.concrete {
				t.Errorf("IsConcrete(%q): got %v, want %v", s, got, want.concrete)
			}
		})
	}
}

// The table defines the relation; the property below holds it together.
func TestCovers(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		have, want string
		covers     bool
	}{
		{"read", "read", true},
		{"read", "write", false},
		{"read", "Read", false},
		{"read", "read:all", false},
		{"read:all", "read", false},
		{"reports:read", "reports:read", true},
		{"reports:read", "report:sread", false},

		{"*", "read", true},
		{"*", "*", true},
		{"*", "**", false},
		{"*", "reports:read", false},
		{"reports:*", "reports:read", true},
		{"reports:*", "reports", false},
		{"reports:*", "reports:read:all", false},
		{"reports:*", "reports:*", true},
		{"reports:*", "reports:**", false},
		{"*:read", "reports:read", true},
		{"*:read", "reports:write", false},
		{"repo:*:read", "repo:user:read", true},
		{"repo:*:read", "repo:read", false},
		{"*:*", "any:thing", true},
		{"*:*", "thing", false},
		{"*:*", "a:b:c", false},

		{"**", "read", true},
		{"**", "a:b:c", true},
		{"**", "*", true},
		{"**", "**", true},
		{"**", "a:**", true},
		{"repo:**", "repo:user", true},
		{"repo:**", "repo:user:read", true},
		{"repo:**", "repo", false},
		{"repo:**", "repo:*:read", true},
		{"repo:**", "repo:**", true},
		{"repo:**", "*:read", false},
		{"repo:**", "other:user", false},

		{"read", "*", false},
		{"reports:read", "reports:*", false},
		{"reports:read", "*:read", false},
		{"a:*:c", "a:**", false},
		{"*:**", "a:b", true},
		{"*:**", "a", false},
		{"*:**", "**", false}, // "**" is also "a", which has one segment
	} {
		t.Run(row.have, func(t *testing.T) {
			if got := scope.Covers(row.have, row.want); got != row.covers {
				t.Errorf("Covers(%q, %q): got %v, want %v", row.have, row.want, got, row.covers)
			}
		})
	}
}

// random returns a valid scope of few words, so that scopes often match.
func random(r *rand.Rand, words []string) string {
	segments := make([]string, 1+r.IntN(4))
	for i := range segments {
		segments[i] = words[r.IntN(len(words))]
	}
	if r.IntN(5) == 0 && strings.Contains(strings.Join(words, ""), "*") {
		segments[len(segments)-1] = "**"
	}
	return strings.Join(segments, ":")
}

// Seen to fail with "*" covering "**", and with a "**" that also stands for no
// segment.
func TestWhateverACoveredScopeGrantsTheCoveringOneGrants(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 2))
	covered, granted := 0, 0
	for range 200_000 {
		a, b := random(r, []string{"x", "y", "*"}), random(r, []string{"x", "y", "*"})
		concrete := random(r, []string{"x", "y"})
		if !scope.IsValid(a) || !scope.IsValid(b) || !scope.IsConcrete(concrete) {
			t.Fatalf("%q, %q or %q is not a scope", a, b, concrete)
		}
		if !scope.Covers(a, a) {
			t.Fatalf("%q does not cover itself", a)
		}
		if !scope.Covers(a, b) {
			continue
		}
		covered++
		if scope.Covers(b, concrete) {
			granted++
			if !scope.Covers(a, concrete) {
				t.Fatalf("%q covers %q, which grants %q, and does not grant that itself", a, b, concrete)
			}
		}
	}
	if covered < 1000 || granted < 1000 {
		t.Errorf("%d pairs of which one covers the other, %d with a scope that both grant: too few to prove anything", covered, granted)
	}
}

func TestNoUnionsOfScopesCover(t *testing.T) {
	t.Parallel()
	set := scope.Join([]string{"a:read", "b:*", "c:**"})
	for want, covers := range map[string]bool{
		"a:read": true, "b:write": true, "c:x:y": true, "a:write": false, "*:read": false, "b:**": false, "c:**": true, "a:*": false,
	} {
		t.Run(want, func(t *testing.T) {
			if got := set.Covers(want); got != covers {
				t.Errorf("Covers(%q): got %v, want %v", want, got, covers)
			}
		})
	}
	if !set.CoversAll(nil) || !set.CoversAll([]string{"a:read", "b:*"}) || set.CoversAll([]string{"a:read", "a:write"}) {
		t.Error("CoversAll does not ask for each")
	}
	if scope.Set("").Covers("a") {
		t.Error("an empty set covers something")
	}
}

func FuzzScope(f *testing.F) {
	for _, seed := range []string{"read", "a:*:**", "*:*", ":", "a::b"} {
		f.Add(seed, "a:b:c")
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		if scope.IsConcrete(a) && !scope.IsValid(a) {
			t.Errorf("%q is concrete and not valid", a)
		}
		if !scope.IsValid(a) || !scope.IsValid(b) {
			return
		}
		if !scope.Covers("**", a) || !scope.Covers(a, a) || scope.IsConcrete(a) && scope.Covers(a, b) && a != b {
			t.Errorf("Covers is wrong about %q and %q", a, b)
		}
		if got := string(scope.Join([]string{a, b})); strings.Count(got, " ") != 1 {
			t.Errorf("%q and %q joined are %q", a, b, got)
		}
	})
}
