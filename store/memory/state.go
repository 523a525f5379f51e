package memory

import (
	"iter"
	"time"

	"github.com/keyfold/keyfold"
)

// state is everything that a store keeps. A transaction works on a state that
// lies over the committed one and holds only what it changed.
type state struct {
	below *state // nil for the committed state

	keys   table[string, keyRow]
	totals table[string, total]
	hours  table[hour, int64]
	claims table[claim, time.Time] // batches that were applied, with UsageBatch.At

	users     table[string, keyfold.UserRecord]
	usernames table[string, string] // the id of a user, by UsernameKey
	emails    table[string, string] // the same, by EmailKey
	oneTimes  table[[32]byte, keyfold.OneTimeTokenRecord]
	throttles table[string, keyfold.Throttle]
	settings  table[string, string]

	logs
}

// logs are the parts that grow at the end, oldest first. A state shares them
// with the one below: it may append, since the one below never looks beyond its
// own length, but must copy to change anything else.
//
// The numbers are those given last. They are kept apart from the rows, because
// pruning must not let a number come back.
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

// over returns a state that reads like s and keeps its changes to itself.
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

// merge puts what changed into the state below.
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

// table is a map, or the changes to the map below it.
type table[K comparable, V any] struct {
	below *table[K, V]
	rows  map[K]V
	gone  map[K]bool // in below and deleted here
}

func newTable[K comparable, V any](below *table[K, V]) table[K, V] {
	return table[K, V]{below: below, rows: map[K]V{}, gone: map[K]bool{}}
}

func (t *table[K, V]) get(key K) (V, bool) {
	if row, ok := t.rows[key]; ok || t.below == nil || t.gone[key] {
		return row, ok
	}
	return t.below.get(key)
}

func (t *table[K, V]) put(key K, row V) {
	delete(t.gone, key)
	t.rows[key] = row
}

func (t *table[K, V]) delete(key K) {
	delete(t.rows, key)
	if t.below != nil {
		t.gone[key] = true
	}
}

// all yields the rows in no order.
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
			if _, changed := t.rows[key]; changed || t.gone[key] {
				continue
			}
			if !yield(key, row) {
				return
			}
		}
	}
}

func (t *table[K, V]) merge() {
	for key := range t.gone {
		t.below.delete(key)
	}
	for key, row := range t.rows {
		t.below.put(key, row)
	}
}

// milli cuts a time to what every store keeps: milliseconds, in UTC. The zero
// time means "none" and stays as it is.
func milli(t time.Time) time.Time {
	if t.IsZero() {
		return time.Time{}
	}
	return time.UnixMilli(t.UnixMilli()).UTC()
}
