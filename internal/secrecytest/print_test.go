package secrecytest

import (
	"bytes"
	"context"
	"encoding/gob"
	"encoding/json"
	"encoding/xml"
	"errors"
	"flag"
	"fmt"
	"hash/crc32"
	"log/slog"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/fromenv"
	"github.com/keyfold/keyfold/httpadapter"
	"github.com/keyfold/keyfold/httpadapter/admin"
	"github.com/keyfold/keyfold/httpadapter/compat"
	"github.com/keyfold/keyfold/store/memory"
)

// newToken returns a Token with a secret that holds the text.
func newToken(text string) keyfold.Token {
	const base62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	body := "kf_" + strings.Repeat("i", 16) + "_" + text + strings.Repeat("0", 32-len(text)) + "_"
	sum, digits := crc32.ChecksumIEEE([]byte(body)), []byte("000000")
	for i := len(digits) - 1; i >= 0; i-- {
		digits[i] = base62[sum%62]
		sum /= 62
	}
	token, err := keyfold.ParseToken(body + string(digits))
	if err != nil {
		panic(err)
	}
	return token
}

// value returns a value of the type that holds canaries. Types that no program
// can fill are made as a program makes them.
func value(t *testing.T, s subject, c *canaries) any {
	t.Helper()
	switch s.typ {
	case reflect.TypeFor[keyfold.Service]():
		return *newService(t, c)
	case reflect.TypeFor[keyfold.Identity]():
		return newIdentity(t, c)
	case reflect.TypeFor[keyfold.Decision]():
		return newDecision(t)
	case reflect.TypeFor[fromenv.Config]():
		return *newConfig(t, c)
	case reflect.TypeFor[fromenv.App]():
		return fromenv.App{Service: newService(t, c), Store: memory.New(), Config: newConfig(t, c)}
	}
	v := reflect.New(s.typ).Elem()
	c.fill(v, s.name(), 0)
	return v.Interface()
}

func newService(t *testing.T, c *canaries) *keyfold.Service {
	t.Helper()
	pepper := func(id string) []byte {
		return []byte(c.next("keyfold.Service.Peppers["+id+"]") + strings.Repeat("-", 32))
	}
	svc, err := keyfold.New(&hostStore{memory.New(), c.next("keyfold.Service.Store.DSN")}, &keyfold.Options{
		Peppers: map[string][]byte{"a": pepper("a"), "b": pepper("b")}, CurrentPepper: "a",
		Mailer: hostMailer{Password: c.next("keyfold.Service.Mailer.Password")},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = svc.Close(context.Background()) })
	return svc
}

func newIdentity(t *testing.T, c *canaries) keyfold.Identity {
	t.Helper()
	store := memory.New()
	svc, err := keyfold.New(store, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = svc.Close(context.Background()) })
	key, created, err := svc.CreateKey(t.Context(), keyfold.NewKey{Name: c.next("keyfold.Identity.Name"), OwnerID: c.next("keyfold.Identity.OwnerID")})
	if err != nil {
		t.Fatal(err)
	}
	id, err := svc.Verify(t.Context(), keyfold.Request{Token: created.Reveal()})
	if err != nil || id.KeyID() != key.ID {
		t.Fatalf("Verify: %v, %v", id, err)
	}
	return id
}

func newDecision(t *testing.T) keyfold.Decision {
	t.Helper()
	svc, err := keyfold.New(memory.New(), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = svc.Close(context.Background()) })
	_, created, err := svc.CreateKey(t.Context(), keyfold.NewKey{})
	if err != nil {
		t.Fatal(err)
	}
	return svc.Decide(t.Context(), keyfold.Request{Token: created.Reveal()})
}

func newConfig(t *testing.T, c *canaries) *fromenv.Config {
	t.Helper()
	secret := func(name string) string { return c.next("fromenv.Config."+name) + "f3a91c07d25e48b6a7c0e91f5d38b24c" }
	config, err := fromenv.ReadConfig(&fromenv.Source{File: os.DevNull, Environ: []string{
		"KEYFOLD_SECRET=" + secret("Secret"), "KEYFOLD_PREVIOUS_SECRET=" + secret("PreviousSecret"),
		"KEYFOLD_PEPPERS=a:" + secret("peppers"), "KEYFOLD_CURRENT_PEPPER=a",
		"KEYFOLD_DATABASE_URL=postgres://" + secret("user") + ":" + secret("password") + "@h/d?password=" + secret("parameter"),
	}})
	if err != nil {
		t.Fatal(err)
	}
	return config
}

// made are values of types that are not exported, as a program gets them.
func made(t *testing.T, c *canaries) map[string]any {
	t.Helper()
	svc := newService(t, c)
	adminAPI, err := admin.Handler(svc, admin.Options{
		Secret: c.next("admin.Handler.Secret") + strings.Repeat("-", 32), PreviousSecret: c.next("admin.Handler.PreviousSecret") + strings.Repeat("-", 32),
	})
	if err != nil {
		t.Fatal(err)
	}
	compatible, err := compat.Handler(svc, compat.Options{
		Secret: c.next("compat.Handler.Secret") + strings.Repeat("-", 32), PreviousSecret: c.next("compat.Handler.PreviousSecret") + strings.Repeat("-", 32),
		Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	return map[string]any{
		"the handler of admin": adminAPI, "the handler of compat": compatible,
		"the guard of httpadapter": httpadapter.RequireKey(svc)(http.NotFoundHandler()),
		"the guard of compat":      compat.RequireKey(svc)(http.NotFoundHandler()),
		"a bound Service":          svc.With(keyfold.Tx{Store: &hostStore{memory.New(), c.next("keyfold.Service.With.DSN")}}),
	}
}

// The ways to show a value. fmt calls the methods of values for all of these
// verbs; for %p and %w it does not, and go vet refuses them.
func verbs() []string {
	return []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "% x", "%d", "%t", "%c", "%e", "%10.3v", "%+#v"}
}

func format(v any) string {
	var out strings.Builder
	for _, verb := range verbs() {
		fmt.Fprintf(&out, verb+"\n", v)
	}
	fmt.Fprintln(&out, v, fmt.Sprint(v), fmt.Errorf("wrapped: %v", v), errors.Join(fmt.Errorf("joined: %+v", v)))
	surplus := "no verb"
	fmt.Fprintf(&out, surplus, v) //lint:ignore SA5009 fmt prints what has no verb, too
	return out.String()
}

func log(v any) string {
	var out bytes.Buffer
	for _, handler := range []slog.Handler{slog.NewTextHandler(&out, nil), slog.NewJSONHandler(&out, nil)} {
		logger := slog.New(handler)
		logger.Info("attributes", "v", v)
		logger.Info("groups", slog.Group("g", slog.Any("v", v), slog.Group("h", slog.Any("v", v))))
		logger.With("v", v).WithGroup("g").With(slog.Any("v", v)).Info("with")
	}
	return out.String()
}

func encode(v any) string {
	var out bytes.Buffer
	if text, err := json.Marshal(v); err == nil {
		out.Write(text)
	}
	if text, err := xml.Marshal(v); err == nil {
		out.Write(text)
	}
	return out.String()
}

func encodeGob(v any) string {
	var out bytes.Buffer
	_ = gob.NewEncoder(&out).Encode(v) // what cannot be encoded shows nothing
	return out.String()
}

// show returns where canaries of a value are seen, and by which ways.
func show(s subject, v any, c *canaries) map[string][]string {
	ways := map[string][]string{}
	add := func(way, output string) {
		for path := range c.in(output) {
			if !slices.Contains(ways[path], way) {
				ways[path] = append(ways[path], way)
			}
		}
	}
	for _, held := range s.holder(v) {
		add("printed", format(held))
		add("logged", log(held))
		add("encoded", encode(held))
		add("gob", encodeGob(held))
	}
	inside := s.inside(v)
	add("inside", format(inside)+log(inside)+format(&inside)+format([]any{inside}))
	return ways
}

// isSecret goes by the names of fields, and is the rule that the list of what is
// visible cannot overrule.
func isSecret(path string) bool {
	return secretNames.MatchString(path) || strings.Contains(path, "Handler.") || path == "fromenv.Setting.Value"
}

var secretNames = regexp.MustCompile(`(?i)\.([a-z]*password(hash)?|[a-z]*secret|token|peppers\[\w?\]|sum|environ\[\]|dsn|user|parameter|text)$`)

// exceptions are secrets that are shown on purpose.
func exceptions() map[string]string {
	return map[string]string{
		// They are what the answer is for. slog encodes what is inside a slice or a struct.
		"keyfold.CreatedKey.Token": "encoded logged", "admin.CreatedOneTimeToken.Token": "encoded gob logged",

		// Stores may keep records by encoding/gob, and hashes are what they keep.
		"keyfold.SecretHash.Sum": "gob", "keyfold.UserRecord.PasswordHash": "gob", "keyfold.OneTimeTokenRecord.Sum": "gob",
		"keyfold.OneTimeTokenUse.Sum": "gob", "keyfold.OneTimeTokenUse.PasswordHash": "gob",
		"fromenv.Setting.Value": "gob", "fromenv.Source.Environ[]": "gob", // for a program that sends them on purpose

		// They belong to the program, one pointer away from a Service that was copied.
		"keyfold.Service.Store.DSN": "inside", "keyfold.Service.Mailer.Password": "inside",
	}
}

// isPlain reports whether a type has its secrets in exported fields. fmt calls no
// methods on a value of it in an unexported field, and the documents say so.
func isPlain(s subject) bool {
	switch reflect.Zero(s.typ).Interface().(type) {
	case keyfold.Options, keyfold.Credentials, keyfold.NewUser, keyfold.Request, keyfold.SecretHash, keyfold.KeyRecord, keyfold.VerifyRecord,
		keyfold.Rotation, keyfold.UserRecord, keyfold.OneTimeTokenRecord, keyfold.OneTimeTokenUse, admin.Options, admin.CreatedOneTimeToken,
		compat.Options, fromenv.Source, fromenv.Setting:
		return true
	}
	return false
}

var update = flag.Bool("update", false, "write testdata/visible.txt anew")

// Mutations tried: Service with its peppers in a map; Service without Format and a
// Mailer in its options; Login without the name of its secret field; Secret of
// fromenv with a string; a field Passphrase in Login.
func TestNoSecretIsPrintedLoggedOrEncoded(t *testing.T) {
	t.Parallel()
	visible, allowed := map[string]bool{}, exceptions()
	for _, s := range subjects() {
		c := new(canaries)
		shown := show(s, value(t, s, c), c)
		for path, ways := range shown {
			for _, way := range ways {
				if way != "inside" && way != "gob" {
					visible[path] = true
				}
				known := way == "inside" && isPlain(s) || slices.Contains(strings.Fields(allowed[path]), way)
				if isSecret(path) && !known {
					t.Errorf("%s is %s", path, way)
				}
			}
		}
	}
	var list strings.Builder
	for _, path := range slices.Sorted(maps.Keys(visible)) {
		fmt.Fprintln(&list, path)
	}
	const file = "testdata/visible.txt"
	if *update {
		if err := os.WriteFile(file, []byte(list.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	lines := slices.Collect(strings.Lines(string(want)))
	for line := range strings.Lines(list.String()) {
		if !slices.Contains(lines, line) {
			t.Errorf("not in %s: %s", file, line)
		}
	}
	if t.Failed() {
		t.Log("if none of it is secret: go test ./internal/secrecytest -update")
	}
}

// Mutation tried: the slots of adminsecret with the secret in a string.
func TestHandlersShowNoSecret(t *testing.T) {
	t.Parallel()
	c := new(canaries)
	for name, v := range made(t, c) {
		s := of[any]()
		output := format(v) + log(v) + fmt.Sprintf("%p", v)
		for _, held := range append(s.holder(v), s.inside(v)) {
			output += format(held) + log(held) + encode(held) + encodeGob(held)
		}
		for path := range c.in(output) {
			t.Errorf("%s shows %s", name, path)
		}
	}
}

// A panic ends the program with the value and the stacks of all goroutines.
// Mutation tried: Login with a method Error that holds the password.
func TestPanicShowsNoSecret(t *testing.T) {
	t.Parallel()
	if name := os.Getenv("KEYFOLD_TEST_PANIC"); name != "" {
		c := new(canaries)
		for _, s := range subjects() {
			if s.name() == name {
				panic(value(t, s, c))
			}
		}
		t.Fatalf("no type %s", name)
	}
	for _, name := range []string{
		"keyfold.Service", "keyfold.Options", "keyfold.Credentials", "keyfold.NewUser", "keyfold.Request", "keyfold.Token", "keyfold.IssuedOneTimeToken",
		"admin.Options", "fromenv.Setting",
	} {
		t.Run(name, func(t *testing.T) {
			child := exec.Command(os.Args[0], "-test.run=^TestPanicShowsNoSecret$")
			child.Env = append(os.Environ(), "KEYFOLD_TEST_PANIC="+name, "GOTRACEBACK=all")
			output, err := child.CombinedOutput()
			if err == nil || !strings.Contains(string(output), "panic: ") {
				t.Fatalf("%s: the child did not panic: %v: %s", name, err, output)
			}
			if asText.Match(output) || asHex.Match(output) || asNumbers.Match(output) {
				t.Errorf("a panic with a %s shows a canary: %s", name, output)
			}
		})
	}
}
