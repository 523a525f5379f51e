package sqltest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/fstest"
	"time"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/store/internal/sqlstore"
)

// Environment variables that tell a child process what to do.
const (
	childDSN  = "KEYFOLD_TEST_CHILD_DSN"
	childStep = "KEYFOLD_TEST_CHILD_KILL_BEFORE_STEP"
)

// Main is the TestMain of a store's tests. In a child process it opens the store, which
// migrates the schema, and kills the process at the requested step.
func Main(m *testing.M, engine Engine) {
	dsn := os.Getenv(childDSN)
	if dsn == "" {
		os.Exit(m.Run())
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	ctx = sqlstore.WithMigrations(ctx, func(files fs.FS) fs.FS { return upgrade{files} })
	if step, err := strconv.Atoi(os.Getenv(childStep)); err == nil {
		ctx = sqlstore.WithStep(ctx, func(n int) {
			if n == step {
				killSelf()
			}
		})
	}
	if err := openAndClose(ctx, engine, dsn); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	os.Exit(0)
}

// upgrade contains the migrations of this build and one for tests.
type upgrade struct{ fs.FS }

const (
	upgradeName = "0002_test.sql"
	upgradeText = `-- oldest-version: 1
CREATE TABLE IF NOT EXISTS keyfold_test (id INTEGER NOT NULL PRIMARY KEY);
ALTER TABLE keyfold_keys ADD COLUMN test INTEGER NOT NULL DEFAULT 7;
CREATE INDEX keyfold_keys_test ON keyfold_keys (test, id);
`
)

// Open implements [fs.FS].
func (u upgrade) Open(name string) (fs.File, error) {
	if name == upgradeName {
		return fstest.MapFS{name: {Data: []byte(upgradeText)}}.Open(name)
	}
	return u.FS.Open(name)
}

// ReadDir implements [fs.ReadDirFS].
func (u upgrade) ReadDir(name string) ([]fs.DirEntry, error) {
	entries, err := fs.ReadDir(u.FS, name)
	more, moreErr := fstest.MapFS{upgradeName: {Data: []byte(upgradeText)}}.ReadDir(name)
	return append(entries, more...), errors.Join(err, moreErr)
}

// killSelf kills this process.
func killSelf() {
	self, err := os.FindProcess(os.Getpid())
	if err != nil {
		panic(err)
	}
	_ = self.Kill()
	time.Sleep(time.Minute) // until the signal arrives
}

func openAndClose(ctx context.Context, engine Engine, dsn string) error {
	store, err := engine.Open(ctx, dsn)
	if err != nil {
		return err
	}
	return errors.Join(store.Ping(ctx), store.Close())
}

// child starts the test binary as a process that opens the store. killed reports whether
// the process killed itself.
func child(dsn string, step int) (killed bool, err error) {
	self, err := os.Executable()
	if err != nil {
		return false, err
	}
	command := exec.Command(self)
	command.Env = append(os.Environ(), childDSN+"="+dsn)
	if step > 0 {
		command.Env = append(command.Env, childStep+"="+strconv.Itoa(step))
	}
	output, err := command.CombinedOutput()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signal() == syscall.SIGKILL {
			return true, nil
		}
	}
	if err != nil {
		return false, fmt.Errorf("%w: %s", err, output)
	}
	return false, nil
}

// schema returns the description of the schema.
func (e Engine) schema(t testing.TB, dsn string) string {
	t.Helper()
	rows, err := e.SQL(t, dsn).QueryContext(t.Context(), e.Schema)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var text strings.Builder
	for rows.Next() {
		var line string
		if err := rows.Scan(&line); err != nil {
			t.Fatal(err)
		}
		text.WriteString(line + "\n")
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	if text.Len() == 0 {
		t.Fatal("the schema is described as empty")
	}
	return text.String()
}

// TestManyProcesses starts 20 processes together on a new database. Each must find or
// create the schema.
func (e Engine) TestManyProcesses(t *testing.T) {
	const processes = 20
	rounds := e.Rounds
	if testing.Short() {
		rounds = 2
	}
	for round := range rounds {
		dsn := e.New(t)
		errs := make([]error, processes)
		var group sync.WaitGroup
		for i := range processes {
			group.Go(func() { _, errs[i] = child(dsn, 0) })
		}
		group.Wait()
		if err := errors.Join(errs...); err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		e.open(t, dsn)
	}
}

// TestKilledMigration kills a process before each statement of the migrations. The next
// process must complete the schema, and a key that an older build created must exist.
func (e Engine) TestKilledMigration(t *testing.T) {
	clean := e.New(t)
	if _, err := child(clean, 0); err != nil {
		t.Fatal(err)
	}
	want := e.schema(t, clean)
	killed := true
	for step := 1; killed && !t.Failed(); step++ {
		// A subtest, so that its connections are closed before the next step.
		t.Run(fmt.Sprintf("before step %d", step), func(t *testing.T) {
			killed = e.killedBefore(t, step, want)
			if !killed && step < 20 {
				t.Errorf("the migrations have only %d steps", step-1)
			}
		})
	}
}

func (e Engine) killedBefore(t *testing.T, step int, schema string) bool {
	dsn := e.New(t)
	killed, err := child(dsn, step)
	if err != nil {
		t.Fatal(err)
	}
	if !killed {
		return false
	}
	old := e.oldKey(t, dsn)
	if _, err := child(dsn, 0); err != nil {
		t.Fatalf("restart after the kill: %v", err)
	}
	if got := e.schema(t, dsn); got != schema {
		t.Fatalf("after the kill the schema is\n%s\nwant\n%s", got, schema)
	}
	store := e.open(t, dsn)
	Create(t, store)
	if old {
		key, err := store.Key(t.Context(), oldKey)
		if err != nil || key.Name != "old" {
			t.Fatalf("the key of the older build is %+v, %v", key.Key, err)
		}
		var added int
		row := e.SQL(t, dsn).QueryRowContext(t.Context(), "SELECT test FROM keyfold_keys WHERE id = '"+oldKey+"'")
		if err := row.Scan(&added); err != nil || added != 7 {
			t.Fatalf("the key of the older build has %d in the column that was added (%v), want 7", added, err)
		}
	}
	return true
}

const oldKey = "OldKeyOfVersion1"

// oldKey inserts a key as a build of version 1 does, if the schema has that version.
func (e Engine) oldKey(t *testing.T, dsn string) bool {
	t.Helper()
	db := e.SQL(t, dsn)
	var version int
	if err := db.QueryRowContext(t.Context(), "SELECT schema_version FROM keyfold_meta").Scan(&version); err != nil || version != 1 {
		return false // the table does not exist yet, or is empty
	}
	const insert = "INSERT INTO keyfold_keys (id, secret_alg, secret_pepper, secret_sum, hint, prefix, environment, name, notes, " +
		"owner_id, user_id, tenant, scopes, networks, metadata, created_at, updated_at, idle_timeout, active_at, disabled_reason, " +
		"revoked_reason, lineage_id, rotated_from, rotated_to, version) VALUES ('" + oldKey + "', 'kf2', '', %s, '', 'kf', '', 'old', " +
		"'', '', '', '', '', '', '', 1, 1, 0, 1, '', '', '" + oldKey + "', '', '', 1)"
	sum := strings.Repeat("0a", 32)
	_, err := db.ExecContext(t.Context(), fmt.Sprintf(insert, "x'"+sum+"'"))
	if err != nil { // in PostgreSQL the literal is a bit string
		_, err = db.ExecContext(t.Context(), fmt.Sprintf(insert, `'\x`+sum+"'"))
	}
	if err != nil {
		t.Fatalf("insert a key as version 1 did: %v", err)
	}
	return true
}

// TestNewerSchema checks that a build does not change a newer schema, and uses it only if
// the schema admits the version of the build.
//
// Mutation tried: a check that ignores the oldest version.
func (e Engine) TestNewerSchema(t *testing.T) {
	dsn := e.New(t)
	running := e.open(t, dsn)
	db := e.SQL(t, dsn)
	before := e.schema(t, dsn)
	mustExec(t, db, "UPDATE keyfold_meta SET schema_version = 99, oldest_version = 1 WHERE id = 1")
	if err := running.Check(t.Context()); err != nil {
		t.Errorf("Check of a newer schema that this build may use: %v", err)
	}
	store, _ := e.open(t, dsn).(interface{ Migration() (from, to int64) })
	if from, to := store.Migration(); from != 99 || to != 99 {
		t.Errorf("a newer schema that this build may use: from %d to %d, want 99 both", from, to)
	}
	for version, reason := range map[string]string{
		"schema_version = 99, oldest_version = 99": "schema version 99 is newer than this build (1) and needs version 99 or later",
		"schema_version = 1, oldest_version = 2":   "the schema is being migrated from version 1 to 2, which is newer than this build (1)",
		"schema_version = 0, oldest_version = 0":   "schema version 0 is older than this build needs (1)",
	} {
		mustExec(t, db, "UPDATE keyfold_meta SET "+version+" WHERE id = 1")
		if err := running.Check(t.Context()); !errors.Is(err, keyfold.ErrCheckFailed) || !strings.Contains(err.Error(), reason) {
			t.Errorf("Check with %s: got %v, want an ErrCheckFailed: %s", version, err, reason)
		}
	}
	mustExec(t, db, "UPDATE keyfold_meta SET schema_version = 99, oldest_version = 99 WHERE id = 1")
	_, err := e.Open(t.Context(), dsn)
	if err == nil || !strings.Contains(err.Error(), "schema version 99 is newer than this build (1)") {
		t.Fatalf("Open of a newer schema: got %v", err)
	}
	if after := e.schema(t, dsn); after != before {
		t.Errorf("Open changed a newer schema from\n%s\nto\n%s", before, after)
	}
	var version int
	if err := db.QueryRowContext(t.Context(), "SELECT schema_version FROM keyfold_meta").Scan(&version); err != nil || version != 99 {
		t.Errorf("the version is %d (%v), want 99 as before", version, err)
	}
}

// TestMigration checks the versions that a store reports.
func (e Engine) TestMigration(t *testing.T) {
	dsn := e.New(t)
	migration := func() (from, to int64) {
		store, ok := e.open(t, dsn).(interface{ Migration() (from, to int64) })
		if !ok {
			t.Fatal("the store must have the method Migration")
		}
		return store.Migration()
	}
	from, current := migration()
	if from != 0 || current < 1 {
		t.Errorf("of a new database: from %d to %d, want from 0", from, current)
	}
	if from, to := migration(); from != current || to != current {
		t.Errorf("of a current schema: from %d to %d, want %d both", from, to, current)
	}
}
