package faulttest_test

import (
	"context"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/keyfold/keyfold/internal/testdb"
)

// TestManyProcessesKeepTheirPromises runs four processes on one database.
// In addition to the faults of TestCheckFindsPlantedFaults, it fails with two mutations:
// a poll that evicts no key, and a recorder that drops a batch.
func TestManyProcessesKeepTheirPromises(t *testing.T) {
	t.Parallel()
	for _, e := range append(engines(), engine{"mongodb", testdb.Mongo}) {
		t.Run(e.name, func(t *testing.T) {
			if !everything() {
				t.Parallel()
			}
			least := int64(100)
			if e.name == "mongodb" {
				least = 20 // FerretDB answers one client at a time
			}
			database := e.make(t)
			v := carryOut(t, plan{ways: four(database), direct: database, lasts: minuteOr(4 * time.Second), syncs: 1, calm: true, least: least})
			if v.lostUses > 0 {
				t.Errorf("%d uses were lost and no process was killed", v.lostUses)
			}
		})
	}
}

// TestProcessesAreKilledAtAnyTime kills one of four processes about once a second and
// starts it again.
func TestProcessesAreKilledAtAnyTime(t *testing.T) {
	onlyWithEverything(t)
	for _, e := range append(engines(), engine{"mongodb", testdb.Mongo}) {
		t.Run(e.name, func(t *testing.T) {
			least, repaired := int64(100), time.Duration(0)
			if e.name == "mongodb" {
				least, repaired = 20, 30*time.Second // docs/mongodb.md says some 20 seconds
			}
			database := e.make(t)
			kills := 0
			carryOut(t, plan{
				ways: four(database), direct: database, lasts: time.Minute, syncs: 2, calm: true, least: least, repaired: repaired,
				during: func(ctx context.Context, r *run) {
					for ctx.Err() == nil {
						time.Sleep(500*time.Millisecond + rand.N(time.Second))
						m := r.members[kills%len(r.members)]
						m.kill()
						if err := m.start(); err != nil {
							t.Error(err)
							return
						}
						kills++
					}
				},
			})
			t.Logf("%d processes killed", kills)
		})
	}
}

// minuteOr returns one minute with `make test-faults`, and otherwise the short time.
func minuteOr(short time.Duration) time.Duration {
	if everything() {
		return time.Minute
	}
	return short
}
