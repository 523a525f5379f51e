package storetest

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/keyfold/keyfold"
)

// tb contains the methods of *testing.T that cases use. The tests of this package
// implement it to check that the suite detects broken stores.
type tb interface {
	Helper()
	Context() context.Context
	Cleanup(func())
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
}

// trial is one run of a case on a store.
type trial struct {
	tb
	ctx   context.Context
	store keyfold.Store
	// another returns a new store that shares no data with the first.
	another func() keyfold.Store
	// clock is the time of the last mutation. It advances by a millisecond for each
	// mutation, so that all times are different.
	clock time.Time
	slow  bool // set by the option Slow
	// patience is the maximum time that a call may take after its context is done.
	patience time.Duration
}

// scale returns n, or a fifth of it on a slow store.
func (t *trial) scale(n int) int {
	if t.slow {
		return max(2, n/5)
	}
	return n
}

func newTrial(t tb, store keyfold.Store, another func() keyfold.Store) *trial {
	return &trial{
		tb: t, ctx: t.Context(), store: store, another: another,
		clock: time.Now().UTC().Truncate(time.Millisecond), patience: 15 * time.Second,
	}
}

// now advances the clock and returns the time.
func (t *trial) now() time.Time {
	t.clock = t.clock.Add(time.Millisecond)
	return t.clock
}

// id returns 16 base62 characters that no other case uses.
func (t *trial) id() string { return newID(16) }

func newID(length int) string {
	const base62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	text := make([]byte, length)
	for i := range text {
		text[i] = base62[rand.IntN(len(base62))]
	}
	return string(text)
}

// mutation returns a mutation with a value in every field.
func (t *trial) mutation(action, target string) keyfold.Mutation {
	return keyfold.Mutation{
		At: t.now(), Actor: "olga@example", IP: netip.MustParseAddr("192.0.2.7"), Action: action, Target: target,
		Before: `{"name":"as it was"}`, After: `{"name":"as it became"}`, RequestID: "request-17",
	}
}

// record returns a key with few values. It does not store the key.
func (t *trial) record(edits ...func(*keyfold.KeyRecord)) keyfold.KeyRecord {
	id, at := t.id(), t.now()
	key := keyfold.KeyRecord{
		Key: keyfold.Key{
			ID: id, Hint: "kf_" + id[:4] + "…", Prefix: "kf", Name: "name of " + id, LineageID: id, Version: 1,
			CreatedAt: at, UpdatedAt: at, ExpiresAt: at.Add(24 * time.Hour),
		},
		Secret:   keyfold.SecretHash{Alg: "kf2", Sum: [32]byte{1, 2, 3}},
		ActiveAt: at,
	}
	for _, edit := range edits {
		edit(&key)
	}
	return key
}

// create stores a key that record returns.
func (t *trial) create(edits ...func(*keyfold.KeyRecord)) keyfold.KeyRecord {
	t.Helper()
	key := t.record(edits...)
	t.wantNoError("CreateKey", t.store.CreateKey(t.ctx, key, t.mutation("key.create", key.ID)))
	return key
}

// perStep is the number of keys that createMany stores in one transaction. It is small,
// so that slow machines keep within the time limits of a store.
const perStep = 100

// createMany stores n keys in few transactions.
func (t *trial) createMany(n int, edits ...func(*keyfold.KeyRecord)) []keyfold.KeyRecord {
	t.Helper()
	keys := make([]keyfold.KeyRecord, n)
	for i := range keys {
		keys[i] = t.record(edits...)
	}
	for some := range slices.Chunk(keys, perStep) {
		t.wantNoError("InTx", t.inTx(func(tx keyfold.Store) error {
			for _, key := range some {
				if err := tx.CreateKey(t.ctx, key, t.mutation("key.create", key.ID)); err != nil {
					return err
				}
			}
			return nil
		}))
	}
	return keys
}

// hasTx reports whether the store has transactions.
func (t *trial) hasTx() bool {
	t.Helper()
	err := t.store.InTx(t.ctx, func(keyfold.Store) error { return nil })
	if errors.Is(err, errors.ErrUnsupported) {
		return false
	}
	t.wantNoError("InTx", err)
	return true
}

// inTx runs fn in a transaction, or without one if the store has no transactions.
func (t *trial) inTx(fn func(keyfold.Store) error) error {
	err := t.store.InTx(t.ctx, fn)
	if errors.Is(err, errors.ErrUnsupported) {
		return fn(t.store)
	}
	return err
}

// wantKey returns a key, which must exist.
func (t *trial) wantKey(id string) keyfold.KeyRecord {
	t.Helper()
	key, err := t.store.Key(t.ctx, id)
	t.wantNoError("Key", err)
	return key
}

// wantNoKey checks that no key with this ID exists.
func (t *trial) wantNoKey(id string) {
	t.Helper()
	_, err := t.store.Key(t.ctx, id)
	t.wantError("Key", err, keyfold.ErrNotFound)
}

// set changes the state of one key. The change must apply.
func (t *trial) set(id string, change keyfold.StateChange) {
	t.Helper()
	changed, err := t.store.SetKeyState(t.ctx, []string{id}, change, "because", t.mutation("key.state", id))
	t.wantNoError("SetKeyState", err)
	if len(changed) != 1 || changed[0] != id {
		t.Fatalf("SetKeyState changed %q, want %q", changed, id)
	}
}

// rotate rotates a key and returns its successor.
func (t *trial) rotate(old keyfold.KeyRecord) keyfold.KeyRecord {
	t.Helper()
	r := t.rotation(old)
	t.wantNoError("RotateKey", t.store.RotateKey(t.ctx, r, t.mutation("key.rotate", old.ID)))
	return r.New
}

// rotation returns a rotation that the state of the key allows.
func (t *trial) rotation(old keyfold.KeyRecord) keyfold.Rotation {
	successor := t.record(func(key *keyfold.KeyRecord) {
		key.LineageID, key.RotatedFrom = old.LineageID, old.ID
	})
	return keyfold.Rotation{OldID: old.ID, OldVersion: old.Version, OldEnd: t.now().Add(time.Hour), New: successor}
}

// wantNoError ends the case unless err is nil.
func (t *trial) wantNoError(what string, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%s: got error %q, want none", what, err)
	}
}

// wantError reports an error other than want.
func (t *trial) wantError(what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: got error %v, want %v", what, err, want)
	}
}

// wantEqual reports the fields in which got differs from want.
func (t *trial) wantEqual(what string, got, want any) {
	t.Helper()
	for _, line := range diff(got, want) {
		t.Errorf("%s: %s", what, line)
	}
}

// race calls fn n times concurrently and returns the errors.
func race(n int, fn func(i int) error) []error {
	errs := make([]error, n)
	start := make(chan struct{})
	var group sync.WaitGroup
	for i := range n {
		group.Go(func() {
			<-start
			errs[i] = fn(i)
		})
	}
	close(start)
	group.Wait()
	return errs
}

// again repeats fn while it returns ErrRetry, but at most 20 times.
func again(fn func() error) error {
	var err error
	for range 20 {
		if err = fn(); !errors.Is(err, keyfold.ErrRetry) {
			return err
		}
	}
	return err
}

// count returns the number of errors that are want.
func count(errs []error, want error) int {
	n := 0
	for _, err := range errs {
		if errors.Is(err, want) {
			n++
		}
	}
	return n
}
