package keyfold_test

import (
	"bytes"
	"encoding/gob"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/keyfold/keyfold"
)

// What is shown besides secrets; that they are not is for internal/secrecytest.
func TestPrintedValuesShowTheOtherFields(t *testing.T) {
	t.Parallel()
	_, token, err := newService(t, newSpy(), nil).CreateKey(t.Context(), keyfold.NewKey{})
	if err != nil {
		t.Fatal(err)
	}
	pepper := map[string][]byte{"2026": bytes.Repeat([]byte("p"), 32)}
	for _, c := range []struct {
		value      any
		text, json string
	}{
		{
			keyfold.Credentials{Identifier: "ann", Password: "hunter two", IP: netip.MustParseAddr("192.0.2.1")},
			"{Identifier:ann Password:[secret] IP:192.0.2.1}", `{"Identifier":"ann","Password":"[secret]","IP":"192.0.2.1"}`,
		},
		{&keyfold.Credentials{Identifier: "ann"}, "{Identifier:ann}", `{"Identifier":"ann"}`},
		{keyfold.NewUser{}, "{}", `{}`},
		{
			keyfold.Request{Token: token.Reveal(), Scopes: []string{"a:b"}},
			"{Token:" + token.String() + " Scopes:[a:b]}", `{"Token":"` + token.String() + `","Scopes":["a:b"]}`,
		},
		{keyfold.Request{Token: "hunter two"}, "{Token:[secret]}", `{"Token":"[secret]"}`},
		{
			keyfold.Options{Prefix: "acme", KeyTTL: time.Hour, Peppers: pepper, PasswordPolicy: keyfold.PasswordPolicy{MinLength: 8}, Logger: slog.Default(), Now: time.Now},
			"{Prefix:acme KeyTTL:1h0m0s Peppers:map[2026:[secret]] PasswordPolicy:{MinLength:8} Logger:*slog.Logger Now:[set]}",
			`{"Prefix":"acme","KeyTTL":"1h0m0s","Peppers":{"2026":"[secret]"},"PasswordPolicy":{"MinLength":8},"Logger":"*slog.Logger","Now":"[set]"}`,
		},
		{
			keyfold.UserRecord{User: keyfold.User{ID: "u", Version: 1}, EmailKey: "-u", PasswordHash: "$argon2id$"},
			"{ID:u Version:1 EmailKey:-u PasswordHash:[secret]}", `{"ID":"u","Version":1,"EmailKey":"-u","PasswordHash":"[secret]"}`,
		},
		{
			keyfold.KeyRecord{Key: keyfold.Key{ID: "k"}, Secret: keyfold.SecretHash{Alg: "kf2", Sum: [32]byte{1}}},
			"{ID:k Secret:{Alg:kf2 Sum:[secret]}}", `{"ID":"k","Secret":{"Alg":"kf2","Sum":"[secret]"}}`,
		},
	} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x"} {
			if got := fmt.Sprintf(verb, c.value); got != c.text {
				t.Errorf("%s: %s, want %s", verb, got, c.text)
			}
		}
		encoded, err := json.Marshal(c.value)
		if err != nil || string(encoded) != c.json {
			t.Errorf("JSON: %s, %v, want %s", encoded, err, c.json)
		}
		var log bytes.Buffer
		slog.New(slog.NewJSONHandler(&log, nil)).Info("m", "v", c.value)
		if _, got, _ := strings.Cut(log.String(), `"v":`); c.json != "{}" && !strings.Contains(c.json, "1h0m0s") && strings.TrimSpace(got) != c.json+"}" {
			t.Errorf("slog: %s, want %s", got, c.json)
		}
	}
	svc := newService(t, newSpy(), &keyfold.Options{Prefix: "acme", Peppers: pepper})
	for _, v := range []any{svc, *svc, (*keyfold.Service)(nil), keyfold.Service{}} {
		if got := fmt.Sprintf("%+v", v); v == any(svc) && !strings.Contains(got, "Prefix:acme") || strings.Contains(got, "ppp") || strings.Contains(got, "PANIC") {
			t.Errorf("a Service is printed as %s", got)
		}
	}
}

// Mutation tried: Login without GobEncode.
func TestPlaintextSecretsAreNotStoredInGob(t *testing.T) {
	t.Parallel()
	for _, v := range []any{keyfold.Credentials{Password: "p"}, keyfold.NewUser{Password: "p"}, keyfold.Request{Token: "t"}, keyfold.IssuedOneTimeToken{}} {
		var out bytes.Buffer
		if err := gob.NewEncoder(&out).Encode(v); err == nil {
			t.Errorf("%T is encoded", v)
		}
	}
}

// A program may decode what it printed. Mutation tried: none; the placeholder is
// on the list of common passwords.
func TestPlaceholderIsNotAPassword(t *testing.T) {
	t.Parallel()
	text, err := json.Marshal(keyfold.NewUser{Username: "ann", Password: "hunter two hunter two"})
	if err != nil {
		t.Fatal(err)
	}
	var n keyfold.NewUser
	if err := json.Unmarshal(text, &n); err != nil {
		t.Fatal(err)
	}
	svc := newService(t, newSpy(), &keyfold.Options{PasswordPolicy: keyfold.PasswordPolicy{MinLength: 8}})
	_, err = svc.CreateUser(t.Context(), n)
	wantField(t, n.Password, err, "password")
}

// Mutation tried: the caller's slices kept.
func TestNewCopiesThePeppers(t *testing.T) {
	t.Parallel()
	options := &keyfold.Options{Peppers: map[string][]byte{"a": bytes.Repeat([]byte("p"), 32)}, CurrentPepper: "a", DisableCache: true}
	svc := newService(t, newSpy(), options)
	_, token, err := svc.CreateKey(t.Context(), keyfold.NewKey{})
	if err != nil {
		t.Fatal(err)
	}
	options.Peppers["a"][0] = 'q'
	delete(options.Peppers, "a")
	if _, err := svc.Verify(t.Context(), keyfold.Request{Token: token.Reveal()}); err != nil {
		t.Errorf("after the caller changed its map: %v", err)
	}
}
