// Package casefold compares texts that people type without regard to case.
package casefold

import (
	"strings"
	"unicode"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"
)

// String returns the form by which texts are compared: with full case folding
// and in NFKC, so that "ΣΊΣΥΦΟΣ", "Σίσυφος" and "σίσυφοσ" have one form, and so
// do "Straße" and "STRASSE". Folding a folded text changes nothing.
//
// Lower case, as RFC 8265 has it, is not enough: the two lower-case sigmas stay
// different, and so do "ß" and the "SS" that it becomes in capitals.
//
// Unicode's folding is changed in one point: a dotless "ı" becomes "i". Its
// capital is "I", which folds to "i", so a text in capitals would otherwise have
// another form. "İ" stays different: it folds to an "i" with a second dot.
func String(s string) string {
	// Folding needs composed letters, and takes some of them apart.
	return norm.NFKC.String(strings.Map(correct, cases.Fold().String(norm.NFKC.String(s))))
}

// correct replaces the characters that cases.Fold leaves as they should not be.
func correct(r rune) rune {
	switch {
	case r == 'ı':
		return 'i'
	case unicode.Is(unicode.Cherokee, r):
		// Cherokee folds to its capitals, which are older than its small letters.
		// cases.Fold swaps the two instead.
		return unicode.ToUpper(r)
	}
	return r
}
