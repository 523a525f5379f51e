package identifier_test

import (
	"strings"
	"testing"
	"unicode"

	"golang.org/x/text/cases"
	"golang.org/x/text/language"
	"golang.org/x/text/unicode/norm"

	"github.com/keyfold/keyfold/internal/casefold"
	"github.com/keyfold/keyfold/internal/identifier"
)

// Tried: lower case in place of folding, NFC in place of NFKC, and each case of
// correct left out.
func TestNamesThatDifferInCaseAreOne(t *testing.T) {
	t.Parallel()
	for what, row := range map[string]struct {
		key   string
		names []string
	}{
		"ASCII":            {"alice", []string{"alice", "Alice", "ALICE", "ａｌｉｃｅ"}},
		"the Kelvin sign":  {"kim", []string{"kim", "KIM", "\u212aim"}},
		"the final sigma":  {"σίσυφοσ", []string{"Σίσυφος", "ΣΊΣΥΦΟΣ", "Σίσυφοσ", "Σι\u0301συφος"}},
		"the sharp s":      {"strasse", []string{"straße", "STRASSE", "STRAẞE", "Strasse"}},
		"dotted capital i": {"i\u0307stanbul", []string{"İstanbul", "i\u0307stanbul", "I\u0307STANBUL"}},
		"dotless i":        {"isik", []string{"ısık", "ISIK", "isik"}},
		"iota subscript":   {"αι", []string{"ᾳ", "ΑΙ", "αι"}},
		"iota with marks":  {"\u0390", []string{"\u0390", "\u1fd3", "\u03aa\u0301", "Ι\u0308\u0301"}},
		"Cherokee":         {"ᎠᏰ", []string{"Ꭰᏸ", "ꭰᏸ", "ꭰᏰ"}},
		"Georgian":         {"გა", []string{"გა", "ᲒᲐ"}},
	} {
		t.Run(what, func(t *testing.T) {
			for _, name := range row.names {
				if _, key, ok := identifier.Username(name); !ok || key != row.key {
					t.Errorf("%s: the key of %q is %q, %v; want %q", what, name, key, ok, row.key)
				}
				if _, key, ok := identifier.Email(name + "@example.com"); !ok || key != row.key+"@example.com" {
					t.Errorf("%s: the key of %q as an address is %q, %v; want %q", what, name, key, ok, row.key)
				}
			}
		})
	}
}

func TestNamesOfDifferentLettersStayDifferent(t *testing.T) {
	t.Parallel()
	for _, names := range [][2]string{{"alice", "аlice"}, {"istanbul", "İstanbul"}, {"zoe", "zoë"}, {"a.b", "ab"}, {"o", "ø"}} {
		_, one, _ := identifier.Username(names[0])
		_, two, _ := identifier.Username(names[1])
		if one == two {
			t.Errorf("%q and %q are one name", names[0], names[1])
		}
	}
}

// checkFolding fails if the case of the name, or folding it twice, changes its key.
func checkFolding(t *testing.T, key func(string) (string, bool), name string) {
	t.Helper()
	want, ok := key(name)
	if !ok {
		return
	}
	// The mappings need a normal form: an iota subscript typed before an accent
	// would become a letter under that accent (Unicode, section 3.13).
	normal := norm.NFC.String(name)
	forms := map[string]string{
		"upper case":  cases.Upper(language.Und).String(normal),
		"lower case":  cases.Lower(language.Und, cases.HandleFinalSigma(false)).String(normal),
		"final sigma": cases.Lower(language.Und).String(normal),
	}
	for what, form := range forms {
		// A letter may become several in another case, which are too many then.
		if got, ok := key(form); ok && got != want {
			t.Errorf("%q has the key %q, and in %s %q the key %q", name, want, what, form, got)
		}
	}
	if got, ok := key(want); !ok || got != want {
		t.Errorf("%q has the key %q, whose key is %q, %v", name, want, got, ok)
	}
}

func usernameKey(name string) (string, bool) {
	_, key, ok := identifier.Username(name)
	return key, ok
}

func localPartKey(name string) (string, bool) {
	_, key, ok := identifier.Email(name + "@example.com")
	return strings.TrimSuffix(key, "@example.com"), ok
}

func TestEveryCharacterHasOneKeyInAnyCase(t *testing.T) {
	t.Parallel()
	checked := 0
	for r := range unicode.MaxRune + 1 {
		hasCase := unicode.SimpleFold(r) != r || casefold.String(string(r)) != string(r)
		if !unicode.IsMark(r) && (!hasCase || !unicode.IsLetter(r)) {
			continue
		}
		checked++
		for _, name := range []string{string(r), "a" + string(r), "α" + string(r) + "\u0301"} {
			checkFolding(t, usernameKey, name)
			checkFolding(t, localPartKey, name)
		}
		// All that Unicode takes for one letter.
		one, ok := usernameKey(string(r))
		for other := unicode.SimpleFold(r); ok && other != r; other = unicode.SimpleFold(other) {
			if two, ok := usernameKey(string(other)); ok && one != two {
				t.Errorf("%q has the key %q, %q has %q", r, one, other, two)
			}
		}
	}
	if checked < 4_000 {
		t.Errorf("%d characters were checked", checked)
	}
}

func FuzzFolding(f *testing.F) {
	for _, name := range []string{"Σίσυφος", "straße", "İıIi", "\u0345\u0301", "ᾳ\u0301", "ΐΰ", "ꭰᏸ", "ﬃ", "ŉ", "ǰ", "\u1e9e", "K", "ﷺ"} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		checkFolding(t, usernameKey, name)
		if !strings.Contains(name, "@") {
			checkFolding(t, localPartKey, name)
		}
	})
}
