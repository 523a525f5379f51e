package text

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func TestPlainCutsAndCleans(t *testing.T) {
	t.Parallel()
	for _, row := range []struct{ name, text, want string }{
		{"plain text", "GET /ä", "GET /ä"},
		{"empty", "", ""},
		{"too long", strings.Repeat("a", 20), strings.Repeat("a", 10)},
		{"a character on the bound", "123456789ä", "123456789"},
		{"bytes that are not UTF-8", "a\xffb", "ab"},
		{"a new line", "a\nb", ""},
		{"NUL", "a\x00b", ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			if got := Plain(row.text, 10); got != row.want {
				t.Errorf("%s: %q, want %q", row.name, got, row.want)
			}
		})
	}
}

func FuzzPlainIsPlain(f *testing.F) {
	f.Add("a\xc3", 1)
	f.Fuzz(func(t *testing.T, s string, limit int) {
		limit &= 0xff
		got := Plain(s, limit)
		if len(got) > limit || !utf8.ValidString(got) || !IsPlain(got) {
			t.Fatalf("Plain(%q, %d) = %q", s, limit, got)
		}
		if len(s) <= limit && IsPlain(s) && got != s {
			t.Fatalf("Plain(%q, %d) = %q, want the text itself", s, limit, got)
		}
	})
}
