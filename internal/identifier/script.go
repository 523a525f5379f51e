package identifier

import (
	"slices"
	"unicode"
)

// HasOneScript reports whether the letters and marks of a name are of one script,
// so that "аdmin" with a Cyrillic "а" is not taken for "admin". It is the level
// Single Script of UTS #39, section 5.2: characters without a script of their own
// (digits, punctuation, most marks) go with any, and the scripts of Japanese
// (Han, Hiragana, Katakana), Korean (Han, Hangul) and Chinese (Han, Bopomofo)
// count as one each. Script extensions, by which a few characters without a
// script go only with some, are not looked at.
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

// writingSystems returns the script and the systems of several scripts that it
// is part of, by their codes in ISO 15924 (UTS #39, section 5.1).
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
