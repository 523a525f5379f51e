package main

import (
	"bytes"
	"crypto/sha256"
	"slices"
	"strconv"
	"strings"
	"testing"
)

func TestWordsAreChosenByRankAndLength(t *testing.T) {
	t.Parallel()
	ranked := []string{"Password\r", "password", "qwerty", "abc", "pâsswort"}
	for i := range 500_000 {
		ranked = append(ranked, "f"+strconv.Itoa(i))
	}
	ranked = append(ranked, "eightlow", "twelvelowest", "")
	words := choose(ranked, []string{"aphraseofours"})
	for word, want := range map[string]bool{
		"password": true, "qwerty": true, "aphraseofours": true, "twelvelowest": true,
		"Password": false, "abc": false, "pâsswort": false, "eightlow": false, "": false,
		// Three words come before, so this word has rank 50 000.
		"f49996": true, "f49997": false,
	} {
		t.Run(word, func(t *testing.T) {
			if words[word] != want {
				t.Errorf("%q is chosen: %v", word, words[word])
			}
		})
	}
}

func TestEncodedHashesAreInOrder(t *testing.T) {
	t.Parallel()
	encoded, err := encode(map[string]bool{"password": true, "qwerty": true})
	if err != nil || len(encoded) != 1<<16+4 {
		t.Fatalf("%d bytes, %v", len(encoded), err)
	}
	password, qwerty := sha256.Sum256([]byte("password")), sha256.Sum256([]byte("qwerty"))
	sums := [][]byte{password[:4], qwerty[:4]}
	slices.SortFunc(sums, bytes.Compare)
	for i, sum := range sums {
		if count := encoded[int(sum[0])<<8|int(sum[1])]; count != 1 {
			t.Errorf("%d hashes begin with %x", count, sum[:2])
		}
		if low := encoded[1<<16+2*i:][:2]; !bytes.Equal(low, sum[2:]) {
			t.Errorf("hash %d ends with %x, want %x", i, low, sum[2:])
		}
	}
}

func TestPhrasesAreNormalized(t *testing.T) {
	t.Parallel()
	all := strings.Fields(phrases)
	if !slices.IsSorted(all) || len(all) != len(slices.Compact(slices.Clone(all))) {
		t.Error("the phrases are not sorted, each once")
	}
	for _, phrase := range all {
		if len(phrase) < 8 || strings.Trim(phrase, "abcdefghijklmnopqrstuvwxyz0123456789") != "" {
			t.Errorf("%q could never be looked up", phrase)
		}
	}
}
