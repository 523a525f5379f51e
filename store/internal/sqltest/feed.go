package sqltest

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/keyfold/keyfold"
)

// Begin begins a transaction of the caller's own.
type Begin func(t testing.TB) Host

// Host is a transaction that the test began.
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

// Listen returns a listener from now on.
func Listen(t testing.TB, store keyfold.Store) *Listener {
	t.Helper()
	l := &Listener{store: store}
	if got := l.Poll(t); len(got) != 0 {
		t.Fatalf("a feed from now on begins with %q", got)
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

func (l *Listener) hears(t testing.TB, when string, want ...string) {
	t.Helper()
	got := l.Poll(t)
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("%s: heard of %q, want %q", when, got, want)
	}
}

// TestCommitOrder commits transactions in another order than they wrote.
func TestCommitOrder(t *testing.T, store keyfold.Store, begin Begin) {
	Create(t, store)
	l := Listen(t, store)
	first, second, lost := begin(t), begin(t), begin(t)
	a, gone, b := Create(t, first.Store), Create(t, lost.Store), Create(t, second.Store)
	late := Listen(t, store) // while both are open

	l.hears(t, "before any commit")
	end(t, second.Commit)
	l.hears(t, "after the second commit", b.ID)
	late.hears(t, "a listener that began between", b.ID)
	for range 3 {
		l.hears(t, "while the first is open")
		late.hears(t, "while the first is open")
	}
	c := Create(t, store)
	l.hears(t, "a change after both", c.ID)
	end(t, lost.Rollback)
	l.hears(t, "after a rollback")
	end(t, first.Commit)
	l.hears(t, "after the first commit, which wrote first", a.ID)
	late.hears(t, "after the first commit, which wrote first", a.ID, c.ID)
	l.hears(t, "at the end")
	late.hears(t, "at the end")
	if _, err := store.Key(t.Context(), gone.ID); err == nil {
		t.Error("a key outlived the rollback of its transaction")
	}
}

func end(t testing.TB, fn func() error) {
	t.Helper()
	if err := fn(); err != nil {
		t.Fatal(err)
	}
}

// TestBrokenFeed checks that a poll which cannot know what it missed says so
// once, and goes on.
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
			l.hears(t, "after the harm", "")
			l.hears(t, "after that")
			key := Create(t, store)
			l.hears(t, "the next change", key.ID)
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
			t.Errorf("after the pruning: heard of %q, want nothing", got)
		}
		l.hears(t, "after that")
		key := Create(t, store)
		l.hears(t, "the next change", key.ID)
		Listen(t, store).hears(t, "a new listener")
	})
}
