package keyfold_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/internal/testdb"
	"github.com/keyfold/keyfold/store/memory"
	"github.com/keyfold/keyfold/store/sqlite"
)

// listed returns a Service with three keys, and the cursor of its first page of one.
func listed(t *testing.T, store keyfold.Store) (*keyfold.Service, string) {
	t.Helper()
	svc := newService(t, store, nil)
	for range 3 {
		if _, _, err := svc.CreateKey(t.Context(), keyfold.NewKey{}); err != nil {
			t.Fatal(err)
		}
	}
	page, err := svc.Keys(t.Context(), keyfold.KeyQuery{Limit: 1})
	if err != nil || page.Next == "" {
		t.Fatalf("the first page: next %q, %v", page.Next, err)
	}
	return svc, page.Next
}

// Seen to fail with a cursor that carried a checksum of its filter and no MAC.
func TestCursorThatWasEditedIsRefused(t *testing.T) {
	t.Parallel()
	svc, next := listed(t, memory.New())
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	edits := []string{next + "A", next[:len(next)-1], next[1:], strings.ToLower(next), next + "\n", next[:4] + "\r\n" + next[4:]}
	for i := range next {
		other := alphabet[(strings.IndexByte(alphabet, next[i])+7)%len(alphabet)]
		edits = append(edits, next[:i]+string(other)+next[i+1:])
	}
	for _, edited := range edits {
		t.Run(edited, func(t *testing.T) {
			_, err := svc.Keys(t.Context(), keyfold.KeyQuery{Limit: 1, Cursor: edited})
			if refused, ok := errors.AsType[*keyfold.InvalidError](err); !ok || refused.Field != "cursor" {
				t.Errorf("the cursor %q, edited to %q: got %v, want an InvalidError", next, edited, err)
			}
		})
	}
	for name, q := range map[string]keyfold.KeyQuery{
		"another owner": {OwnerID: keyfold.Only("o"), Cursor: next}, "another state": {State: keyfold.KeyActive, Cursor: next},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := svc.Keys(t.Context(), q); !errors.Is(err, keyfold.ErrInvalid) {
				t.Errorf("%s: got %v, want an InvalidError", name, err)
			}
		})
	}
	_, foreign := listed(t, memory.New())
	if _, err := svc.Keys(t.Context(), keyfold.KeyQuery{Limit: 1, Cursor: foreign}); !errors.Is(err, keyfold.ErrInvalid) {
		t.Errorf("the cursor of another database: got %v, want an InvalidError", err)
	}
}

func TestCursorIsTakenByEveryProcess(t *testing.T) {
	t.Parallel()
	file := testdb.SQLite(t)
	open := func() keyfold.Store { return opened(t)(sqlite.Open(t.Context(), file)) }
	here, next := listed(t, open())
	there := newService(t, open(), nil)
	var pages [2][]string
	for i, svc := range []*keyfold.Service{here, there} {
		page, err := svc.Keys(t.Context(), keyfold.KeyQuery{Limit: 1, Cursor: next})
		if err != nil {
			t.Fatal(err)
		}
		for _, key := range page.Keys {
			pages[i] = append(pages[i], key.ID)
		}
	}
	if !slices.Equal(pages[0], pages[1]) || len(pages[0]) != 1 {
		t.Errorf("one process continues with %v, another with %v", pages[0], pages[1])
	}
}
