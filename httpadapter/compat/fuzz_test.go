package compat_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/keyfold/keyfold/httpadapter/compat"
)

// What a date is read as can be written, and is read the same again.
func FuzzParseDate(f *testing.F) {
	for _, seed := range []string{
		"2222-01-01", "2222-01-01T06:45:15Z", "2222-01-01 06:45:15.123456+05:30", "2222-01-01T06", "2222-22-22", "0001-01-01", "9999-12-31T23:59:59-01:00",
		"", "T", "2222-01-01T", "2222-01-01T1", "2222-01-01T06:45:15+99:99", "２２２２-01-01", "\x00",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		at, ok := compat.ParseDate(text)
		if !ok {
			return
		}
		if at.Location() != time.UTC || at.Nanosecond() != 0 || at.Year() < 1970 || at.Year() > 9999 {
			t.Errorf("%q is read as %v", text, at)
		}
		written := compat.FormatDate(at)
		if again, ok := compat.ParseDate(written); !ok || !again.Equal(at) {
			t.Errorf("%q is written as %q, which is read as %v, %v", text, written, again, ok)
		}
		if strings.ContainsFunc(text, func(r rune) bool { return !strings.ContainsRune("0123456789-+:.,TtZz ", r) }) {
			t.Errorf("%q is read as a date", text)
		}
	})
}

func FuzzParseBool(f *testing.F) {
	for _, seed := range []string{"true", "FALSE", "1", "off", "", "maybe", "tru\u0435", "ſ", "\x00"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		value, ok := compat.ParseBool(text)
		if !ok && value {
			t.Errorf("%q is true, and is no bool", text)
		}
		if ok && len(text) > len("false") {
			t.Errorf("%q is read as a bool", text)
		}
	})
}

// A guard finds at most two keys, whatever it is sent.
func FuzzKeysOf(f *testing.F) {
	f.Add("api-key=a&api-key=b", "c")
	f.Add("api-key=%00&%zz=1;x", "")
	f.Fuzz(func(t *testing.T, query, header string) {
		r := &http.Request{URL: &url.URL{RawQuery: query}, Header: http.Header{"Api-Key": {header}}}
		if keys := compat.KeysOf(r); len(keys) > 2 {
			t.Errorf("%d keys", len(keys))
		}
	})
}
