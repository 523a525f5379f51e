package sqltest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/keyfold/keyfold/store/internal/sqlstore"
)

// The variables by which a test binary that was started by a test knows what
// it is there for.
const (
	childDSN  = "KEYFOLD_TEST_CHILD_DSN"
	childStep = "KEYFOLD_TEST_CHILD_KILL_BEFORE_STEP"
)

// Main is the TestMain of a store's tests. In a child process it opens the
// store, which migrates, and kills itself on the way where it was told to.
func Main(m *testing.M, engine Engine) {
	dsn := os.Getenv(childDSN)
	if dsn == "" {
		os.Exit(m.Run())
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if step, err := strconv.Atoi(os.Getenv(childStep)); err == nil {
		ctx = sqlstore.WithStep(ctx, func(n int) {
			if n == step {
				_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
				time.Sleep(time.Minute) // until the signal arrives
			}
		})
	}
	store, err := engine.Open(ctx, dsn)
	if err == nil {
		err = errors.Join(store.Ping(ctx), store.Close())
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	os.Exit(0)
}

// child runs the test binary as a process that opens the store. killed is true
// when it killed itself.
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

// schema reads what the engine says of its tables.
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

// TestManyProcesses starts 20 processes at once on a fresh database, each of
// which must find or make the schema.
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

// TestKilledMigration kills a process before each statement of a migration.
// The next process must end up with the same schema as if nothing had happened.
func (e Engine) TestKilledMigration(t *testing.T) {
	clean := e.New(t)
	e.open(t, clean)
	want := e.schema(t, clean)
	for step := 1; ; step++ {
		dsn := e.New(t)
		killed, err := child(dsn, step)
		if err != nil {
			t.Fatalf("killed before step %d: %v", step, err)
		}
		if !killed {
			if step < 10 {
				t.Fatalf("the migration has %d steps only", step-1)
			}
			t.Logf("killed before each of %d steps", step-1)
			return
		}
		if _, err := child(dsn, 0); err != nil {
			t.Fatalf("restart after a kill before step %d: %v", step, err)
		}
		if got := e.schema(t, dsn); got != want {
			t.Fatalf("after a kill before step %d the schema is\n%s\nwant\n%s", step, got, want)
		}
		Create(t, e.open(t, dsn))
	}
}

// TestNewerSchema checks that a build leaves a schema alone that it does not know.
func (e Engine) TestNewerSchema(t *testing.T) {
	dsn := e.New(t)
	e.open(t, dsn)
	db := e.SQL(t, dsn)
	mustExec(t, db, "UPDATE keyfold_meta SET schema_version = 99 WHERE id = 1")
	before := e.schema(t, dsn)
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
