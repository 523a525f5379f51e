package admin_test

import (
	"bytes"
	"compress/gzip"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// Mutation tried: checkJSON returning nil.
func TestBadBodiesStoreNothing(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	var zipped bytes.Buffer
	w := gzip.NewWriter(&zipped)
	_, _ = w.Write([]byte(`{}`))
	_ = w.Close()
	for _, test := range []struct {
		name, body string
		headers    []string
		status     int
		code       string
		field      string
	}{
		{"empty", ``, nil, 400, "malformed_body", ""},
		{"unknown field", `{"nam":"x"}`, nil, 422, "invalid", "body"},
		{"other case", `{"Name":"x"}`, nil, 422, "invalid", "body"},
		{"server's own field", `{"id":"x"}`, nil, 422, "invalid", "body"},
		{"schema link", `{"$schema":"x"}`, nil, 422, "invalid", "body"},
		{"long unknown field", `{"` + strings.Repeat("é", 500) + `":1}`, nil, 422, "invalid", "body"},
		{"twice", `{"name":"a","name":"a"}`, nil, 422, "invalid", "name"},
		{"twice, once escaped", `{"name":"a","n\u0061me":"b"}`, nil, 422, "invalid", "name"},
		{"twice, nested", `{"metadata":{"a":"1","b":"2","a":"3"}}`, nil, 422, "invalid", "metadata"},
		{"twice, in a list", `{"scopes":["a:b",{"x":[1],"y":{},"x":2}]}`, nil, 422, "invalid", "scopes"},
		{"twice, after an object", `{"metadata":{},"name":"","metadata":{}}`, nil, 422, "invalid", "metadata"},
		{"twice, an unknown name", `{"x":"a","x":"b"}`, nil, 422, "invalid", "body"},
		{"twice, in an unknown member", `{"x":{"name":1,"name":2}}`, nil, 422, "invalid", "body"},
		{"twice, in an array", `[{"name":"a","name":"b"}]`, nil, 422, "invalid", "body"},
		{"two documents", `{} {}`, nil, 400, "malformed_body", ""},
		{"text after it", `{}x`, nil, 400, "malformed_body", ""},
		{"no JSON", `name=x`, nil, 400, "malformed_body", ""},
		{"cut short", `{"name":"x"`, nil, 400, "malformed_body", ""},
		{"a comment", `{/**/}`, nil, 400, "malformed_body", ""},
		{"byte order mark", "\ufeff{}", nil, 400, "malformed_body", ""},
		{"invalid UTF-8", "{\"name\":\"a\xff\"}", nil, 400, "malformed_body", ""},
		{"invalid UTF-8 in a name", "{\"metadata\":{\"\xc3\":\"\"}}", nil, 400, "malformed_body", ""},
		{"half a surrogate pair", `{"name":"\ud800"}`, nil, 400, "malformed_body", ""},
		{"halves in the wrong order", `{"name":"\udc00\ud800"}`, nil, 400, "malformed_body", ""},
		{"half a pair after a backslash", `{"name":"\\\ud800\\"}`, nil, 400, "malformed_body", ""},
		{"list", `[]`, nil, 422, "invalid", "body"},
		{"null", `null`, nil, 422, "invalid", "body"},
		{"text", `"x"`, nil, 422, "invalid", "body"},
		{"very deep", strings.Repeat("[", 30000) + strings.Repeat("]", 30000), nil, 400, "malformed_body", ""},
		{"too long", `{"notes":"` + strings.Repeat("n", 64<<10) + `"}`, nil, 413, "body_too_large", ""},
		{"blanks to over the limit", `{}` + strings.Repeat(" ", 64<<10), nil, 413, "body_too_large", ""},
		{"form", `{}`, []string{"Content-Type: application/x-www-form-urlencoded"}, 415, "unsupported_media_type", ""},
		{"text type", `{}`, []string{"Content-Type: text/plain"}, 415, "unsupported_media_type", ""},
		{"other JSON", `{}`, []string{"Content-Type: application/merge-patch+json"}, 415, "unsupported_media_type", ""},
		{"no type", `{}`, []string{"Content-Type:"}, 415, "unsupported_media_type", ""},
		{"broken type", `{}`, []string{"Content-Type: application/json; charset"}, 415, "unsupported_media_type", ""},
		{"other charset", `{}`, []string{"Content-Type: application/json; charset=utf-16"}, 415, "unsupported_media_type", ""},
		{"compressed", zipped.String(), []string{"Content-Encoding: gzip"}, 415, "unsupported_media_type", ""},
		{"unknown query parameter", `{}`, nil, 422, "invalid", "query"},
	} {
		t.Run(test.name, func(t *testing.T) {
			target := "/keys"
			if test.field == "query" {
				target += "?dry_run=1"
			}
			f.do("POST", target, test.body, test.headers...).wantsProblem(test.status, test.code, test.field)
			if got := f.count(); got != 0 {
				t.Fatalf("%d keys are stored, want none", got)
			}
		})
	}
}

func TestBodiesThatAreFine(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for name, body := range map[string]string{
		"blanks around":      " \n{}\t ",
		"escapes":            `{"n\u0061me":"\u00e9\ud83d\ude00"}`,
		"no escape":          `{"name":"\\ud800"}`,
		"same name deeper":   `{"name":"a","metadata":{"name":"b"}}`,
		"names that differ":  `{"metadata":{"a":"1","A":"2"}}`,
		"as long as allowed": `{}` + strings.Repeat(" ", 64<<10-2),
	} {
		t.Run(name, func(t *testing.T) {
			if a := f.do("POST", "/keys", body, "Content-Type: application/json; charset=UTF-8"); a.status != http.StatusCreated {
				t.Errorf("%s: %d %s", name, a.status, a.body)
			}
		})
	}
}

func TestBodiesWhereNoneIsWanted(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	id := f.create(`{}`).Key.ID
	f.do("POST", "/keys/"+id+"/enable", `{}`).wants(http.StatusOK)
	f.do("POST", "/keys/"+id+"/enable", `{"reason":"x"}`).wantsProblem(422, "invalid", "body")
	f.do("DELETE", "/keys/"+id, `{"reason":"x"}`).wantsProblem(422, "invalid", "body")
	f.do("POST", "/keys/"+id+"/revoke", `{"reasons":"x"}`).wantsProblem(422, "invalid", "body")
	if got := f.count(); got != 1 {
		t.Errorf("%d keys are stored, want 1", got)
	}
}

// brokenReader is a client that goes away.
type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

func TestBodyThatBreaksOff(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	r := httptest.NewRequest("POST", "/keys", io.MultiReader(strings.NewReader(`{"name":"`), brokenReader{}))
	r.Header.Set("secret-key", secret)
	r.Header.Set("Content-Type", "application/json")
	f.send(r).wantsProblem(http.StatusBadRequest, "malformed_body", "")
	if got := f.count(); got != 0 {
		t.Errorf("%d keys are stored, want none", got)
	}
}

func FuzzBody(f *testing.F) {
	for _, seed := range []string{
		`{}`, `{"name":"a"}`, `{"name":"a","name":"b"}`, `{"metadata":{"a":"b"}}`, `{"ttl":"1d"}`, `[{"a":[]}]`, `{"a":{"a":[{"a":1}]}}`, "\xff", `null`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		fx := newFixture(t)
		r := httptest.NewRequest("POST", "/keys", bytes.NewReader(body))
		r.Header.Set("secret-key", secret)
		r.Header.Set("Content-Type", "application/json")
		a := fx.send(r)
		if stored := fx.count(); (stored == 1) != (a.status == http.StatusCreated) || a.status >= 500 {
			t.Errorf("status %d with %d keys stored: %s", a.status, stored, a.body)
		}
	})
}
