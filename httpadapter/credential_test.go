package httpadapter_test

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/httpadapter"
)

const jwt = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln"

func TestExtractTokenFindsTheKey(t *testing.T) {
	t.Parallel()
	key, other := madeUp(""), madeUp("BBBBBBBBBBBBBBBB")
	type headers = http.Header
	for _, row := range []struct {
		name    string
		headers headers
		want    string
		err     error
	}{
		{"nothing at all", headers{}, "", nil},
		{"Bearer", headers{"Authorization": {"Bearer " + key}}, key, nil},
		{"the scheme in capitals", headers{"Authorization": {"BEARER " + key}}, key, nil},
		{"blanks all around", headers{"Authorization": {" \tbearer \t " + key + " \t"}}, key, nil},
		{"Bearer without a token", headers{"Authorization": {"Bearer"}}, "", nil},
		{"Bearer and blanks", headers{"Authorization": {"Bearer   "}}, "", nil},
		{"no blank after the scheme", headers{"Authorization": {"Bearer" + key}}, "", nil},
		{"no scheme", headers{"Authorization": {key}}, "", nil},
		{"Basic", headers{"Authorization": {"Basic dTpw"}}, "", nil},
		{"Basic beside a key", headers{"Authorization": {"Basic dTpw"}, "X-Api-Key": {key}}, key, nil},
		{"a key under another scheme", headers{"Authorization": {"Basic " + key}}, "", nil},
		{"X-API-Key", headers{"X-Api-Key": {key}}, key, nil},
		{"api-key", headers{"Api-Key": {key}}, key, nil},
		{"blanks only", headers{"X-Api-Key": {" \t "}, "Api-Key": {""}}, "", nil},
		{"an empty line before the key", headers{"X-Api-Key": {"", key}}, key, nil},
		{"a JWT beside a key", headers{"Authorization": {"Bearer " + jwt}, "X-Api-Key": {key}}, key, nil},
		{"a key as Bearer beside another system's", headers{"Authorization": {"Bearer " + key}, "X-Api-Key": {"sk-123"}}, key, nil},
		{"a JWT alone", headers{"Authorization": {"Bearer " + jwt}}, jwt, nil},
		{"nothing of the shape of a key", headers{"Authorization": {"Bearer " + jwt}, "Api-Key": {"b"}, "X-Api-Key": {"a"}}, "a", nil},
		{"a mistyped key", headers{"X-Api-Key": {key[:len(key)-1] + "~"}}, key[:len(key)-1] + "~", nil},
		{"a mistyped key beside a good one", headers{"X-Api-Key": {key + "x"}, "Api-Key": {key}}, key, nil},
		{"the same key three times", headers{"Authorization": {"Bearer " + key}, "X-Api-Key": {key, key}}, key, nil},
		{"two keys in two headers", headers{"Authorization": {"Bearer " + key}, "X-Api-Key": {other}}, "", httpadapter.ErrAmbiguous},
		{"two keys in one header", headers{"X-Api-Key": {key, other}}, "", httpadapter.ErrAmbiguous},
		{"two keys, the second again", headers{"X-Api-Key": {key, other, key}}, "", httpadapter.ErrAmbiguous},
		{"a comma between two keys", headers{"X-Api-Key": {key + "," + other}}, key + "," + other, nil},
	} {
		t.Run(row.name, func(t *testing.T) {
			got, err := httpadapter.ExtractToken(func(name string) []string { return row.headers[name] })
			if got != row.want || !errors.Is(err, row.err) {
				t.Errorf("%s: got %q, %v, want %q, %v", row.name, got, err, row.want, row.err)
			}
		})
	}
}

func TestExtractTokenUsesCanonicalNames(t *testing.T) {
	t.Parallel()
	_, _ = httpadapter.ExtractToken(func(name string) []string {
		if name != http.CanonicalHeaderKey(name) {
			t.Errorf("got %q, want %q", name, http.CanonicalHeaderKey(name))
		}
		return nil
	})
}

func TestExtractTokenDoesNotAllocate(t *testing.T) {
	huge := strings.Repeat("k", 1<<20)
	lines := slices.Repeat([]string{madeUp(""), huge, ""}, 1000)
	got := testing.AllocsPerRun(10, func() {
		_, _ = httpadapter.ExtractToken(func(string) []string { return lines })
	})
	if got != 0 {
		t.Errorf("got %v allocations, want none", got)
	}
}

func FuzzExtract(f *testing.F) {
	key := madeUp("")
	f.Add("Bearer "+key, key, "")
	f.Add("bearer\t"+jwt, madeUp("BBBBBBBBBBBBBBBB"), key)
	f.Add("Basic dTpw", " ", "\x00\xff")
	f.Fuzz(func(t *testing.T, authorization, xAPIKey, apiKey string) {
		header := http.Header{"Authorization": {authorization}, "X-Api-Key": {xAPIKey}, "Api-Key": {apiKey}}
		got, err := httpadapter.ExtractToken(func(name string) []string { return header[name] })
		if err != nil {
			if got != "" || !errors.Is(err, httpadapter.ErrAmbiguous) {
				t.Errorf("got %q, %v", got, err)
			}
			return
		}
		if got != strings.Trim(got, " \t") {
			t.Errorf("got %q, with blanks", got)
		}
		if !strings.Contains(authorization+"\n"+xAPIKey+"\n"+apiKey, got) {
			t.Errorf("got %q, which was not presented", got)
		}
		if _, err := keyfold.ParseToken(got); err == nil {
			return
		}
		for _, value := range []string{xAPIKey, apiKey} {
			if _, err := keyfold.ParseToken(value); err == nil {
				t.Errorf("got %q, though a key was presented", got)
			}
		}
	})
}
