package casefold_test

import (
	"strings"
	"testing"
	"unicode"

	"golang.org/x/text/unicode/norm"

	"github.com/keyfold/keyfold/internal/casefold"
)

// Tried: each case of correct left out, NFC in place of NFKC, and each of the two
// normalizations left out.
func TestTextsThatDifferInCaseHaveOneForm(t *testing.T) {
	t.Parallel()
	for want, texts := range map[string][]string{
		"":        {""},
		"σίσυφοσ": {"Σίσυφος", "ΣΊΣΥΦΟΣ", "Σίσυφοσ"},
		"strasse": {"Straße", "STRASSE", "STRAẞE"},
		"i\u0307": {"İ", "I\u0307", "ı\u0307"},
		"isik":    {"ısık", "ISIK"},
		"ᎠᏰ":      {"Ꭰᏸ", "ꭰᏸ", "ꭰᏰ", "ᎠᏰ"},
		"გა":      {"ᲒᲐ", "გა"},
		"office":  {"oﬃce", "ＯＦＦＩＣＥ"},
		"άι":      {"ᾴ", "ᾳ\u0301"},
	} {
		t.Run(want, func(t *testing.T) {
			for _, text := range texts {
				if got := casefold.String(text); got != want {
					t.Errorf("%q folds to %q, want %q", text, got, want)
				}
			}
		})
	}
}

// Every letter with every mark that may compose with it.
func TestFoldingTwiceChangesNothing(t *testing.T) {
	t.Parallel()
	marks := []string{"", "ι", "i", "s", "\u3099", "\u309a"}
	for mark := rune(0x300); mark < 0x370; mark++ {
		marks = append(marks, string(mark))
	}
	for r := range unicode.MaxRune + 1 {
		normal := norm.NFKC.String(string(r))
		if !unicode.IsMark(r) && unicode.SimpleFold(r) == r && casefold.String(normal) == normal {
			continue // it has no case
		}
		for _, mark := range marks {
			text := string(r) + mark
			if form := casefold.String(text); casefold.String(form) != form {
				t.Errorf("%q folds to %q, and that to %q", text, form, casefold.String(form))
			}
		}
	}
}

func TestEveryCharacterFoldsLikeItsOtherCases(t *testing.T) {
	t.Parallel()
	for r := range unicode.MaxRune + 1 {
		form := casefold.String(string(r))
		for other := unicode.SimpleFold(r); other != r; other = unicode.SimpleFold(other) {
			if got := casefold.String(string(other)); got != form {
				t.Errorf("%q folds to %q, %q to %q", r, form, other, got)
			}
		}
	}
}

func FuzzFoldingTwiceChangesNothing(f *testing.F) {
	for _, text := range []string{"Σίσυφος", "Straße", "ıİiI", "\u0345\u0301", "ᾳ\u0301", "ΐ", "ꭰᏸ", "oﬃce", "ŉ", "ẞ", "\ufdfa", "\xff", strings.Repeat("\u0345\u0301", 20)} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		form := casefold.String(text)
		if again := casefold.String(form); again != form || !norm.NFKC.IsNormalString(form) {
			t.Errorf("%q folds to %q, and that to %q", text, form, again)
		}
	})
}
