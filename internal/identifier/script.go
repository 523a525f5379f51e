package identifier

import (
	"slices"
	"unicode"
)

// HasOneScript reports whether the letters and marks of a name belong to one script, so
// that "аdmin" with a Cyrillic "а" is not mistaken for "admin". It implements the level
// Single Script of UTS #39, section 5.2. Characters without a script (digits, punctuation,
// most marks) may be combined with any script. The scripts of Japanese (Han, Hiragana,
// Katakana), Korean (Han, Hangul) and Chinese (Han, Bopomofo) count as one script each.
// Script extensions, which limit a few characters to some scripts, are ignored.
func HasOneScript(name string) bool {
	var possible []string // the writing systems of all characters so far
	begun := false
	for _, r := range name {
		if unicode.In(r, unicode.Common, unicode.Inherited) {
			continue
		}
		systems := writingSystems(scriptOf(r))
		if !begun {
			possible, begun = systems, true
			continue
		}
		possible = slices.DeleteFunc(possible, func(system string) bool { return !slices.Contains(systems, system) })
		if len(possible) == 0 {
			return false
		}
	}
	return true
}

// scriptOf returns the name of a character's script, or "" if it is not assigned.
func scriptOf(r rune) string {
	for name, table := range unicode.Scripts {
		if unicode.Is(table, r) {
			return name
		}
	}
	return ""
}

// writingSystems returns the ISO 15924 codes of the script and of the writing systems that
// include it (UTS #39, section 5.1).
func writingSystems(script string) []string {
	switch script {
	case "Han":
		return []string{script, "Jpan", "Kore", "Hanb"}
	case "Hiragana", "Katakana":
		return []string{script, "Jpan"}
	case "Hangul":
		return []string{script, "Kore"}
	case "Bopomofo":
		return []string{script, "Hanb"}
	}
	return []string{script}
}
