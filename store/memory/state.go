package memory

import (
	"iter"
	"time"

	"github.com/keyfold/keyfold"
)

// state contains all data of a store. A transaction works on a state on top of the
// committed state, which contains only the rows that the transaction changed.
type state struct {
	below *state // nil for the committed state

	keys   table[string, keyRow]
	totals table[string, total]
	hours  table[hour, int64]
	claims table[claim, time.Time] // batches that were applied, with UsageBatch.At

	users     table[string, keyfold.UserRecord]
	usernames table[string, string] // UsernameKey to user ID
	emails    table[string, string] // EmailKey to user ID
	oneTimes  table[[32]byte, keyfold.OneTimeTokenRecord]
	throttles table[string, keyfold.Throttle]
	settings  table[string, string]

	logs
}

// logs are the append-only parts of a state, oldest entry first. A state shares them
// with the state below. It may append, because the state below never reads beyond its
// own length, but it must copy a log before any other change.
//
// The sequence numbers are those of the newest entries. They are stored separately,
// because a number must not be reused after its entry was pruned.
type logs struct {
	events    []keyfold.UsageEvent
	changes   []keyfold.Change
	audit     []keyfold.AuditEntry
	eventSeq  int64
	changeSeq int64
	auditSeq  int64
}

func newState() *state {
	return &state{
		keys:   newTable[string, keyRow](nil),
		totals: newTable[string, total](nil),
		hours:  newTable[hour, int64](nil),
		claims: newTable[claim, time.Time](nil),

		users:     newTable[string, keyfold.UserRecord](nil),
		usernames: newTable[string, string](nil),
		emails:    newTable[string, string](nil),
		oneTimes:  newTable[[32]byte, keyfold.OneTimeTokenRecord](nil),
		throttles: newTable[string, keyfold.Throttle](nil),
		settings:  newTable[string, string](nil),
	}
}

// over returns a state on top of s. Changes of it do not affect s until merge.
func (s *state) over() *state {
	return &state{
		below:  s,
		keys:   newTable(&s.keys),
		totals: newTable(&s.totals),
		hours:  newTable(&s.hours),
		claims: newTable(&s.claims),

		users:     newTable(&s.users),
		usernames: newTable(&s.usernames),
		emails:    newTable(&s.emails),
		oneTimes:  newTable(&s.oneTimes),
		throttles: newTable(&s.throttles),
		settings:  newTable(&s.settings),

		logs: s.logs,
	}
}

// merge applies the changes to the state below.
func (s *state) merge() {
	s.keys.merge()
	s.totals.merge()
	s.hours.merge()
	s.claims.merge()
	s.users.merge()
	s.usernames.merge()
	s.emails.merge()
	s.oneTimes.merge()
	s.throttles.merge()
	s.settings.merge()
	s.below.logs = s.logs
}

// table is a map, or a set of changes to the table below.
type table[K comparable, V any] struct {
	below   *table[K, V]
	rows    map[K]V
	deleted map[K]bool // keys that are deleted here and may exist below
}

func newTable[K comparable, V any](below *table[K, V]) table[K, V] {
	return table[K, V]{below: below, rows: map[K]V{}, deleted: map[K]bool{}}
}

func (t *table[K, V]) get(key K) (V, bool) {
	if row, ok := t.rows[key]; ok || t.below == nil || t.deleted[key] {
		return row, ok
	}
	return t.below.get(key)
}

func (t *table[K, V]) put(key K, row V) {
	delete(t.deleted, key)
	t.rows[key] = row
}

func (t *table[K, V]) delete(key K) {
	delete(t.rows, key)
	if t.below != nil {
		t.deleted[key] = true
	}
}

// all yields the rows in no particular order.
func (t *table[K, V]) all() iter.Seq2[K, V] {
	return func(yield func(K, V) bool) {
		for key, row := range t.rows {
			if !yield(key, row) {
				return
			}
		}
		if t.below == nil {
			return
		}
		for key, row := range t.below.all() {
			if _, changed := t.rows[key]; changed || t.deleted[key] {
				continue
			}
			if !yield(key, row) {
				return
			}
		}
	}
}

func (t *table[K, V]) merge() {
	for key := range t.deleted {
		t.below.delete(key)
	}
	for key, row := range t.rows {
		t.below.put(key, row)
	}
}

// milli returns the time in UTC with the precision that every store keeps,
// milliseconds. The zero time, which means "none", stays the zero time.
func milli(t time.Time) time.Time {
	if t.IsZero() {
		return time.Time{}
	}
	return time.UnixMilli(t.UnixMilli()).UTC()
}
