package apitest

import (
	"encoding/json"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestGeneratedGoClient generates a client from the OpenAPI document with
// oapi-codegen, at the version in tools/go.mod, and runs the tests of package
// client with it.
//
// Mutations tried: a rotation that answers 200, and a state without an enum.
func TestGeneratedGoClient(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	w := httptest.NewRecorder()
	newServer(t, nil).handler.ServeHTTP(w, httptest.NewRequest("GET", "/openapi.json", nil))
	document, generated := filepath.Join(dir, "openapi.json"), filepath.Join(dir, "client.go")
	if err := os.WriteFile(document, w.Body.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	run(t, filepath.Join("..", "..", "scripts", "tool"), "oapi-codegen", "-generate", "types,client", "-package", "client", "-o", generated, document)

	place, err := filepath.Abs(filepath.Join("client", "client_gen.go"))
	if err != nil {
		t.Fatal(err)
	}
	replace, err := json.Marshal(map[string]any{"Replace": map[string]string{place: generated}})
	if err != nil {
		t.Fatal(err)
	}
	overlay := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(overlay, replace, 0o600); err != nil {
		t.Fatal(err)
	}
	// Without the cache of results, which does not see the generated file.
	run(t, "go", "test", "-count=1", "-tags=generated", "-overlay="+overlay, "./client")
}

func run(t *testing.T, name string, args ...string) {
	t.Helper()
	command := exec.CommandContext(t.Context(), name, args...)
	if output, err := command.CombinedOutput(); err != nil {
		t.Fatalf("%s %s: %v\n%s", name, args[0], err, output)
	}
}
