package sqlite_test

import (
	"context"
	"database/sql/driver"
	"errors"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"modernc.org/sqlite"

	"github.com/keyfold/keyfold/internal/testdb"
	"github.com/keyfold/keyfold/store/internal/sqltest"
)

// conns is how many connections Open gives to lists, and as many to verifies.
var conns = max(4, runtime.GOMAXPROCS(0))

// stall is an SQL function that holds up the query which calls it, whatever the
// context of the query says, as a disk does that no longer answers.
var stall struct {
	register sync.Once
	gates    sync.Map // of *gate, by the name that is passed to the function
}

type gate struct {
	held atomic.Int64 // queries
	open chan struct{}
}

// stalls makes the queries of a view of the database call stall.
func stalls(t *testing.T, path, view, column, as string) *gate {
	t.Helper()
	stall.register.Do(func() {
		sqlite.MustRegisterScalarFunction("test_stall", 2, func(_ *sqlite.FunctionContext, args []driver.Value) (driver.Value, error) {
			found, _ := stall.gates.Load(args[0])
			g := found.(*gate)
			g.held.Add(1)
			<-g.open
			return args[1], nil
		})
	})
	g := &gate{open: make(chan struct{})}
	stall.gates.Store(path, g)
	db := pool(t, path, "_pragma=busy_timeout(5000)")
	var statement string
	must(t, db.QueryRowContext(t.Context(), "SELECT sql FROM sqlite_master WHERE name = ?", view).Scan(&statement))
	changed := strings.Replace(statement, column+" "+as, column, 1)
	changed = strings.Replace(changed, column, "test_stall('"+path+"', "+column+") "+as, 1)
	if changed == statement {
		t.Fatalf("the view %s has no column %s", view, column)
	}
	for _, s := range []string{"DROP VIEW " + view, changed} {
		_, err := db.ExecContext(t.Context(), s)
		must(t, err)
	}
	return g
}

// hold runs a call n times, which must be held up, and returns a func that lets them
// end.
func (g *gate) hold(t *testing.T, n int, call func(context.Context) error) (release func()) {
	t.Helper()
	var calls sync.WaitGroup
	for range n {
		calls.Go(func() {
			if err := call(context.Background()); err != nil {
				t.Errorf("a call that was held up: %v", err)
			}
		})
	}
	release = sync.OnceFunc(func() {
		close(g.open)
		calls.Wait()
	})
	t.Cleanup(release)
	for deadline := time.Now().Add(10 * time.Second); g.held.Load() < int64(n); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d calls are held up, want %d", g.held.Load(), n)
		}
	}
	return release
}

// Mutation tried: verifyRow that waits for a connection of Lookups.
func TestVerifyWaitsNoLongerThanItsContextWhileTheDiskStalls(t *testing.T) {
	t.Parallel()
	path := testdb.SQLite(t)
	store := open(t, path)
	key := sqltest.Create(t, store)
	verify := func(ctx context.Context) error {
		_, err := store.VerifyKey(ctx, key.ID)
		return err
	}
	release := stalls(t, path, "keyfold_verify", "k.secret_alg", "AS secret_alg").hold(t, 2*conns, verify)
	for range 3 {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		if err := verify(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("VerifyKey: got %v, want context.DeadlineExceeded", err)
		}
		cancel()
	}
	release()
	if err := verify(t.Context()); err != nil {
		t.Errorf("VerifyKey after the stall: %v", err)
	}
}

// Mutation tried: an Engine without Lookups.
func TestVerifyNeedsNoConnectionOfLists(t *testing.T) {
	t.Parallel()
	path := testdb.SQLite(t)
	store := open(t, path)
	key := sqltest.Create(t, store)
	read := func(ctx context.Context) error {
		_, err := store.Key(ctx, key.ID)
		return err
	}
	stalls(t, path, "keyfold_key_rows", "COALESCE(t.uses, 0)", "AS uses").hold(t, conns, read)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := read(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("Key: got %v, want context.DeadlineExceeded: the pool still has a connection", err)
	}
	ctx, cancel = context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	for range 100 {
		if _, err := store.VerifyKey(ctx, key.ID); err != nil {
			t.Fatalf("VerifyKey: %v", err)
		}
	}
}

func TestVerifyWhoseContextIsDoneReadsNothing(t *testing.T) {
	t.Parallel()
	store := open(t, testdb.SQLite(t))
	key := sqltest.Create(t, store)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if record, err := store.VerifyKey(ctx, key.ID); !errors.Is(err, context.Canceled) || record.KeyID != "" {
		t.Errorf("VerifyKey: got key %q, %v; want context.Canceled", record.KeyID, err)
	}
}
