package faulttest_test

import (
	"context"
	"math/rand/v2"
	"net/http"
	"testing"
	"time"

	"github.com/keyfold/keyfold/internal/faulttest"
)

// await waits until /readyz of a process returns the status, and returns the time that
// it took.
func (r *run) await(m *member, status int) time.Duration {
	began := time.Now()
	for got := 0; got != status; {
		if time.Since(began) > patience {
			r.t.Errorf("/readyz: %d after %v, want %d: %s", got, patience, status, m.log)
			return patience
		}
		got, _, _ = r.mix.send(r.t.Context(), m, http.MethodGet, "/readyz", "")
		time.Sleep(20 * time.Millisecond)
	}
	return time.Since(began)
}

// awaitAll calls await for all processes.
func (r *run) awaitAll(status int) (longest time.Duration) {
	began := time.Now()
	for _, m := range r.members {
		r.await(m, status)
	}
	return time.Since(began)
}

// count returns the number of verifies that began since the moment and had the verdict.
func (v *verdicts) count(h *history, of verdict, since moment) (n int) {
	for i := range h.verifies {
		if h.verifies[i].verdict == of && h.verifies[i].began >= since {
			n++
		}
	}
	return n
}

// TestServerIsStoppedAndStarted shuts down and kills the database server under load, for
// longer than cached keys may be used.
func TestServerIsStoppedAndStarted(t *testing.T) {
	onlyWithEverything(t)
	for _, name := range []string{"postgres", "mariadb"} {
		server := startPrivate(t, name)
		for signal, by := range map[string]string{"INT": "shutdown", "KILL": "kill -9"} {
			if name == "mariadb" && signal == "INT" {
				signal = "TERM"
			}
			t.Run(name+"/"+by, func(t *testing.T) {
				var down, up moment
				var h *history
				v := carryOut(t, plan{
					ways: four(server.database), direct: server.database, lasts: 25 * time.Second, syncs: 1, least: 100,
					during: func(ctx context.Context, r *run) {
						h = &r.mix.history
						pause(ctx, 3*time.Second)
						down = r.mix.clock()
						server.do(t, "stop", name, signal)
						refused := r.awaitAll(http.StatusServiceUnavailable)
						pause(ctx, heardAtAll+2*time.Second)
						server.do(t, "start", name)
						t.Logf("503 from all %v after the end; 200 from all %v after the start", refused, r.awaitAll(http.StatusOK))
						up = r.mix.clock()
						pause(ctx, 3*time.Second)
					},
				})
				if v.count(h, unavailable, down) == 0 || v.count(h, allowed, up) == 0 {
					t.Error("no verify was refused with 503, or none was allowed afterwards")
				}
				if v.lostUses > 0 {
					t.Errorf("%d uses were lost and no process was killed", v.lostUses)
				}
			})
		}
	}
}

// wired returns a wire to the database for each of four processes.
func wired(t *testing.T, database string) (wires []*faulttest.Wire, ways []string) {
	t.Helper()
	for range 4 {
		w, far := faulttest.Through(t, database)
		wires, ways = append(wires, w), append(ways, far)
	}
	return wires, ways
}

// TestConnectionsAreCutAtAnyTime cuts all connections of a process about once a second.
// It also cuts connections before and after they transmit a COMMIT.
func TestConnectionsAreCutAtAnyTime(t *testing.T) {
	onlyWithEverything(t)
	for _, e := range engines() {
		if e.name == "sqlite" {
			continue // has no connections
		}
		t.Run(e.name, func(t *testing.T) {
			database, commit := e.make(t), faulttest.MySQLCommit
			if e.name == "postgres" {
				commit = faulttest.PostgresCommit
			}
			wires, ways := wired(t, database)
			cuts := 0
			v := carryOut(t, plan{
				ways: ways, direct: database, lasts: 30 * time.Second, syncs: 1, least: 100,
				during: func(ctx context.Context, r *run) {
					for ctx.Err() == nil {
						w := wires[cuts%len(wires)]
						w.CutAt(commit)
						pause(ctx, rand.N(time.Second))
						w.Cut(true)
						pause(ctx, rand.N(200*time.Millisecond))
						w.Cut(false)
						w.CutAt(nil)
						cuts++
					}
					r.awaitAll(http.StatusOK)
				},
			})
			var before, after int64
			for _, w := range wires {
				b, a := w.Cuts()
				before, after = before+b, after+a
			}
			t.Logf("a process was cut off %d times; %d connections were cut before a COMMIT, %d after", cuts, before, after)
			if before == 0 || after == 0 || v.lostUses > 0 {
				t.Errorf("no COMMIT was cut, or uses were lost: %d", v.lostUses)
			}
		})
	}
}

// TestAnswersAreSlow delays the traffic between the processes and the database for up to
// three seconds.
func TestAnswersAreSlow(t *testing.T) {
	onlyWithEverything(t)
	for _, e := range engines() {
		if e.name == "sqlite" {
			continue // has no connections
		}
		t.Run(e.name, func(t *testing.T) {
			database := e.make(t)
			wires, ways := wired(t, database)
			v := carryOut(t, plan{
				ways: ways, direct: database, lasts: 30 * time.Second, syncs: 1, least: 100,
				during: func(ctx context.Context, r *run) {
					for i := 0; ctx.Err() == nil; i++ {
						w := wires[i%len(wires)]
						w.Hold(true)
						pause(ctx, rand.N(3*time.Second))
						w.Hold(false)
						pause(ctx, rand.N(500*time.Millisecond))
					}
					r.awaitAll(http.StatusOK)
				},
			})
			if v.lostUses > 0 {
				t.Errorf("%d uses were lost and no process was killed", v.lostUses)
			}
		})
	}
}
