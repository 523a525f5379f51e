package keyfold_test

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"hash/crc32"
	"log/slog"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/keyfold/keyfold"
)

// alphabet is base62 in the order of its digits, written out again on purpose:
// the format is published, so the tests must not follow the code.
const alphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

var tokenRegexp = regexp.MustCompile(`^(?:` + keyfold.TokenPattern + `)$`)

// sealed appends the right checksum to a token's text up to its last underscore.
func sealed(body string) string {
	sum := crc32.ChecksumIEEE([]byte(body))
	digits := make([]byte, 6)
	for i := 5; i >= 0; i-- {
		digits[i] = alphabet[sum%62]
		sum /= 62
	}
	return body + string(digits)
}

func TestTokensMatchThePublishedPattern(t *testing.T) {
	t.Parallel()
	id, secret := "0123456789ABCDEF", "abcdefghijklmnopqrstuvwxyz012345"
	for _, body := range []string{
		"kf_" + id + "_" + secret + "_", "kf_live_" + id + "_" + secret + "_", "a_b_c_d_" + id + "_" + secret + "_",
		"KF_" + id + "_" + secret + "_", "kf__" + id + "_" + secret + "_", "_" + id + "_" + secret + "_",
		"9f_" + id + "_" + secret + "_", "kf_" + id + "_" + secret[:31] + "\x00_",
	} {
		t.Run(body, func(t *testing.T) {
			text := sealed(body)
			token, err := keyfold.ParseToken(text)
			if got, want := err == nil, tokenRegexp.MatchString(text); got != want {
				t.Errorf("ParseToken(%q) accepted: %v, want %v", text, got, want)
			}
			if err == nil && token.Reveal() != text {
				t.Errorf("Reveal = %q, want %q", token.Reveal(), text)
			}
		})
	}
}

func TestTokensRoundTrip(t *testing.T) {
	t.Parallel()
	store := newSpy()
	store.discard = true
	svc := newService(t, store, nil)
	rounds := 100_000
	if raceEnabled {
		rounds = 20_000
	}
	ids := make(map[string]bool, rounds)
	for range rounds {
		key, token, err := svc.CreateKey(t.Context(), keyfold.NewKey{})
		if err != nil {
			t.Fatal(err)
		}
		parsed, err := keyfold.ParseToken(token.Reveal())
		if err != nil || parsed.ID() != key.ID || parsed.Reveal() != token.Reveal() {
			t.Fatalf("token of key %s came back as %v, %v", key.ID, parsed, err)
		}
		ids[key.ID] = true
	}
	if len(ids) != rounds {
		t.Errorf("%d ids of %d differ", len(ids), rounds)
	}
}

func TestTokenCharactersAreEquallyLikely(t *testing.T) {
	// Mutation tried: keeping every random byte makes eight characters a quarter
	// more likely, for a chi-square of several thousand.
	t.Parallel()
	store := newSpy()
	store.discard = true
	svc := newService(t, store, nil)
	const tokens = 20_000
	count := map[byte]int{}
	for range tokens {
		_, text := create(t, svc, keyfold.NewKey{})
		for _, c := range []byte(text[3:19] + text[20:52]) {
			count[c]++
		}
	}
	expected := float64(tokens*48) / 62
	chiSquare := 0.0
	for _, c := range []byte(alphabet) {
		d := float64(count[c]) - expected
		chiSquare += d * d / expected
	}
	if len(count) != 62 || chiSquare > 200 { // 61 degrees of freedom: one in 10^15 runs
		t.Errorf("%d characters with a chi-square of %.0f", len(count), chiSquare)
	}
}

func TestEveryEditOfATokenIsRefusedWithoutAStoreCall(t *testing.T) {
	t.Parallel()
	// Mutation tried: token.Parse without the checksum lets some 3 900 of the edits through.
	store := newSpy()
	svc := newService(t, store, &keyfold.Options{Environment: "live"})
	_, token, err := svc.CreateKey(t.Context(), keyfold.NewKey{})
	if err != nil {
		t.Fatal(err)
	}
	text := token.Reveal()
	var edits []string
	for i := range len(text) {
		edits = append(edits, text[:i]+text[i+1:]) // deletion
		if i+1 < len(text) && text[i] != text[i+1] {
			edits = append(edits, text[:i]+string(text[i+1])+string(text[i])+text[i+2:]) // transposition
		}
		for _, c := range alphabet + "_-. \x00é" {
			if edit := text[:i] + string(c) + text[i+1:]; edit != text { // replacement
				edits = append(edits, edit)
			}
		}
	}
	for i := range len(text) + 1 {
		for _, c := range alphabet + "_-. \x00é" {
			edits = append(edits, text[:i]+string(c)+text[i:]) // insertion
		}
	}
	for _, edit := range edits {
		_, err := svc.Verify(t.Context(), keyfold.Request{Token: edit})
		if got := keyfold.OutcomeOf(err); got != keyfold.OutcomeMalformed {
			t.Errorf("edit %q: outcome %v, want malformed", edit, got)
		}
	}
	if calls := store.reads.Load(); calls != 0 {
		t.Errorf("%d edits cost %d store calls, want 0", len(edits), calls)
	}
}

func TestSwappedHeadUnderARightChecksumCostsOneReadAndIsRefused(t *testing.T) {
	t.Parallel()
	// Mutation tried: match without the head allows all of these.
	store := newSpy()
	svc := newService(t, store, &keyfold.Options{Environment: "live", DisableCache: true})
	_, token, err := svc.CreateKey(t.Context(), keyfold.NewKey{})
	if err != nil {
		t.Fatal(err)
	}
	tail := strings.TrimPrefix(token.Reveal(), "kf_live")
	tail = tail[:len(tail)-6]
	for i, head := range []string{"kf_test", "xx_live", "kf", "kf_live_live", "kflive", "kf_liv"} {
		t.Run(head, func(t *testing.T) {
			_, err := svc.Verify(t.Context(), keyfold.Request{Token: sealed(head + tail)})
			if got := keyfold.OutcomeOf(err); got != keyfold.OutcomeWrongSecret {
				t.Errorf("head %q: outcome %v, want wrong_secret", head, got)
			}
			if got, want := store.reads.Load(), int64(i+1); got != want {
				t.Errorf("head %q: %d store reads so far, want %d", head, got, want)
			}
		})
	}
	if _, err := svc.Verify(t.Context(), keyfold.Request{Token: sealed("kf_live" + tail)}); err != nil {
		t.Errorf("the untouched token: %v", err)
	}
}

func TestStoredHashIsNotACredential(t *testing.T) {
	t.Parallel()
	store := newSpy()
	svc := newService(t, store, nil)
	key, _, err := svc.CreateKey(t.Context(), keyfold.NewKey{})
	if err != nil {
		t.Fatal(err)
	}
	record, err := store.Key(t.Context(), key.ID)
	if err != nil {
		t.Fatal(err)
	}
	sum := record.Secret.Sum
	for _, secret := range []string{fmt.Sprintf("%x", sum)[:32], fmt.Sprintf("%X", sum)[32:]} {
		t.Run(secret, func(t *testing.T) {
			_, err := svc.Verify(t.Context(), keyfold.Request{Token: sealed("kf_" + key.ID + "_" + secret + "_")})
			if got := keyfold.OutcomeOf(err); got != keyfold.OutcomeWrongSecret {
				t.Errorf("a stored hash presented as a secret: outcome %v, want wrong_secret", got)
			}
		})
	}
}

func TestTokenHidesItsSecret(t *testing.T) {
	t.Parallel()
	// Mutation tried: Token without Format prints its text for %+v and %q.
	svc := newService(t, newSpy(), nil)
	_, token, err := svc.CreateKey(t.Context(), keyfold.NewKey{})
	if err != nil {
		t.Fatal(err)
	}
	text := token.Reveal()
	secret := text[len(text)-6-1-32 : len(text)-6-1]
	nested := struct {
		Token   keyfold.Token
		Pointer *keyfold.Token
		List    []keyfold.Token
	}{token, &token, []keyfold.Token{token}}

	shown := map[string]string{"String": token.String(), "GoString": token.GoString()}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%T %v"} {
		shown["token "+verb] = fmt.Sprintf(strings.Replace(verb, "%T ", "", 1), token)
		shown["nested "+verb] = fmt.Sprintf(strings.Replace(verb, "%T ", "", 1), nested)
	}
	encoded, err := json.Marshal(nested)
	if err != nil {
		t.Fatal(err)
	}
	shown["JSON"] = string(encoded)
	type document struct{ T keyfold.Token }
	asXML, err := xml.Marshal(document{token})
	if err != nil {
		t.Fatal(err)
	}
	shown["XML"] = string(asXML)
	for name, handler := range map[string]func(*bytes.Buffer) slog.Handler{
		"slog text": func(b *bytes.Buffer) slog.Handler { return slog.NewTextHandler(b, nil) },
		"slog JSON": func(b *bytes.Buffer) slog.Handler { return slog.NewJSONHandler(b, nil) },
	} {
		var out bytes.Buffer
		slog.New(handler(&out)).Info("made", "token", token, "nested", nested, slog.Group("g", "token", &token))
		shown[name] = out.String()
	}
	shown["panic text"] = fmt.Sprint(fmt.Errorf("made %v", token))

	for how, out := range shown {
		t.Run(how, func(t *testing.T) {
			if strings.Contains(out, secret) || strings.Contains(strings.ToLower(out), fmt.Sprintf("%x", secret)) {
				t.Errorf("%s shows the secret: %s", how, out)
			}
			if !strings.Contains(out, token.ID()) {
				t.Errorf("%s does not name the key: %s", how, out)
			}
		})
	}
}

// wantsHidden formats a value, and what holds it, in every way of fmt.
func wantsHidden(t *testing.T, secret string, value any) {
	t.Helper()
	for _, v := range []any{value, &value, []any{value}, map[string]any{"k": value}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%10.3s"} {
			out := fmt.Sprintf(verb, v)
			if strings.Contains(out, secret) || strings.Contains(strings.ToLower(out), fmt.Sprintf("%x", secret)) {
				t.Errorf("%s of %T shows the secret: %s", verb, v, out)
			}
		}
	}
}

// fmt calls no methods on unexported fields. Mutation tried: Token with a string
// in place of its pointer.
func TestTokenHidesItsSecretInUnexportedFields(t *testing.T) {
	t.Parallel()
	_, token, err := newService(t, newSpy(), nil).CreateKey(t.Context(), keyfold.NewKey{})
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := keyfold.ParseToken(token.Reveal())
	if err != nil {
		t.Fatal(err)
	}
	type inner struct {
		token keyfold.Token
		list  []keyfold.Token
		names map[string]keyfold.Token
	}
	text := token.Reveal()
	wantsHidden(t, text[len(text)-6-1-32:len(text)-6-1], struct{ inner inner }{inner{token, []keyfold.Token{parsed}, map[string]keyfold.Token{"a": parsed}}})
}

func TestTokensAreEqualByTheirText(t *testing.T) {
	t.Parallel()
	svc := newService(t, newSpy(), nil)
	_, first, err := svc.CreateKey(t.Context(), keyfold.NewKey{})
	if err != nil {
		t.Fatal(err)
	}
	_, second, err := svc.CreateKey(t.Context(), keyfold.NewKey{})
	if err != nil {
		t.Fatal(err)
	}
	same, err := keyfold.ParseToken(first.Reveal())
	if err != nil {
		t.Fatal(err)
	}
	switch none := (keyfold.Token{}); {
	case !first.Equal(same), !same.Equal(first), !none.Equal(keyfold.Token{}):
		t.Error("a token is not equal to another Token with its text")
	case !reflect.DeepEqual(first, same), reflect.DeepEqual(first, second):
		t.Error("reflect.DeepEqual does not go by the text")
	case first.Equal(second), first.Equal(none), none.Equal(first):
		t.Error("two different tokens are equal")
	case none.Reveal() != "" || none.ID() != "" || none.String() != "[no token]":
		t.Errorf("the zero Token is %v with the id %q, want [no token]", none, none.ID())
	}
}

func TestParseTokenTellsMissingFromMalformed(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]keyfold.Outcome{"": keyfold.OutcomeMissing, "x": keyfold.OutcomeMalformed, strings.Repeat("k", 1<<20): keyfold.OutcomeMalformed} {
		t.Run(text, func(t *testing.T) {
			_, err := keyfold.ParseToken(text)
			if got := keyfold.OutcomeOf(err); got != want || !errors.Is(err, keyfold.ErrUnauthenticated) {
				t.Errorf("%.20q: %v, want %v", text, err, want)
			}
		})
	}
	var zero keyfold.Token
	if zero.ID() != "" || zero.Reveal() != "" || zero.String() != "[no token]" {
		t.Errorf("the zero Token is %v", zero)
	}
}

func TestSecretScanPatternFindsTokensInText(t *testing.T) {
	t.Parallel()
	scan := regexp.MustCompile(keyfold.SecretScanPattern)
	for _, environment := range []string{"", "live"} {
		t.Run(environment, func(t *testing.T) {
			svc := newService(t, newSpy(), &keyfold.Options{Environment: environment})
			_, token, err := svc.CreateKey(context.Background(), keyfold.NewKey{})
			if err != nil {
				t.Fatal(err)
			}
			line := `API_KEY="` + token.Reveal() + `" # prod`
			if got := scan.FindString(line); got != token.Reveal() {
				t.Errorf("found %q in a line with a token of environment %q", got, environment)
			}
		})
	}
}

func TestParsingAllocatesNothing(t *testing.T) {
	svc := newService(t, newSpy(), nil)
	_, token, err := svc.CreateKey(t.Context(), keyfold.NewKey{})
	if err != nil {
		t.Fatal(err)
	}
	text := token.Reveal()
	if n := testing.AllocsPerRun(100, func() { _, _ = keyfold.ParseToken(text) }); n != 0 {
		t.Errorf("ParseToken allocates %v times", n)
	}
}
