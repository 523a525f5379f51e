package sqlstore_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/query/model"
	"github.com/keyfold/keyfold/store/internal/sqlstore"
)

// blockingEngine is an engine whose transactions begin when the test ends the wait, and
// then fail.
type blockingEngine struct {
	t     *testing.T
	store *sqlstore.Store
	all   sync.WaitGroup

	mu      sync.Mutex
	waiting []chan struct{}
	names   []string // of the transactions, in the order in which they began
}

type nameKey struct{}

func newBlockingEngine(t *testing.T, engine sqlstore.Engine) *blockingEngine {
	b := &blockingEngine{t: t}
	engine.Class = func(error) sqlstore.Class { return sqlstore.Other }
	engine.Begin = b.begin("")
	if engine.Reserve != nil {
		engine.Reserve.Begin = b.begin("reserved ")
	}
	b.store = sqlstore.New(engine)
	return b
}

func (b *blockingEngine) begin(from string) func(context.Context) (sqlstore.Session, error) {
	return func(ctx context.Context) (sqlstore.Session, error) {
		ready := make(chan struct{})
		b.mu.Lock()
		b.waiting = append(b.waiting, ready)
		b.names = append(b.names, from+ctx.Value(nameKey{}).(string))
		b.mu.Unlock()
		<-ready
		return sqlstore.Session{}, errors.New("no database")
	}
}

// start starts a transaction for each name. It waits until the transaction has begun or
// is blocked.
func (b *blockingEngine) start(names ...string) {
	for _, name := range names {
		b.all.Go(func() { b.run(b.t.Context(), name) })
		synctest.Wait()
	}
}

func (b *blockingEngine) run(ctx context.Context, name string) {
	ctx = context.WithValue(ctx, nameKey{}, name)
	switch name[0] {
	case 'c':
		_ = b.store.CreateKey(ctx, keyfold.KeyRecord{}, keyfold.Mutation{})
	case 'a':
		_, _ = b.store.ReserveAttempt(ctx, nil, time.Time{})
	case 't':
		_ = b.store.InTx(ctx, func(keyfold.Store) error { return nil })
	case 'u':
		_, _ = b.store.RecordUsage(ctx, keyfold.UsageBatch{})
	case 'h':
		_ = b.store.RehashPassword(ctx, "", "", "")
	}
}

// end ends the oldest transaction.
func (b *blockingEngine) end() {
	b.mu.Lock()
	close(b.waiting[0])
	b.waiting = b.waiting[1:]
	b.mu.Unlock()
	synctest.Wait()
}

func (b *blockingEngine) began() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.names)
}

func (b *blockingEngine) wantBegan(when string, want ...string) {
	b.t.Helper()
	if got := b.began(); !slices.Equal(got, want) {
		b.t.Errorf("%s: %q began, want %q", when, got, want)
	}
}

func (b *blockingEngine) finish() {
	for range b.began() {
		if len(b.waiting) > 0 {
			b.end()
		}
	}
	for len(b.waiting) > 0 {
		b.end()
	}
	b.all.Wait()
}

// Mutation tried: one queue for all.
func TestChangesGoBeforeOtherWriters(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBlockingEngine(t, sqlstore.Engine{OneWriter: true})
		defer b.finish()
		b.start("usage 1", "attempt", "usage 2", "hash", "change 1", "tx", "change 2")
		b.wantBegan("while the first is open", "usage 1")
		for range 6 {
			b.end()
		}
		b.wantBegan("in turns", "usage 1", "change 1", "tx", "change 2", "attempt", "usage 2", "hash")
	})
}

// Mutation tried: changes that always go first, so that usage never gets a turn.
func TestOtherWritersComeAfterEightChanges(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBlockingEngine(t, sqlstore.Engine{OneWriter: true})
		defer b.finish()
		b.start("change", "usage", "attempt")
		want := []string{"change"}
		for i := range 20 {
			b.start(fmt.Sprint("change ", i))
		}
		for i := range 20 {
			want = append(want, fmt.Sprint("change ", i))
			switch i {
			case 7:
				want = append(want, "usage")
			case 15:
				want = append(want, "attempt")
			}
		}
		for range 22 {
			b.end()
		}
		b.wantBegan("with changes that do not end", want...)
	})
}

// Mutation tried: take without Remove, which gives the turn to a canceled writer.
func TestCanceledWriterTakesNoTurn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBlockingEngine(t, sqlstore.Engine{OneWriter: true})
		defer b.finish()
		b.start("usage 1")
		for _, name := range []string{"change canceled", "usage canceled"} {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			b.run(ctx, name)
			cancel()
		}
		b.start("usage 2")
		b.end()
		b.wantBegan("after two were canceled", "usage 1", "usage 2")
	})
}

// Mutation tried: a change that waits for the reserve while the pool is idle, and
// one that never does.
func TestChangesTakeReservedConnectionsAndThenIdleOnes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		idle := true
		b := newBlockingEngine(t, sqlstore.Engine{Reserve: &sqlstore.Reserve{Changes: 2, Idle: func() bool { return idle }}})
		defer b.finish()
		b.start("usage", "attempt", "change 1", "tx", "change 2")
		idle = false
		b.start("change 3")
		b.wantBegan("with two reserved connections", "usage", "attempt", "reserved change 1", "reserved tx", "change 2")
		b.end() // the transaction that holds no reserved connection
		b.end()
		b.wantBegan("while both are in use", "usage", "attempt", "reserved change 1", "reserved tx", "change 2")
		b.end()
		b.wantBegan("when one is free", "usage", "attempt", "reserved change 1", "reserved tx", "change 2", "reserved change 3")
	})
}

// Mutation tried: enter without the bound.
func TestAttemptsHoldFewConnections(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBlockingEngine(t, sqlstore.Engine{Attempts: 2})
		defer b.finish()
		b.start("attempt 1", "attempt 2", "attempt 3", "attempt 4", "usage", "change", "hash")
		b.wantBegan("at once", "attempt 1", "attempt 2", "usage", "change", "hash")
		b.end()
		b.wantBegan("when one has ended", "attempt 1", "attempt 2", "usage", "change", "hash", "attempt 3")
	})
}

func TestShareOfAPoolIsHalf(t *testing.T) {
	t.Parallel()
	for size, want := range map[int]int{0: 0, -1: 0, 1: 1, 2: 1, 3: 1, 4: 2, 32: 16} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			t.Parallel()
			if got := sqlstore.Share(size); got != want {
				t.Errorf("got %d, want %d", got, want)
			}
		})
	}
}

// Mutation tried: beginReserved without another try.
func TestChangesUseThePoolIfTheServerRefusesMoreConnections(t *testing.T) {
	t.Parallel()
	full := errors.New("too many connections")
	var begun []string
	refuse := func(from string, err error) func(context.Context) (sqlstore.Session, error) {
		return func(context.Context) (sqlstore.Session, error) {
			begun = append(begun, from)
			return sqlstore.Session{}, err
		}
	}
	store := sqlstore.New(sqlstore.Engine{
		Begin:   refuse("pool", errors.New("no database")),
		Reserve: &sqlstore.Reserve{Begin: refuse("reserve", full), Changes: 1},
		Class: func(err error) sqlstore.Class {
			if errors.Is(err, full) {
				return sqlstore.Full
			}
			return sqlstore.Other
		},
	})
	_ = store.CreateKey(t.Context(), keyfold.KeyRecord{}, keyfold.Mutation{})
	if want := []string{"reserve", "pool"}; !slices.Equal(begun, want) {
		t.Errorf("a change began in %q, want %q", begun, want)
	}
}

// answers is a Querier in which every setting has the same value.
type answers struct {
	sqlstore.Querier
	value string
}

func (a answers) SettingRow(context.Context, string) (model.Setting, error) {
	return model.Setting{Value: a.value}, nil
}

// The database check compares peppers with settings. Mutation tried: reading on the
// pool, which stopped the feed as soon as the pool was full.
func TestSettingsAreReadByTheConnectionOfTheFeed(t *testing.T) {
	t.Parallel()
	store := sqlstore.New(sqlstore.Engine{
		Class:   func(error) sqlstore.Class { return sqlstore.Other },
		Pool:    sqlstore.Session{Querier: answers{value: "by the pool"}},
		Reserve: &sqlstore.Reserve{Pool: sqlstore.Session{Querier: answers{value: "by the reserve"}}},
	})
	if got, err := store.Setting(t.Context(), "pepper.a"); got != "by the reserve" || err != nil {
		t.Errorf("a setting was read %s, %v; want by the reserve, or a full pool would fail the check", got, err)
	}
}
