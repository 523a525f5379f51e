package admin_test

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/keyfold/keyfold/httpadapter/admin"
)

type document struct {
	OpenAPI  string
	Servers  []struct{ URL string }
	Security []map[string][]string
	Paths    map[string]map[string]struct {
		OperationID string
		RequestBody *struct {
			Required bool
			Content  map[string]any
		}
		Responses map[string]struct{ Content map[string]any }
	}
	Components struct {
		Schemas         map[string]any
		SecuritySchemes map[string]struct{ Type, In, Name string }
	}
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
	if s := doc.Components.SecuritySchemes["secret"]; s.Type != "apiKey" || s.In != "header" || s.Name != "secret-key" || len(doc.Security) != 1 {
		t.Errorf("security %+v, %v", s, doc.Security)
	}
	want := []string{
		"POST /keys", "GET /keys", "GET /keys/{id}", "PATCH /keys/{id}", "DELETE /keys/{id}",
		"POST /keys/{id}/revoke", "POST /keys/{id}/disable", "POST /keys/{id}/enable", "POST /keys/{id}/renew", "POST /keys/{id}/rotate",
		"POST /keys/bulk/revoke", "POST /keys/bulk/disable", "GET /usage/events", "GET /usage/totals", "GET /usage/report",
	}
	var got []string
	for path, methods := range doc.Paths {
		for method, op := range methods {
			got = append(got, strings.ToUpper(method)+" "+path)
			for _, status := range []string{"401", "422", "429", "503"} {
				if op.Responses[status].Content["application/problem+json"] == nil {
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
		if strings.Contains(a.body, bad) {
			t.Errorf("the document contains %q", bad)
		}
	}
}

func TestDocsCanBeHidden(t *testing.T) {
	t.Parallel()
	f := newFixture(t, func(o *admin.Options) { o.HideDocs = true })
	f.do("GET", "/openapi.json", "", "secret-key:").wants(http.StatusUnauthorized)
	f.do("GET", "/openapi.json", "").wants(http.StatusNotFound)
}
