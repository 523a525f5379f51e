// Package casefold compares text that people type, regardless of case.
package casefold

import (
	"strings"
	"unicode"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"
)

// String returns the comparison form of a text: NFKC with full case folding. "ΣΊΣΥΦΟΣ",
// "Σίσυφος" and "σίσυφοσ" have the same form, as do "Straße" and "STRASSE". Folding a
// folded text does not change it.
//
// Lower case, which RFC 8265 uses, is not sufficient: it keeps the two lower-case sigmas
// different, and "ß" different from its capital form "SS".
//
// String differs from the folding of Unicode in one point: a dotless "ı" becomes "i". Its
// capital is "I", which folds to "i", so the form of a text would otherwise change with
// its case. "İ" stays different: it folds to an "i" with a second dot.
func String(s string) string {
	// Folding needs composed letters, and decomposes some of them.
	return norm.NFKC.String(strings.Map(correct, cases.Fold().String(norm.NFKC.String(s))))
}

// correct replaces the characters that cases.Fold does not fold correctly.
func correct(r rune) rune {
	switch {
	case r == 'ı':
		return 'i'
	case unicode.Is(unicode.Cherokee, r):
		// Cherokee folds to its capitals, which are older than its small letters, but
		// cases.Fold exchanges the two.
		return unicode.ToUpper(r)
	}
	return r
}
