package admin_test

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/httpadapter/admin"
)

type response struct {
	Ref         string `json:"$ref"`
	Description string
	Content     map[string]struct {
		Schema struct {
			Ref string `json:"$ref"`
		}
		Examples map[string]struct{ Value map[string]any }
	}
}

type document struct {
	OpenAPI string
	Info    struct {
		License struct{ Name, Identifier string }
		Contact struct{ Name, URL string }
	}
	Servers  []struct{ URL string }
	Security []map[string][]string
	Paths    map[string]map[string]struct {
		OperationID string
		RequestBody *struct {
			Required bool
			Content  map[string]any
		}
		Responses  map[string]response
		Parameters []struct {
			Name   string
			Schema struct {
				Items struct{ Enum []string }
			}
		}
	}
	Components struct {
		Responses map[string]response
		Schemas   map[string]struct {
			Properties map[string]struct {
				Description string
				Enum        []string
				Ref         string `json:"$ref"`
			}
		}
		SecuritySchemes map[string]struct{ Type, In, Name string }
	}
}

func readDocument(t *testing.T) (doc document) {
	t.Helper()
	a := newFixture(t).do("GET", "/openapi.json", "", "secret-key:").wants(http.StatusOK)
	if err := json.Unmarshal([]byte(a.body), &doc); err != nil {
		t.Fatal(err)
	}
	return doc
}

func TestOpenAPIDescribesEveryRoute(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	a := f.do("GET", "/openapi.json", "", "secret-key:").wants(http.StatusOK)
	if got := a.header.Get("Content-Type"); got != "application/openapi+json" {
		t.Errorf("Content-Type %q", got)
	}
	var doc document
	if err := json.Unmarshal([]byte(a.body), &doc); err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(doc.OpenAPI, "3.1.") || len(doc.Servers) != 1 || doc.Servers[0].URL != "." {
		t.Errorf("version %q, servers %v", doc.OpenAPI, doc.Servers)
	}
	if doc.Info.License.Identifier != "MIT" || doc.Info.Contact.URL == "" {
		t.Errorf("license %+v, contact %+v", doc.Info.License, doc.Info.Contact)
	}
	if s := doc.Components.SecuritySchemes["secret"]; s.Type != "apiKey" || s.In != "header" || s.Name != "secret-key" || len(doc.Security) != 1 {
		t.Errorf("security %+v, %v", s, doc.Security)
	}
	want := []string{
		"POST /keys", "GET /keys", "GET /keys/{id}", "PATCH /keys/{id}", "DELETE /keys/{id}",
		"POST /keys/{id}/revoke", "POST /keys/{id}/disable", "POST /keys/{id}/enable", "POST /keys/{id}/renew", "POST /keys/{id}/rotate",
		"POST /keys/bulk/revoke", "POST /keys/bulk/disable", "GET /usage/events", "GET /usage/export", "GET /usage/totals", "GET /usage/report",
		"POST /users", "GET /users", "GET /users/{id}", "PATCH /users/{id}", "DELETE /users/{id}",
		"POST /users/{id}/password", "POST /users/{id}/disable", "POST /users/{id}/enable", "POST /users/{id}/unlock", "POST /users/authenticate",
		"POST /users/{id}/one-time-tokens", "POST /one-time-tokens/send", "POST /one-time-tokens/verify-email",
		"POST /one-time-tokens/change-email", "POST /one-time-tokens/reset-password", "GET /audit",
	}
	var got []string
	for path, methods := range doc.Paths {
		for method, op := range methods {
			got = append(got, strings.ToUpper(method)+" "+path)
			for _, status := range []string{"401", "422", "429", "503"} {
				component := strings.TrimPrefix(op.Responses[status].Ref, "#/components/responses/")
				if _, ok := doc.Components.Responses[component]; !ok {
					t.Errorf("%s %s does not describe %s", method, path, status)
				}
			}
			if required := op.OperationID == "create-key" || op.OperationID == "update-key" || strings.Contains(path, "/bulk/"); required &&
				(op.RequestBody == nil || !op.RequestBody.Required || op.RequestBody.Content["application/json"] == nil) {
				t.Errorf("%s %s: body %+v, want a required one", method, path, op.RequestBody)
			}
		}
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("described routes\n%v, want\n%v", got, want)
	}
	for name := range doc.Components.Schemas {
		if name != strings.ToUpper(name[:1])+name[1:] || strings.HasPrefix(name, "Error") {
			t.Errorf("schema %q is not one of ours", name)
		}
	}
	for _, bad := range []string{"$schema", "http://", "https://", secret, "unpkg"} {
		t.Run(bad, func(t *testing.T) {
			if strings.Contains(strings.ReplaceAll(a.body, doc.Info.Contact.URL, ""), bad) {
				t.Errorf("the document contains %q", bad)
			}
		})
	}
}

// Mutation tried: an outcome left out of the tag of wire.UsageEvent.
func TestOpenAPIListsClosedSets(t *testing.T) {
	t.Parallel()
	doc := readDocument(t)
	var outcomes []string
	for o := keyfold.OutcomeAllowed; ; o++ {
		if _, err := keyfold.ParseOutcome(o.String()); err != nil {
			break
		}
		outcomes = append(outcomes, o.String())
	}
	keyStates := []string{string(keyfold.KeyActive), string(keyfold.KeyExpired), string(keyfold.KeyUserDisabled), string(keyfold.KeyDisabled), string(keyfold.KeyRevoked)}
	for schema, members := range map[string]map[string][]string{
		"Key":         {"state": keyStates},
		"User":        {"state": {string(keyfold.UserActive), string(keyfold.UserDisabled)}},
		"UsageEvent":  {"outcome": outcomes},
		"UsageReport": {"by": {keyfold.UsageByHour.String(), keyfold.UsageByDay.String()}},
		"AuditFields": {"state": keyStates},
	} {
		t.Run(schema, func(t *testing.T) {
			for member, want := range members {
				if got := doc.Components.Schemas[schema].Properties[member].Enum; !slices.Equal(got, want) {
					t.Errorf("%s.%s is one of %q, want %q", schema, member, got, want)
				}
			}
		})
	}
	for path, methods := range doc.Paths {
		for _, p := range methods["get"].Parameters {
			if p.Name == "outcome" && !slices.Equal(p.Schema.Items.Enum, outcomes) {
				t.Errorf("GET %s: the parameter outcome is one of %q, want %q", path, p.Schema.Items.Enum, outcomes)
			}
		}
	}
	for _, member := range []string{"before", "after"} {
		t.Run(member, func(t *testing.T) {
			if got := doc.Components.Schemas["AuditEntry"].Properties[member].Ref; got != "#/components/schemas/AuditFields" {
				t.Errorf("AuditEntry.%s has the schema %q", member, got)
			}
		})
	}
}

// Mutation tried: the same description for two responses, and a member of the
// schema without one.
func TestOpenAPIHasOneErrorSchemaWithExamples(t *testing.T) {
	t.Parallel()
	doc := readDocument(t)
	for member, schema := range doc.Components.Schemas["Problem"].Properties {
		if schema.Description == "" {
			t.Errorf("Problem.%s has no description", member)
		}
	}
	described := map[string]string{}
	for name, response := range doc.Components.Responses {
		content := response.Content["application/problem+json"]
		if content.Schema.Ref != "#/components/schemas/Problem" || len(content.Examples) == 0 {
			t.Errorf("%s has the schema %q and %d examples", name, content.Schema.Ref, len(content.Examples))
		}
		if same, ok := described[response.Description]; ok || response.Description == "" {
			t.Errorf("%s and %s have the description %q", name, same, response.Description)
		}
		described[response.Description] = name
		for code, example := range content.Examples {
			if example.Value["code"] != code || example.Value["detail"] == nil {
				t.Errorf("%s: the example %s is %v", name, code, example.Value)
			}
		}
	}
}

func TestDocsCanBeHidden(t *testing.T) {
	t.Parallel()
	f := newFixture(t, func(o *admin.Options) { o.HideDocs = true })
	for _, path := range []string{"/docs", "/openapi.json"} {
		f.do("GET", path, "", "secret-key:").wants(http.StatusUnauthorized)
		f.do("GET", path, "").wants(http.StatusNotFound)
	}
}

func TestDocsNeedNoSecretAndTakeNoOtherMethod(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for path, contentType := range map[string]string{"/docs": "text/html; charset=utf-8", "/openapi.json": "application/openapi+json"} {
		t.Run(path, func(t *testing.T) {
			for _, method := range []string{"GET", "HEAD"} {
				a := f.do(method, path, "", "secret-key:").wants(http.StatusOK)
				if got := a.header.Get("Content-Type"); got != contentType {
					t.Errorf("%s %s: Content-Type %q, want %q", method, path, got, contentType)
				}
				if !strings.Contains(a.header.Get("Content-Security-Policy"), "frame-ancestors 'none'") ||
					a.header.Get("X-Content-Type-Options") != "nosniff" || a.header.Get("Referrer-Policy") != "no-referrer" {
					t.Errorf("%s %s: headers %v", method, path, a.header)
				}
			}
			for _, method := range []string{"POST", "PUT", "PATCH", "DELETE", "OPTIONS"} {
				f.do(method, path, "").wantsProblem(http.StatusNotFound, "not_found", "")
			}
		})
	}
}

// Page and document are cached by their hashes and compressed; other answers are
// neither. Tools that read the document name no encoding and get it as it is.
func TestPageAndDocumentAreCachedAndCompressed(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for _, path := range []string{"/docs", "/openapi.json"} {
		t.Run(path, func(t *testing.T) {
			plain := f.do("GET", path, "", "secret-key:").wants(http.StatusOK)
			if plain.header.Get("Cache-Control") != "no-cache" {
				t.Errorf("%s: headers %v, want it cached", path, plain.header)
			}
			kept := f.do("GET", path, "", "secret-key:", "If-None-Match:"+plain.header.Get("ETag")).wants(http.StatusNotModified)
			if kept.body != "" {
				t.Errorf("%s: %d bytes that the client has already", path, len(kept.body))
			}
			zipped := f.do("GET", path, "", "secret-key:", "Accept-Encoding:gzip").wants(http.StatusOK)
			if zipped.header.Get("Content-Encoding") != "gzip" || 3*len(zipped.body) > len(plain.body) {
				t.Errorf("%s: %d bytes of %d, headers %v; want gzip", path, len(zipped.body), len(plain.body), zipped.header)
			}
		})
	}
	for path, wants := range map[string]string{"/docs": "gzip", "/openapi.json": ""} {
		t.Run(path, func(t *testing.T) {
			if got := f.do("GET", path, "", "secret-key:", "Accept-Encoding:").header.Get("Content-Encoding"); got != wants {
				t.Errorf("%s for a client that names no encoding: %q, want %q", path, got, wants)
			}
		})
	}
	a := f.do("GET", "/keys", "").wants(http.StatusOK)
	if a.header.Get("Cache-Control") != "no-store" || a.header.Get("Content-Security-Policy") != "default-src 'none'; frame-ancestors 'none'" {
		t.Errorf("/keys: headers %v", a.header)
	}
}
