package faulttest_test

import (
	"context"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/internal/testdb"
	"github.com/keyfold/keyfold/store/mongo"
	"github.com/keyfold/keyfold/store/mysql"
	"github.com/keyfold/keyfold/store/postgres"
	"github.com/keyfold/keyfold/store/sqlite"
)

// engine is a database engine that several processes can share.
type engine struct {
	name string
	make func(testing.TB) string // creates an empty database and returns its URL
}

// engines lists the engines for tests that cut connections and transactions. Tests that
// kill processes also use MongoDB.
func engines() []engine {
	return []engine{
		{"sqlite", func(t testing.TB) string { return "sqlite:" + testdb.SQLite(t) }},
		{"postgres", testdb.Postgres},
		{"mariadb", testdb.MariaDBURL},
	}
}

// openStore opens the store that a URL names.
func openStore(ctx context.Context, database string) (keyfold.Store, error) {
	kind, rest, _ := strings.Cut(database, ":")
	switch kind {
	case "sqlite":
		return sqlite.Open(ctx, rest)
	case "postgres":
		return postgres.Open(ctx, database)
	case "mongodb":
		return mongo.Open(ctx, database)
	}
	return mysql.Open(ctx, database)
}

// The promises of docs/operating.md, for the defaults of the options.
const (
	heardInTime = time.Second + 200*time.Millisecond // PollInterval, while polls succeed
	heardAtAll  = 5 * time.Second                    // MaxStaleness, whatever happens
	lossOfKill  = time.Second                        // FlushInterval
)

// everything is set by `make test-faults`. Without it, tests that take long or start
// their own servers are skipped, and the tests with many processes run only for seconds.
func everything() bool { return os.Getenv("KEYFOLD_FAULTS") != "" }

// onlyWithEverything skips the test unless `make test-faults` runs it.
func onlyWithEverything(t *testing.T) {
	t.Helper()
	if !everything() {
		t.Skip("this is a part of `make test-faults`")
	}
}

// plan describes a run of several processes.
type plan struct {
	ways   []string // the URL of the database for each process
	direct string   // the URL of the database for the check
	lasts  time.Duration
	syncs  int // the number of processes that store a use before they respond
	// during injects the faults. The run continues until it returns. It may be nil.
	during func(ctx context.Context, r *run)
	// calm says that the database works during the whole run, so that every poll
	// succeeds.
	calm bool
	// least is the number of verifies that must be allowed. A run with fewer shows too
	// little.
	least int64
	// repaired is the longest time that a process may take to finish the changes of a
	// killed process, on a store without transactions.
	repaired time.Duration
}

// run is a plan in progress.
type run struct {
	t       *testing.T
	members []*member
	mix     *mix
}

// four returns the ways of four processes to one database.
func four(database string) []string { return []string{database, database, database, database} }

// carryOut runs the plan and checks the result.
func carryOut(t *testing.T, p plan) *verdicts {
	t.Helper()
	began := time.Now()
	clock := func() moment { return time.Since(began) }
	r := &run{t: t, mix: &mix{clock: clock, client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 32}}}}
	t.Cleanup(func() {
		for _, m := range r.members {
			_ = m.cmd.Process.Kill()
			<-m.ended
		}
	})
	for i, way := range p.ways {
		m := &member{database: way, sync: i < p.syncs, clock: clock}
		if err := m.start(); err != nil {
			t.Fatal(err)
		}
		r.members = append(r.members, m)
	}
	r.mix.members = r.members
	r.clients(p)
	for _, m := range r.members {
		if err := m.stop(); err != nil {
			t.Error(err)
		}
	}
	return r.judge(p)
}

// clients sends requests to the processes until the plan is over.
func (r *run) clients(p plan) {
	ctx, cancel := context.WithTimeout(r.t.Context(), p.lasts)
	defer cancel()
	if p.during != nil { // it must return before the run ends
		ctx, cancel = context.WithCancel(r.t.Context())
		defer cancel()
	}
	var group sync.WaitGroup
	group.Go(func() { r.mix.history.gap = longestGap(ctx) })
	for range 8 {
		group.Go(func() {
			done := r.mix.verifyUntil(ctx)
			r.mix.mu.Lock()
			defer r.mix.mu.Unlock()
			r.mix.history.verifies = append(r.mix.history.verifies, done...)
		})
	}
	for range 4 {
		group.Go(func() { r.mix.changeUntil(ctx) })
	}
	if p.during != nil {
		bounded, stop := context.WithTimeout(ctx, p.lasts)
		p.during(bounded, r)
		<-bounded.Done()
		stop()
		cancel()
	}
	group.Wait()
}

// longestGap returns the longest time in which a busy machine did not run the test.
func longestGap(ctx context.Context) (gap time.Duration) {
	for last := time.Now(); ctx.Err() == nil; {
		time.Sleep(5 * time.Millisecond)
		now := time.Now()
		gap = max(gap, now.Sub(last))
		last = now
	}
	return gap
}

// judge checks a finished run.
func (r *run) judge(p plan) *verdicts {
	r.t.Helper()
	// Without faults, a response is slow because the machine is busy, which also
	// delays polls. MaxStaleness holds even then.
	h := &r.mix.history
	slack := h.gap
	promised := promises{heard: heardAtAll, loss: lossOfKill}
	if p.calm {
		slack = max(slack, time.Duration(r.mix.slowest.Load()))
		promised.heard = min(heardAtAll, heardInTime+slack)
	}
	promised.loss += time.Duration(r.mix.slowest.Load()) + slack
	ctx, cancel := context.WithTimeout(r.t.Context(), patience)
	defer cancel()
	store, err := openStore(ctx, p.direct)
	if err != nil {
		r.t.Fatal(err)
	}
	defer store.Close()
	for late := time.Now().Add(p.repaired); time.Now().Before(late); time.Sleep(time.Second) {
		if _, _, err := store.Changes(ctx, ""); err != nil {
			r.t.Fatal(err)
		}
	}
	left, err := look(ctx, store, h)
	if err != nil {
		r.t.Fatal(err)
	}
	v := check(h, left, promised)
	for _, problems := range [][]string{h.broken, v.wrongAllows, v.wrongRefusals, v.lostChanges, v.wrongUses} {
		for i, problem := range problems {
			if i == 5 {
				r.t.Errorf("and %d more like that", len(problems)-i)
				break
			}
			r.t.Error(problem)
		}
	}
	var by [4]int64
	for i := range h.verifies {
		by[h.verifies[i].verdict]++
	}
	r.t.Logf("%d verifies allowed, %d refused, %d unavailable, %d without an answer; %d changes answered for, %d without an answer",
		by[allowed], by[refused], by[unavailable], by[unanswered], r.mix.answered.Load(), r.mix.unsure.Load())
	r.t.Logf("latest allow %v after an end was answered for (promise %v); %d uses stored, %d lost; slowest answer %v, longest gap %v",
		v.latest, promised.heard, v.uses, v.lostUses, time.Duration(r.mix.slowest.Load()), h.gap)
	if by[allowed] < p.least || by[refused] == 0 || r.mix.answered.Load() == 0 {
		r.t.Error("too few requests were answered to check the promises")
	}
	return v
}
