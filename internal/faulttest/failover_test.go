package faulttest_test

import (
	"context"
	"net/http"
	"testing"
	"time"
)

// TestPostgresFailsOver kills the primary under load and promotes its standby.
// The processes have a URL that names both, and are told nothing.
func TestPostgresFailsOver(t *testing.T) {
	onlyWithEverything(t)
	pair := startServers(t, "pgreplica")
	database := pair.variables["KEYFOLD_TEST_PG_MULTI"]
	var down, up moment
	var h *history
	v := carryOut(t, plan{
		ways: four(database), direct: database, lasts: 30 * time.Second, syncs: 1, least: 100,
		during: func(ctx context.Context, r *run) {
			h = &r.mix.history
			pause(ctx, 8*time.Second)
			down = r.mix.clock()
			pair.do(t, "crash")
			r.awaitAll(http.StatusServiceUnavailable)
			pause(ctx, heardAtAll+time.Second)
			promoted := time.Now()
			pair.do(t, "promote")
			t.Logf("promoted in %v", time.Since(promoted))
			t.Logf("200 from all %v after that", r.awaitAll(http.StatusOK))
			up = r.mix.clock()
			pause(ctx, 5*time.Second)
		},
	})
	if v.count(h, unavailable, down) == 0 || v.count(h, allowed, up) == 0 {
		t.Error("no verify was refused with 503, or none was allowed afterwards")
	}
	if v.lostUses > 0 {
		t.Errorf("%d uses were lost and no process was killed", v.lostUses)
	}
}
