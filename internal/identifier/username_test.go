package identifier_test

import (
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/keyfold/keyfold/internal/identifier"
)

func TestUsernameHasOneKeyHoweverItIsTyped(t *testing.T) {
	t.Parallel()
	for _, row := range []struct{ typed, display, key string }{
		{"alice", "alice", "alice"},
		{"Alice.B-c_9", "Alice.B-c_9", "alice.b-c_9"},
		{"Ａｌｉｃｅ", "Alice", "alice"},
		{"7", "7", "7"},
		{"Zoe\u0308", "Zo\u00eb", "zo\u00eb"},
		{"Ümit", "Ümit", "ümit"},
		{"ΣΊΣΥΦΟΣ", "ΣΊΣΥΦΟΣ", "σίσυφοσ"},
		{"हिन्दी", "हिन्दी", "हिन्दी"},
		{"שלום", "שלום", "שלום"},
		{"李小龍", "李小龍", "李小龍"},
		{"ﾊﾟﾄﾗ", "パトラ", "パトラ"},
		{"a..b--c", "a..b--c", "a..b--c"},
		{strings.Repeat("É", 64), strings.Repeat("É", 64), strings.Repeat("é", 64)},
		{strings.Repeat("e\u0301", 64), strings.Repeat("é", 64), strings.Repeat("é", 64)},
	} {
		t.Run(row.typed, func(t *testing.T) {
			display, key, ok := identifier.Username(row.typed)
			if !ok || display != row.display || key != row.key {
				t.Errorf("%q = %q, %q, %v; want %q, %q", row.typed, display, key, ok, row.display, row.key)
			}
		})
	}
}

func TestUsernameIsRefused(t *testing.T) {
	t.Parallel()
	for what, names := range map[string][]string{
		"empty":                  {"", " ", "\u200b"},
		"too long":               {strings.Repeat("a", 65), strings.Repeat("é", 65), strings.Repeat("e\u0301", 65), strings.Repeat("a", 1<<20)},
		"too long when folded":   {strings.Repeat("İ", 33), strings.Repeat("ß", 33)}, // each becomes two
		"no UTF-8":               {"\xff", "ali\xffce", "\xed\xa0\x80"},
		"the replacement itself": {"ali\ufffdce"},
		"an address":             {"user@host", "@", "a＠b"},
		"a path":                 {"../x", "a/b", `a\b`, ".", ".."},
		"punctuation outside":    {"-alice", "alice-", ".alice", "alice.", "_a", "a_", "-"},
		"control characters":     {"a\x00b", "a\nb", "a\tb", "a\u0085b"},
		"spaces":                 {"a b", " alice", "alice ", "a\u00a0b", "a\u3000b"},
		"invisible":              {"a\u200bb", "a\u200db", "a\u200cb", "a\u00adb", "\ufeffalice", "a\u202eb"},
		"symbols":                {"a+b", "a'b", "a$b", "☃", "😀", "½", "²", "a·b", "Ⅷ"},
		"a mark on nothing":      {"\u0301a", "a.\u0301b", "a-\u0301"},
		"right to left and left": {"שלוםabc", "abcשלום"},
	} {
		t.Run(what, func(t *testing.T) {
			for _, name := range names {
				if display, key, ok := identifier.Username(name); ok || display != "" || key != "" {
					t.Errorf("%s: %q = %q, %q, %v; want it refused", what, name, display, key, ok)
				}
			}
		})
	}
}

var usernamePattern = regexp.MustCompile(`^[\pL\p{Nd}][\pL\pM\p{Nd}._-]*$`)

func FuzzUsername(f *testing.F) {
	for _, name := range []string{"alice", "Ａ.b-C", "ΣΊΣΥΦΟΣ", "İ", "ﾊﾟ", "\xff", "a@b", "-a", "a\u0345", "ǅ", "ẞ", "\u1e9e\u0130"} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		display, key, ok := identifier.Username(name)
		if !ok {
			return
		}
		for _, form := range []string{display, key} {
			if n := utf8.RuneCountInString(form); n < 1 || n > 64 || !usernamePattern.MatchString(form) {
				t.Errorf("%q became %q", name, form)
			}
		}
		for _, form := range []string{name, display, key} {
			if _, again, ok := identifier.Username(form); !ok || again != key {
				t.Errorf("%q has key %q, and %q then has %q, %v", name, key, form, again, ok)
			}
			if isEmail, again, ok := identifier.Key(form); isEmail || again != key || !ok {
				t.Errorf("%q as a log-in = %v, %q, %v; want %q", form, isEmail, again, ok, key)
			}
		}
	})
}
