package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/keyfold/keyfold/internal/wire"
)

// newerBinary builds the command as a later release would be, of the same source
// with more migrations. Each of those states the oldest version that may decide.
func newerBinary(t *testing.T, oldest ...int) string {
	t.Helper()
	dir := t.TempDir()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	overlay := map[string]string{}
	replace := func(path, text string) {
		t.Helper()
		file := filepath.Join(dir, fmt.Sprintf("%d.txt", len(overlay)))
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		overlay[filepath.Join(root, path)] = file
	}
	for _, engine := range []string{"sqlite", "postgres", "mysql"} {
		known, err := filepath.Glob(filepath.Join(root, "sql", engine, "migrations", "*.sql"))
		if err != nil || len(known) == 0 {
			t.Fatalf("the migrations of %s: %d, %v", engine, len(known), err)
		}
		for i, may := range oldest {
			number := len(known) + 1 + i
			replace(fmt.Sprintf("sql/%s/migrations/%04d_later.sql", engine, number),
				fmt.Sprintf("-- oldest-version: %d\nCREATE TABLE keyfold_later_%d (id INTEGER NOT NULL PRIMARY KEY);\n", len(known)+may, number))
		}
	}
	const versions = "\tschemaVersion = 1\n\toldestVersion = 1\n"
	schema, err := os.ReadFile(filepath.Join(root, "store/mongo/schema.go"))
	if err != nil || !strings.Contains(string(schema), versions) {
		t.Fatalf("store/mongo/schema.go does not hold the versions: %v", err)
	}
	later := fmt.Sprintf("\tschemaVersion = %d\n\toldestVersion = %d\n", 1+len(oldest), 1+oldest[len(oldest)-1])
	replace("store/mongo/schema.go", strings.Replace(string(schema), versions, later, 1))
	list, err := json.Marshal(map[string]any{"Replace": overlay})
	if err != nil {
		t.Fatal(err)
	}
	file, built := filepath.Join(dir, "overlay.json"), filepath.Join(dir, "keyfold")
	if err := os.WriteFile(file, list, 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("go", append(buildFlags, "-overlay", file, "-o", built, ".")...).CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return built
}

// Mutations tried: a check that does not read the oldest version; an Open that
// refuses every newer schema.
func TestOlderProcessDecidesOnlyWhileTheSchemaAllowsIt(t *testing.T) {
	t.Parallel()
	compatible, incompatible := newerBinary(t, 0), newerBinary(t, 0, 2)
	for _, engine := range engines {
		t.Run(engine.name, func(t *testing.T) {
			t.Parallel()
			dir, db := t.TempDir(), engine.open(t)
			old := startServer(t, dir, db, testSecret)
			var made wire.CreatedKey
			old.admin("POST", "/keys", `{"name":"ci"}`, http.StatusCreated, &made)
			bearer := []string{"Authorization", "Bearer " + made.Token}
			old.awaitStatus("/secure", http.StatusOK, bearer...)
			env := append(environment(testSecret), "KEYFOLD_DATABASE_URL="+db)
			run := func(binary string, args ...string) (string, error) {
				cmd := exec.Command(binary, args...)
				cmd.Dir, cmd.Env = dir, env
				out, err := cmd.CombinedOutput()
				return string(out), err
			}

			if out, err := run(compatible, "migrate"); err != nil || !strings.Contains(out, "migrated the schema from version") {
				t.Fatalf("migrate by the later release: %v: %s", err, out)
			}
			for began := time.Now(); time.Since(began) < 3*time.Second; time.Sleep(50 * time.Millisecond) {
				if got := old.get("/secure", bearer...); got != http.StatusOK {
					t.Fatalf("under a schema that allows it, the running process answers %d", got)
				}
			}
			if out, err := run(binary, "keys", "list"); err != nil {
				t.Errorf("under a schema that allows it, a process that starts: %v: %s", err, out)
			}

			if out, err := run(incompatible, "migrate"); err != nil {
				t.Fatalf("migrate by the release after that: %v: %s", err, out)
			}
			old.awaitStatus("/secure", http.StatusServiceUnavailable, bearer...)
			old.awaitStatus("/readyz", http.StatusServiceUnavailable)
			if out, err := run(binary, "keys", "list"); err == nil || !strings.Contains(out, "newer than this build") {
				t.Errorf("a process that starts and is too old: %v: %s", err, out)
			}
			if out, err := run(incompatible, "keys", "list"); err != nil || !strings.Contains(out, made.Key.ID[:4]) {
				t.Errorf("the release that migrated: %v: %s", err, out)
			}
		})
	}
}
