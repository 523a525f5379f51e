package identifier_test

import (
	"testing"

	"github.com/keyfold/keyfold/internal/identifier"
)

// Tried: no systems of several scripts, and Latin in the systems of Han.
func TestNamesOfOneScript(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]bool{
		"":              true,
		"42":            true,
		"alice.b-c_9":   true,
		"zoe\u0308":     true, // with a mark of any script
		"Σίσυφος7":      true,
		"юзер":          true,
		"हिन्दी":        true,
		"שלום":          true,
		"李小龍":           true,
		"山田たろうタロー":      true, // Han, Hiragana, Katakana
		"たろうタロ":         true,
		"金철수":           true,  // Han, Hangul
		"李ㄅㄆ":           true,  // Han, Bopomofo
		"аlice":         false, // Cyrillic а
		"alicе":         false,
		"1.аlice":       false,
		"σlpha":         false,
		"田taro":         false,
		"たろ철수":          false,
		"ㄅたろ":           false,
		"李たろ철":          false, // each goes with Han, not with each other
		"철ㄅ":            false,
		"हिन्दीਪੰਜਾਬੀ":  false,
		"a\U000e0fffbc": false, // not assigned
	} {
		t.Run(name, func(t *testing.T) {
			if got := identifier.HasOneScript(name); got != want {
				t.Errorf("%q is of one script: %v, want %v", name, got, want)
			}
		})
	}
}
