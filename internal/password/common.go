package password

import (
	"crypto/sha256"
	_ "embed"
	"encoding/binary"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/keyfold/keyfold/internal/casefold"
)

// blocklist contains common passwords in lower case, as a set of 32-bit hashes. It begins
// with the number of hashes for each of the 65 536 high halves, one byte each. The low
// halves follow in ascending order, two bytes each. It is searched in place, so that it
// needs no memory on the heap.
//
// internal/mkblocklist writes the file and documents the source of the passwords.
//
//go:generate go run ../mkblocklist -o blocklist.bin 10_million_password_list_top_1M.txt
//go:embed blocklist.bin
var blocklist string

const blocklistBuckets = 1 << 16

// isListed reports whether the word is in the blocklist. It never misses a listed word.
// A word that is not listed is reported with a probability of 1 in 15 000; its user then
// has to choose another password.
func isListed(word string) bool {
	sum := sha256.Sum256([]byte(word))
	bucket, low := int(binary.BigEndian.Uint16(sum[:])), string(sum[2:4])
	at := blocklistBuckets
	for i := range bucket {
		at += 2 * int(blocklist[i])
	}
	for range int(blocklist[bucket]) {
		if blocklist[at:at+2] == low {
			return true
		}
		at += 2
	}
	return false
}

// minRun is the length of the shortest run. In a shorter word, most steps could be
// coincidences.
const minRun = 6

// maxDecoration is the number of digits and symbols, such as a date or exclamation marks,
// that can be added to a common password without making it a good one.
const maxDecoration = 8

// IsCommon reports whether a password is among those that attackers try first. See
// IsCommonPassword in the root package.
func IsCommon(password string) bool {
	normal, ok := Normalize(password)
	if !ok {
		return false
	}
	folded := casefold.String(normal)
	if isGuessed(folded) {
		return true
	}
	// If other characters make up more than half of the password, an attacker has to
	// guess those too.
	words := onlyWords(folded)
	return 2*len(words) >= len(folded) && isGuessed(words)
}

// isGuessed reports whether the word is common. It removes repetitions and decoration
// until the word is in the blocklist, is a run, or cannot be shortened further.
func isGuessed(word string) bool {
	for utf8.RuneCountInString(word) >= minWord {
		if isListed(word) || isRun(word) {
			return true
		}
		rest := repeated(word)
		if rest != word && utf8.RuneCountInString(rest) <= minWord {
			return true
		}
		if rest == word {
			if rest = undecorated(word); rest == word {
				return false
			}
		}
		word = rest
	}
	return false
}

// repeated returns the shortest prefix whose repetition gives the word. The prefix must
// occur at least twice; a further occurrence may be incomplete. If there is no such prefix,
// repeated returns the word.
func repeated(word string) string {
	runes := []rune(word)
	for period := 1; period <= len(runes)/2; period++ {
		same := true
		for i := period; same && i < len(runes); i++ {
			same = runes[i] == runes[i-period]
		}
		if same {
			return string(runes[:period])
		}
	}
	return word
}

// undecorated returns the word without the digits and symbols at its ends, unless they
// make it much harder to guess.
func undecorated(word string) string {
	isDecoration := func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsMark(r) }
	rest := strings.TrimLeftFunc(word, isDecoration)
	before := word[:len(word)-len(rest)]
	core := strings.TrimRightFunc(rest, isDecoration)
	after := rest[len(core):]
	if effort(before)+effort(after) > maxDecoration {
		return word
	}
	return core
}

// effort returns the number of characters that an attacker must guess.
func effort(decoration string) int {
	if isRun(decoration) {
		return 0
	}
	return utf8.RuneCountInString(decoration)
}

// isRun reports whether at least three of four steps from one character to the next lead
// to the same character, to its neighbour in the alphabet or among the digits, or to a
// neighbour on a keyboard. Examples are "aaaaaaaa", "12344321" and "1qaz2wsx3edc". In
// English text, about one step in five does.
func isRun(word string) bool {
	runes := []rune(word)
	if len(runes) < minRun {
		return false
	}
	steps := 0
	for i, r := range runes[1:] {
		if distance := r - runes[i]; distance >= -1 && distance <= 1 || areNeighbours(runes[i], r) {
			steps++
		}
	}
	return 4*steps >= 3*(len(runes)-1)
}

// areNeighbours reports whether two keys are adjacent on a US keyboard.
func areNeighbours(a, b rune) bool {
	rowA, leftA, okA := keyPlace(a)
	rowB, leftB, okB := keyPlace(b)
	if !okA || !okB {
		return false
	}
	apart := max(leftA-leftB, leftB-leftA)
	switch rowA - rowB {
	case 0:
		return apart == 4
	case 1, -1:
		return apart < 4
	}
	return false
}

// keyPlace returns the row of a key and its distance from the left edge. The distance is
// in quarters of a key, because the rows are offset by fractions of a key.
func keyPlace(key rune) (row, left int, ok bool) {
	if key >= utf8.RuneSelf {
		return 0, 0, false
	}
	rows := [...]struct {
		plain, shifted string
		left           int
	}{
		{"`1234567890-=", "~!@#$%^&*()_+", 0},
		{`qwertyuiop[]\`, `QWERTYUIOP{}|`, 6},
		{"asdfghjkl;'", `ASDFGHJKL:"`, 7},
		{"zxcvbnm,./", "ZXCVBNM<>?", 9},
	}
	for row := range rows {
		for _, keys := range [...]string{rows[row].plain, rows[row].shifted} {
			if i := strings.IndexByte(keys, byte(key)); i >= 0 {
				return row, rows[row].left + 4*i, true
			}
		}
	}
	return 0, 0, false
}
