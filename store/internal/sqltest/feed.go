package sqltest

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/keyfold/keyfold"
)

// Begin begins a transaction of the host.
type Begin func(t testing.TB) Host

// Host is a transaction of the host, and a store that is bound to it.
type Host struct {
	Store    keyfold.Store
	Commit   func() error
	Rollback func() error
	Exec     func(ctx context.Context, statement string) error
}

// Listener polls the feed of a store.
type Listener struct {
	store  keyfold.Store
	cursor string
}

// Listen returns a listener for later changes.
func Listen(t testing.TB, store keyfold.Store) *Listener {
	t.Helper()
	l := &Listener{store: store}
	if got := l.Poll(t); len(got) != 0 {
		t.Fatalf("a new listener: got changes of %q, want none", got)
	}
	return l
}

// Poll returns the targets of the changes since the last poll.
func (l *Listener) Poll(t testing.TB) []string {
	t.Helper()
	changes, next, err := l.store.Changes(t.Context(), l.cursor)
	if err != nil {
		t.Fatalf("Changes: %v", err)
	}
	l.cursor = next
	var targets []string
	for _, change := range changes {
		targets = append(targets, change.Target)
	}
	return targets
}

func (l *Listener) wantChanges(t testing.TB, when string, want ...string) {
	t.Helper()
	got := l.Poll(t)
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("%s: got changes of %q, want %q", when, got, want)
	}
}

// TestCommitOrder commits transactions in an order other than that of their writes.
func TestCommitOrder(t *testing.T, store keyfold.Store, begin Begin) {
	Create(t, store)
	l := Listen(t, store)
	first, second, lost := begin(t), begin(t), begin(t)
	a, rolledBack, b := Create(t, first.Store), Create(t, lost.Store), Create(t, second.Store)
	between := Listen(t, store) // while the transactions are open

	l.wantChanges(t, "before any commit")
	end(t, second.Commit)
	l.wantChanges(t, "after the second commit", b.ID)
	between.wantChanges(t, "a listener that began between", b.ID)
	for range 3 {
		l.wantChanges(t, "while the first is open")
		between.wantChanges(t, "while the first is open")
	}
	c := Create(t, store)
	l.wantChanges(t, "a change after both", c.ID)
	end(t, lost.Rollback)
	l.wantChanges(t, "after a rollback")
	end(t, first.Commit)
	l.wantChanges(t, "after the first commit, which wrote first", a.ID)
	between.wantChanges(t, "after the first commit, which wrote first", a.ID, c.ID)
	l.wantChanges(t, "at the end")
	between.wantChanges(t, "at the end")
	if _, err := store.Key(t.Context(), rolledBack.ID); !errors.Is(err, keyfold.ErrNotFound) {
		t.Errorf("a key of a transaction that was rolled back: got error %v, want ErrNotFound", err)
	}
}

func end(t testing.TB, fn func() error) {
	t.Helper()
	if err := fn(); err != nil {
		t.Fatal(err)
	}
}

// TestBrokenFeed checks that a poll which may miss changes returns a change without a
// target once, and that later polls work.
func (e Engine) TestBrokenFeed(t *testing.T) {
	for name, harm := range map[string]func(t *testing.T, dsn string, store keyfold.Store){
		"pruned past the cursor": func(t *testing.T, _ string, store keyfold.Store) {
			for range 3 {
				Create(t, store)
			}
			if n, _, err := store.PruneChanges(t.Context(), time.Now().Add(time.Hour), 100); err != nil || n != 5 {
				t.Fatalf("PruneChanges: %d, %v, want all but the newest of 6", n, err)
			}
		},
		"emptied": func(t *testing.T, dsn string, _ keyfold.Store) {
			mustExec(t, e.SQL(t, dsn), "DELETE FROM keyfold_changes")
		},
		"rewound, as by a backup": func(t *testing.T, dsn string, _ keyfold.Store) {
			mustExec(t, e.SQL(t, dsn), "DELETE FROM keyfold_changes WHERE seq > 1")
		},
		"rewound, and another history since": func(t *testing.T, dsn string, store keyfold.Store) {
			mustExec(t, e.SQL(t, dsn), "UPDATE keyfold_changes SET at = at + 12345 WHERE seq > 1")
			Create(t, store)
		},
		"of another database": func(t *testing.T, dsn string, _ keyfold.Store) {
			mustExec(t, e.SQL(t, dsn), "UPDATE keyfold_meta SET feed_id = 'another'")
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dsn := e.New(t)
			store := e.open(t, dsn)
			for range 3 {
				Create(t, store)
			}
			l := Listen(t, store)
			harm(t, dsn, store)
			l.wantChanges(t, "the first poll", "")
			l.wantChanges(t, "the second poll")
			key := Create(t, store)
			l.wantChanges(t, "the next change", key.ID)
		})
	}
	t.Run("pruning behind the cursor does no harm", func(t *testing.T) {
		t.Parallel()
		store := e.open(t, e.New(t))
		for range 3 {
			Create(t, store)
		}
		l := Listen(t, store)
		if n, _, err := store.PruneChanges(t.Context(), time.Now().Add(time.Hour), 100); err != nil || n != 2 {
			t.Fatalf("PruneChanges: %d, %v, want 2", n, err)
		}
		if got := l.Poll(t); len(got) > 0 && !(e.Cautious && slices.Equal(got, []string{""})) {
			t.Errorf("after the pruning: got changes of %q, want none", got)
		}
		l.wantChanges(t, "the second poll")
		key := Create(t, store)
		l.wantChanges(t, "the next change", key.ID)
		Listen(t, store).wantChanges(t, "a new listener")
	})
}
