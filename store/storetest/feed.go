package storetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/keyfold/keyfold"
)

func feedCases() []testCase {
	return []testCase{
		{name: "an empty cursor returns no changes and the current cursor", run: emptyCursor},
		{name: "each change after the cursor is returned", run: changesAfterCursor},
		{name: "a change is returned for any value of its time", run: changesOfAnyTime},
		{name: "a cursor can be used again", run: cursorIsReusable},
		{name: "every change is returned, in whatever order transactions commit", run: everyChangeIsReturned},
		{name: "the changes of a transaction that was open when the cursor was taken are returned", run: openTransactionIsReturned, tx: true},
		{name: "changes of one transaction are returned together", run: transactionIsReturnedWhole, tx: true},
		{name: "changes that were rolled back are not returned", run: rolledBackIsNotReturned, tx: true},
		{name: "a malformed cursor returns a change without a target", run: garbageCursor},
		{name: "a cursor of another store returns a change without a target", run: foreignCursor},
		{name: "a feed continues after a change without a target", run: feedGoesOn},
		{name: "the feed of a new store works", run: newFeed, alone: true},
	}
}

// renew changes a key at the given time and returns the action of the mutation.
func (t *trial) renew(id string, at time.Time) string {
	t.Helper()
	m := t.mutation(t.action(), id)
	m.At = at
	key := t.wantKey(id)
	t.wantNoError("RenewKey", t.store.RenewKey(t.ctx, id, key.Version, key.ExpiresAt, m))
	return m.Action
}

// nextCursor reads the feed once and returns the next cursor.
func (t *trial) nextCursor(cursor string) string {
	t.Helper()
	_, next, err := t.store.Changes(t.ctx, cursor)
	t.wantNoError("Changes", err)
	if next == "" {
		t.Errorf("Changes returned an empty cursor, want one for the next call")
	}
	return next
}

// feedLost reports whether the feed returns a change without a target, which means that
// any key may have changed.
func (t *trial) feedLost(cursor string) bool {
	t.Helper()
	changes, next, err := t.store.Changes(t.ctx, cursor)
	t.wantNoError("Changes", err)
	if next == "" {
		t.Errorf("Changes returned an empty cursor, want one for the next call")
	}
	return slices.ContainsFunc(changes, func(change keyfold.Change) bool { return change.Target == "" })
}

func emptyCursor(t *trial) {
	key := t.create()
	cursor := t.cursor() // checks that nothing is returned
	if cursor == "" {
		t.Errorf("Changes of an empty cursor returned an empty cursor")
	}
	action := t.renew(key.ID, t.now())
	if got := t.changes(cursor, action); len(got) != 1 {
		t.Errorf("the first change after the cursor was returned %d times, want once", len(got))
	}
}

func changesAfterCursor(t *trial) {
	keys := t.createMany(3)
	cursor := t.cursor()
	for round := range 3 {
		var actions []string
		for _, key := range keys {
			actions = append(actions, t.renew(key.ID, t.now()))
		}
		changes, next, err := t.store.Changes(t.ctx, cursor)
		t.wantNoError("Changes", err)
		for i, action := range actions {
			at := slices.IndexFunc(changes, func(change keyfold.Change) bool { return change.Action == action })
			if at < 0 {
				t.Errorf("round %d: change %d was not returned", round, i)
				continue
			}
			if got := changes[at].Target; got != keys[i].ID {
				t.Errorf("round %d: change %d has target %q, want %q", round, i, got, keys[i].ID)
			}
		}
		cursor = next
	}
}

func changesOfAnyTime(t *trial) {
	key := t.create()
	for _, offset := range []time.Duration{-1000 * time.Hour, -time.Minute, 0, time.Minute, 1000 * time.Hour, -time.Second} {
		cursor := t.nextCursor(t.cursor())
		at := t.now().Add(offset)
		action := t.renew(key.ID, at)
		got := t.changes(cursor, action)
		if len(got) != 1 || !got[0].At.Equal(at) {
			t.Errorf("a change with a time %v from now: got %v, want it returned with that time", offset, got)
		}
	}
}

func cursorIsReusable(t *trial) {
	key := t.create()
	cursor := t.cursor()
	first, second := t.renew(key.ID, t.now()), t.renew(key.ID, t.now())
	t.nextCursor(cursor)
	for range 2 {
		if len(t.changes(cursor, first)) != 1 || len(t.changes(cursor, second)) != 1 {
			t.Errorf("a cursor that was used before passed over a change")
		}
	}
}

func everyChangeIsReturned(t *trial) {
	writers, rounds := 8, t.scale(15)
	keys := t.createMany(writers)
	prefix := t.action()
	action := func(writer, round, part int) string { return fmt.Sprintf("%s.%d.%d.%d", prefix, writer, round, part) }
	cursor := t.cursor()
	at := t.now()

	written := make(chan struct{})
	var errs []error
	var group sync.WaitGroup
	group.Go(func() {
		defer close(written)
		errs = race(writers, func(i int) error {
			for round := range rounds {
				// Long transactions and short ones overtake each other.
				if err := t.writeRound(keys[i], i, round, at, action); err != nil {
					return err
				}
			}
			return nil
		})
	})
	seen := map[string]bool{}
	poll := func() error {
		changes, next, err := t.store.Changes(t.ctx, cursor)
		for _, change := range changes {
			seen[change.Action] = true
		}
		cursor = next
		return err
	}
	var pollErr error
	for done := false; !done && pollErr == nil; {
		select {
		case <-written:
			done = true // all changes are committed, so this poll is the last
		default:
		}
		pollErr = poll()
	}
	group.Wait()
	t.wantNoError("writing", errors.Join(errs...))
	t.wantNoError("polling", pollErr)
	for i := range writers {
		for round := range rounds {
			for part := range 1 + i%2*round%3 {
				if !seen[action(i, round, part)] {
					t.Errorf("no poll returned change %d of round %d of writer %d", part, round, i)
				}
			}
		}
	}
}

// writeRound makes the changes of one round. Writers with an odd number make one to three
// changes in a transaction, and the others make one change without a transaction.
func (t *trial) writeRound(key keyfold.KeyRecord, writer, round int, at time.Time,
	action func(writer, round, part int) string,
) error {
	return again(func() error {
		return t.inTx(func(tx keyfold.Store) error {
			for part := range 1 + writer%2*round%3 {
				now, err := tx.Key(t.ctx, key.ID)
				if err != nil {
					return err
				}
				m := keyfold.Mutation{At: at, Action: action(writer, round, part), Target: key.ID}
				if err := tx.RenewKey(t.ctx, key.ID, now.Version, time.Time{}, m); err != nil {
					return err
				}
			}
			return nil
		})
	})
}

func openTransactionIsReturned(t *trial) {
	key, other := t.create(), t.create()
	m, overtaking := t.mutation(t.action(), key.ID), t.mutation(t.action(), other.ID)
	var cursor string
	t.wantNoError("InTx", t.store.InTx(t.ctx, func(tx keyfold.Store) error {
		if err := tx.RenewKey(t.ctx, key.ID, key.Version, time.Time{}, m); err != nil {
			return err
		}
		// If two transactions can write at the same time, the cursor follows a change that
		// began later and was committed earlier. Otherwise this call times out.
		ctx, cancel := context.WithTimeout(t.ctx, 250*time.Millisecond)
		defer cancel()
		overtaken := make(chan error, 1)
		go func() { overtaken <- t.store.RenewKey(ctx, other.ID, other.Version, time.Time{}, overtaking) }()
		select {
		case <-overtaken:
		case <-time.After(15 * time.Second):
			return errors.New("a method waited 15 s for a lock with a context of 250 ms")
		}
		var err error
		_, cursor, err = t.store.Changes(t.ctx, "")
		return err
	}))
	t.wantChange(cursor, m.Action)
}

// wantChange checks that the feed returns a change after the cursor.
func (t *trial) wantChange(cursor, action string) {
	t.Helper()
	changes, _, err := t.store.Changes(t.ctx, cursor)
	t.wantNoError("Changes", err)
	if !slices.ContainsFunc(changes, func(change keyfold.Change) bool { return change.Action == action }) {
		t.Errorf("a change that was committed after the cursor was taken was not returned")
	}
}

func transactionIsReturnedWhole(t *trial) {
	keys := t.createMany(3)
	cursor := t.cursor()
	m := t.mutation(t.action(), "")
	t.wantNoError("InTx", t.store.InTx(t.ctx, func(tx keyfold.Store) error {
		for _, key := range keys {
			m.Target = key.ID
			if err := tx.RenewKey(t.ctx, key.ID, 1, time.Time{}, m); err != nil {
				return err
			}
		}
		return nil
	}))
	t.wantChanges(cursor, m, t.ids(keys)...)
}

func rolledBackIsNotReturned(t *trial) {
	key := t.create()
	cursor := t.cursor()
	m := t.mutation(t.action(), key.ID)
	refused := errors.New("rolled back")
	err := t.store.InTx(t.ctx, func(tx keyfold.Store) error {
		return errors.Join(tx.RenewKey(t.ctx, key.ID, 1, time.Time{}, m), refused)
	})
	t.wantError("InTx", err, refused)
	t.wantNoRows(cursor, m)
	// It must not be returned after another change either.
	t.renew(key.ID, t.now())
	t.wantNoRows(cursor, m)
}

func garbageCursor(t *trial) {
	t.create()
	good := t.cursor()
	for _, cursor := range []string{
		"garbage", " ", "0", "-1", "9223372036854775807", "99999999999999999999", ":", "::", "{}", "\x00", "é",
		good + "x", "x" + good,
	} {
		if !t.feedLost(cursor) {
			t.Errorf("cursor %q got no change with an empty target", cursor)
		}
	}
}

func foreignCursor(t *trial) {
	other := t.another()
	key := t.record()
	t.wantNoError("CreateKey", other.CreateKey(t.ctx, key, t.mutation("key.create", key.ID)))
	_, cursor, err := other.Changes(t.ctx, "")
	t.wantNoError("Changes", err)
	t.create()
	if !t.feedLost(cursor) {
		t.Errorf("a cursor of another store got no change with an empty target")
	}
}

func feedGoesOn(t *trial) {
	key := t.create()
	_, cursor, err := t.store.Changes(t.ctx, "garbage")
	t.wantNoError("Changes", err)
	if t.feedLost(cursor) {
		t.Errorf("the cursor that came with a flush flushes again")
	}
	action := t.renew(key.ID, t.now())
	t.wantChange(cursor, action)
}

func newFeed(t *trial) {
	cursor := t.cursor()
	for range 2 {
		changes, next, err := t.store.Changes(t.ctx, cursor)
		t.wantNoError("Changes", err)
		if len(changes) != 0 {
			t.Errorf("a store in which nothing happened returned %v", changes)
		}
		cursor = next
	}
	key := t.create()
	action := t.renew(key.ID, t.now())
	t.wantChange(cursor, action)
}
