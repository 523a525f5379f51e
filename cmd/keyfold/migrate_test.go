package main

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/keyfold/keyfold/internal/wire"
)

// The version depends on the build, so the test reads it from the JSON document.
func TestMigrateReportsItsResult(t *testing.T) {
	t.Parallel()
	s := newShellWithoutDatabase(t)
	made := decoded[migration](t, s.prints("migrate", "--json"))
	if made.From != 0 || made.To < 1 || made.Database != "sqlite:"+s.path {
		t.Fatalf("made %+v", made)
	}
	if info, err := os.Stat(s.path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the database: %v, %v, want mode 0600", info, err)
	}
	if got, want := s.prints("migrate"), fmt.Sprintf("sqlite:%s: the schema is current, at version %d\n", s.path, made.To); got != want {
		t.Errorf("again: %q, want %q", got, want)
	}
	if again := decoded[migration](t, s.prints("migrate", "--json")); again.From != made.To || again.To != made.To {
		t.Errorf("again: %+v, want version %d", again, made.To)
	}
	if page := decoded[wire.KeyPage](t, s.prints("keys", "list", "--json")); len(page.Keys) != 0 {
		t.Errorf("keys %+v", page)
	}
	fresh := newShellWithoutDatabase(t)
	if got, want := fresh.prints("migrate"), fmt.Sprintf("sqlite:%s: created the schema, at version %d\n", fresh.path, made.To); got != want {
		t.Errorf("of a new database: %q, want %q", got, want)
	}
	var out strings.Builder
	if err := (&command{stdout: &out}).printMigration("sqlite:x", 1, 2); err != nil || out.String() != "sqlite:x: migrated the schema from version 1 to 2\n" {
		t.Errorf("%q, %v", &out, err)
	}
}

func TestMigrateLeavesANewerSchemaAlone(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	s.prints("migrate")
	db := openSQL(t, s.path)
	if _, err := db.ExecContext(t.Context(), "UPDATE keyfold_meta SET schema_version = 99, oldest_version = 99 WHERE id = 1"); err != nil {
		t.Fatal(err)
	}
	s.fails(exitFailure, "schema version 99 is newer than this build", "migrate")
	var version int
	if err := db.QueryRowContext(t.Context(), "SELECT schema_version FROM keyfold_meta").Scan(&version); err != nil || version != 99 {
		t.Errorf("the version is %d, %v, want 99 as before", version, err)
	}
}

func TestMigrateOnEveryEngine(t *testing.T) {
	t.Parallel()
	for _, engine := range engines {
		t.Run(engine.name, func(t *testing.T) {
			t.Parallel()
			dir, env := t.TempDir(), append(environment(""), "KEYFOLD_DATABASE_URL="+engine.open(t))
			first, second := execute(t, dir, env, "migrate"), execute(t, dir, env, "migrate")
			if first.code != exitOK || !strings.Contains(first.stdout, ": created the schema, at version ") || !strings.Contains(second.stdout, ": the schema is current, at version ") {
				t.Errorf("first %+v, second %+v", first, second)
			}
		})
	}
	got := call(t, nil, "migrate", "--db", "postgres://u:hunter-two@127.0.0.1:1/d")
	if got.code != exitFailure || !strings.Contains(got.stderr, "cannot use postgres://127.0.0.1:1/d: ") || strings.Contains(got.stderr, "hunter") {
		t.Errorf("a server that is down: %+v", got)
	}
}
