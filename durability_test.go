package keyfold_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"net/url"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/internal/faulttest"
	"github.com/keyfold/keyfold/internal/testdb"
	"github.com/keyfold/keyfold/store/memory"
	"github.com/keyfold/keyfold/store/sqlite"
)

// database is an engine whose data survives a process.
type database struct {
	name string
	new  func(testing.TB) string // makes an empty one and returns where it is
	open func(ctx context.Context, dsn string) (keyfold.Store, error)
	// through returns the same place, reached by way of another address; nil
	// without a network.
	through func(dsn string, address func(server string) string) (string, error)
	commit  func(sent []byte) bool // whether this is a COMMIT on its way to the server
	rounds  int                    // how often a process is killed
}

func databases() []database {
	return []database{
		{
			name: "sqlite", new: testdb.SQLite, rounds: 40,
			open: func(ctx context.Context, dsn string) (keyfold.Store, error) { return sqlite.Open(ctx, dsn) },
		},
		{
			name: "postgres", new: testdb.Postgres, open: postgresOpen, rounds: 30,
			through: func(dsn string, address func(string) string) (string, error) {
				u, err := url.Parse(dsn)
				if err == nil {
					u.Host = address(u.Host)
				}
				return u.String(), err
			},
			commit: faulttest.PostgresCommit,
		},
		{
			name: "mariadb", new: testdb.MariaDB, open: mysqlOpen, rounds: 30,
			through: func(dsn string, address func(string) string) (string, error) {
				config, err := mysql.ParseDSN(dsn)
				if err != nil {
					return "", err
				}
				config.Addr = address(config.Addr)
				return config.FormatDSN(), nil
			},
			commit: faulttest.MySQLCommit,
		},
		{
			// Its processes are stopped at each command in store/mongo, where what they
			// leave can be repaired at once: rounds is 0.
			name: "mongodb", new: testdb.Mongo, open: mongoOpen,
			through: func(dsn string, address func(string) string) (string, error) {
				u, err := url.Parse(dsn)
				if err == nil {
					u.Host = address(u.Host)
				}
				return u.String(), err
			},
			commit: func(sent []byte) bool {
				return bytes.Contains(sent, []byte("insert\x00")) && bytes.Contains(sent, []byte("keyfold_batches"))
			},
		},
	}
}

// onEveryDatabase runs a test on an empty database of each engine.
func onEveryDatabase(t *testing.T, test func(t *testing.T, d database, dsn string, store keyfold.Store)) {
	for _, d := range databases() {
		t.Run(d.name, func(t *testing.T) {
			t.Parallel()
			dsn := d.new(t)
			test(t, d, dsn, opened(t)(d.open(t.Context(), dsn)))
		})
	}
}

// counted returns the uses of a key in the store and the sum of its hourly counts.
func counted(t *testing.T, store keyfold.Store, keyID string) (uses, hours int64) {
	t.Helper()
	key, err := store.Key(t.Context(), keyID)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	rows, err := store.UsageHours(t.Context(), keyfold.UsageScan{KeyID: keyID, From: now.Add(-48 * time.Hour), To: now.Add(48 * time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range rows {
		hours += row.Count
	}
	return key.Uses, hours
}

func TestMillionVerifiesAreCountedExactly(t *testing.T) {
	// Mutation tried: one use in a hundred thousand that is not counted fails this.
	t.Parallel()
	workers, rounds := 100, 10_000
	if raceEnabled {
		rounds = 300
	}
	onEveryDatabase(t, func(t *testing.T, _ database, _ string, store keyfold.Store) {
		svc := newService(t, store, &keyfold.Options{MaxPendingEvents: 20_000, VerifyTimeout: time.Minute})
		const keys = 7
		var ids, tokens []string
		for range keys {
			key, token := create(t, svc, keyfold.NewKey{})
			ids, tokens = append(ids, key.ID), append(tokens, token)
		}
		heard(t, svc)
		var used [keys]atomic.Int64
		var group sync.WaitGroup
		for n := range workers {
			group.Go(func() {
				mine := [keys]int64{}
				for i := range few(store, few(store, rounds)) {
					key := (i + n) % keys
					if got := outcome(svc, tokens[key]); got != keyfold.OutcomeAllowed {
						t.Errorf("verify: %v", got)
						return
					}
					mine[key]++
				}
				for key, n := range mine {
					used[key].Add(n)
				}
			})
		}
		group.Wait()
		if err := svc.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		for i, id := range ids {
			if uses, hours := counted(t, store, id); uses != used[i].Load() || hours != uses {
				t.Errorf("key %d: %d uses and %d in hours, want %d", i, uses, hours, used[i].Load())
			}
		}
		if stats := svc.UsageStats(); stats.PendingEvents != 0 || stats.LostUses != 0 || stats.RejectedBatches != 0 {
			t.Errorf("%+v after Close", stats)
		}
	})
}

// What a child process reports, 17 bytes each, and so in one piece: what it
// did, when, and how many uses that was.
const (
	verified = 'V' // a verify was answered
	sending  = 'S' // a batch goes to the store
	stored   = 'D' // the store has answered
	report   = 17

	childVariable = "KEYFOLD_TEST_VERIFY_UNTIL_KILLED"
	childWorkers  = 2
	childFlush    = 20 * time.Millisecond
)

func TestMain(m *testing.M) {
	if os.Getenv(childVariable) != "" {
		verifyUntilKilled(strings.Split(os.Getenv(childVariable), " "))
	}
	_ = mysql.SetLogger(&mysql.NopLogger{}) // of connections that are cut on purpose
	os.Exit(m.Run())
}

func tell(what byte, uses int64) {
	line := append(make([]byte, 0, report), what)
	line = binary.LittleEndian.AppendUint64(line, uint64(time.Now().UnixNano()))
	_, _ = os.Stdout.Write(binary.LittleEndian.AppendUint64(line, uint64(uses)))
}

// telling is a store that reports each batch.
type telling struct{ keyfold.Store }

func (s telling) RecordUsage(ctx context.Context, batch keyfold.UsageBatch) (keyfold.UsageResult, error) {
	var uses int64
	for _, total := range batch.Keys {
		uses += total.Uses
	}
	tell(sending, uses)
	result, err := s.Store.RecordUsage(ctx, batch)
	if err == nil {
		tell(stored, uses)
	}
	return result, err
}

// verifyUntilKilled runs in the child process and never returns.
func verifyUntilKilled(args []string) {
	engine, mode, token, dsn := args[0], args[1], args[2], args[3]
	i := slices.IndexFunc(databases(), func(d database) bool { return d.name == engine })
	store, err := databases()[i].open(context.Background(), dsn)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	opts := &keyfold.Options{FlushInterval: childFlush, VerifyTimeout: time.Minute}
	if mode == "sync" {
		opts.Usage = keyfold.UsageSync
	}
	svc, err := keyfold.New(telling{store}, opts)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	for range childWorkers {
		go func() {
			for {
				if _, err := svc.Verify(context.Background(), keyfold.Request{Token: token, Route: "GET /"}); err != nil {
					fmt.Fprintln(os.Stderr, err)
					os.Exit(1)
				}
				tell(verified, 1)
				if mode != "sync" {
					time.Sleep(100 * time.Microsecond)
				}
			}
		}()
	}
	select {}
}

// life is the report of a child process before it was killed.
type life struct {
	verified []int64 // when
	stored   []int64 // when the store had answered
	acked    int64   // uses in the batches that the store has answered
	inFlight int64   // uses in the batch that was on its way
}

// liveAndDie starts a child process and kills it.
func liveAndDie(t *testing.T, engine, mode, token, dsn string, after time.Duration) (l life) {
	t.Helper()
	child := exec.CommandContext(t.Context(), os.Args[0])
	child.Env = append(os.Environ(), childVariable+"="+strings.Join([]string{engine, mode, token, dsn}, " "))
	var complaints bytes.Buffer
	child.Stderr = &complaints
	pipe, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	var once sync.Once
	line := make([]byte, report)
	for {
		if _, err := io.ReadFull(pipe, line); err != nil {
			break
		}
		at, uses := int64(binary.LittleEndian.Uint64(line[1:])), int64(binary.LittleEndian.Uint64(line[9:]))
		switch line[0] {
		case verified:
			l.verified = append(l.verified, at)
			once.Do(func() { time.AfterFunc(after, func() { _ = child.Process.Kill() }) })
		case sending:
			l.inFlight = uses
		case stored:
			l.stored, l.acked, l.inFlight = append(l.stored, at), l.acked+uses, 0
		}
	}
	_ = child.Wait()
	if complaints.Len() > 0 || len(l.verified) == 0 {
		t.Fatalf("the process that was to be killed ended by itself: %s", complaints.String())
	}
	return l
}

func TestKilledProcessLosesAtMostTheLastInterval(t *testing.T) {
	// Mutation tried: with a Verify that does not wait, UsageSync fails this.
	t.Parallel()
	onEveryDatabase(t, func(t *testing.T, d database, dsn string, store keyfold.Store) {
		if d.rounds == 0 {
			return
		}
		svc := newService(t, store, nil)
		key, token := create(t, svc, keyfold.NewKey{})
		rounds, recorder := d.rounds, "barrier"
		if raceEnabled || testing.Short() {
			rounds /= 5
		}
		var before, lost, most int64
		for round := range rounds {
			mode := []string{"async", "sync"}[round%2]
			l := liveAndDie(t, d.name, mode, token, dsn, 20*time.Millisecond+rand.N(180*time.Millisecond))
			// A COMMIT that was sent may still be at work. It holds the key's row, so
			// this comes after it.
			if _, err := store.RecordUsage(t.Context(), keyfold.UsageBatch{
				RecorderID: recorder, Number: int64(round), At: time.Now(), Keys: []keyfold.KeyUses{{KeyID: key.ID}},
			}); err != nil {
				t.Fatal(err)
			}
			uses, hours := counted(t, store, key.ID)
			if uses != hours {
				t.Fatalf("round %d, %s: %d uses, %d in hours", round, mode, uses, hours)
			}
			got, told := uses-before, int64(len(l.verified))
			before = uses
			if got != l.acked && got != l.acked+l.inFlight {
				t.Errorf("round %d, %s: %d uses are stored, want the %d that the store answered for or %d more", round, mode, got, l.acked, l.inFlight)
			}
			if got > told+childWorkers {
				t.Errorf("round %d, %s: %d uses are stored of %d that happened", round, mode, got, told)
			}
			if mode == "sync" {
				if got < told {
					t.Errorf("round %d: %d uses are stored of %d that were answered", round, got, told)
				}
				continue
			}
			// A batch is made after the store has answered for the one before. So
			// only what came later than the last answer but one may be missing.
			var safe int64
			if n := len(l.stored); n >= 2 {
				for _, at := range l.verified {
					if at < l.stored[n-2] {
						safe++
					}
				}
				most = max(most, l.verified[told-1]-l.stored[n-2])
			}
			if got < safe {
				t.Errorf("round %d: %d uses are stored, %d were answered before the last interval", round, got, safe)
			}
			lost += max(0, told-got)
		}
		t.Logf("%d kills: %d uses stored, %d lost; what was lost was at most %v old", rounds, before, lost, time.Duration(most))
	})
}

func TestConnectionsCutAtCommitLoseAndDoubleNothing(t *testing.T) {
	// Mutation tried: a recorder that gives a batch a new number for each try
	// counts some twice, one that drops a batch on an error loses some.
	t.Parallel()
	onEveryDatabase(t, func(t *testing.T, d database, dsn string, store keyfold.Store) {
		if d.through == nil {
			return // no network
		}
		var w *faulttest.Wire
		far, err := d.through(dsn, func(server string) string {
			w = faulttest.NewWire(t, server)
			return w.Addr()
		})
		if err != nil {
			t.Fatal(err)
		}
		svc := newService(t, opened(t)(d.open(t.Context(), far)), &keyfold.Options{FlushInterval: 10 * time.Millisecond, VerifyTimeout: time.Minute})
		key, token := create(t, svc, keyfold.NewKey{})
		w.CutAt(d.commit)
		uses := int64(0)
		cuts := int64(few(store, 25))
		for before, after := w.Cuts(); before < cuts || after < cuts; before, after = w.Cuts() {
			if uses > 1_000_000 {
				t.Fatal("no COMMIT goes by")
			}
			for range 20 {
				if got := outcome(svc, token); got != keyfold.OutcomeAllowed {
					t.Fatal(got)
				}
				uses++
			}
			for time.Sleep(time.Millisecond); svc.UsageStats().PendingEvents > 5000; { // lets the background flush
				time.Sleep(time.Millisecond)
			}
		}
		if err := svc.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		got, hours := counted(t, store, key.ID)
		events, err := store.UsageEvents(t.Context(), keyfold.UsageScan{KeyID: key.ID, From: time.Now().Add(-time.Hour), To: time.Now().Add(time.Hour), Limit: 1 << 20})
		if err != nil || got != uses || hours != uses || int64(len(events)) != uses-svc.UsageStats().DroppedEvents {
			t.Errorf("%d uses, %d in hours, %d events, %v; want %d of each", got, hours, len(events), err, uses)
		}
		before, after := w.Cuts()
		t.Logf("%d uses, %d connections cut before a COMMIT and %d after", uses, before, after)
	})
}

func TestClockThatJumpsChangesNoCountAndNoLastUse(t *testing.T) {
	t.Parallel()
	onEveryStore(t, func(t *testing.T, store keyfold.Store) {
		here, there := newClock(), newClock() // two processes whose clocks disagree
		there.add(-5 * time.Hour)
		opts := func(clock *fakeClock) *keyfold.Options {
			return &keyfold.Options{Now: clock.now, FlushInterval: time.Minute, DisableCache: true}
		}
		services := []*keyfold.Service{newService(t, store, opts(here)), newService(t, store, opts(there))}
		key, token := create(t, services[0], keyfold.NewKey{TTL: keyfold.Never})
		random := rand.New(rand.NewPCG(7, 7))
		var last time.Time
		uses := int64(few(store, 200))
		for n := range uses {
			clock := []*fakeClock{here, there}[n%2]
			clock.add(time.Duration(random.Int64N(int64(8*time.Hour))) - 4*time.Hour)
			if got := outcome(services[n%2], token); got != keyfold.OutcomeAllowed {
				t.Fatal(got)
			}
			if random.IntN(4) > 0 {
				continue
			}
			if err := services[n%2].Flush(t.Context()); err != nil {
				t.Fatal(err)
			}
			got, err := store.Key(t.Context(), key.ID)
			if err != nil || got.LastUsedAt.Before(last) {
				t.Fatalf("the last use was at %v and is at %v, %v", last, got.LastUsedAt, err)
			}
			last = got.LastUsedAt
		}
		for _, svc := range services {
			if err := svc.Close(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		hours, err := store.UsageHours(t.Context(), keyfold.UsageScan{KeyID: key.ID, From: here.now().Add(-1000 * time.Hour), To: here.now().Add(1000 * time.Hour)})
		if err != nil {
			t.Fatal(err)
		}
		var sum int64
		for _, hour := range hours {
			sum += hour.Count
		}
		if got, err := store.Key(t.Context(), key.ID); err != nil || got.Uses != uses || sum != uses || got.LastUsedAt.Before(last) {
			t.Errorf("%d uses, %d in hours, %v; want %d", got.Uses, sum, err, uses)
		}
	})
}

func TestStoreThatStallsSlowsNoVerify(t *testing.T) {
	t.Parallel()
	stall := make(chan struct{})
	inner := memory.New()
	store := &batches{inner, func(ctx context.Context, _ keyfold.UsageBatch) error {
		select {
		case <-stall:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}}
	const pending = 10_000
	svc := newService(t, store, &keyfold.Options{FlushInterval: 50 * time.Millisecond, MaxPendingEvents: pending})
	key, token := create(t, svc, keyfold.NewKey{})
	heard(t, svc)
	var uses atomic.Int64
	var latencies [2][]time.Duration
	end := time.Now().Add(time.Second) // at least, and until more uses happened than may wait
	var group sync.WaitGroup
	for worker := range latencies {
		group.Go(func() {
			for time.Now().Before(end) || uses.Load() < 2*pending {
				for range 20 {
					start := time.Now()
					if got := outcome(svc, token); got != keyfold.OutcomeAllowed {
						t.Errorf("verify: %v", got)
					}
					latencies[worker] = append(latencies[worker], time.Since(start))
					uses.Add(1)
				}
				if stats := svc.UsageStats(); stats.PendingEvents > pending {
					t.Errorf("%d events wait, want at most %d", stats.PendingEvents, pending)
				}
				time.Sleep(time.Millisecond)
			}
		})
	}
	group.Wait()
	// So far, the store has accepted nothing, and every verify has returned.
	if got, err := inner.Key(t.Context(), key.ID); err != nil || got.Uses != 0 || uses.Load() < pending {
		t.Errorf("%d uses are stored and %d happened, %v; want none and more than may wait", got.Uses, uses.Load(), err)
	}
	close(stall)
	if err := svc.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	got, hours := counted(t, inner, key.ID)
	events, err := inner.UsageEvents(t.Context(), keyfold.UsageScan{KeyID: key.ID, From: time.Unix(0, 0), To: time.Now().Add(time.Hour), Limit: 1 << 20})
	stats := svc.UsageStats()
	if err != nil || got != uses.Load() || hours != got || int64(len(events))+stats.DroppedEvents != got || stats.DroppedEvents == 0 {
		t.Errorf("%d uses, %d in hours, %d events, %+v, %v; want %d uses and the same in events and drops", got, hours, len(events), stats, err, uses.Load())
	}
	all := slices.Concat(latencies[0], latencies[1])
	slices.Sort(all)
	t.Logf("%d verifies while the store stood still: half within %v, 99 of 100 within %v, all within %v; %d events dropped",
		len(all), all[len(all)/2], all[len(all)*99/100], all[len(all)-1], stats.DroppedEvents)
}

func TestVerifiesGoOnWhileMuchIsPruned(t *testing.T) {
	t.Parallel()
	store := opened(t)(sqlite.Open(t.Context(), testdb.SQLite(t)))
	events := 100_000
	if raceEnabled {
		events = 20_000
	}
	svc := newService(t, store, &keyfold.Options{DisableCache: true, VerifyTimeout: time.Minute})
	key, token := create(t, svc, keyfold.NewKey{})
	old := time.Now().Add(-60 * day).UTC().Truncate(time.Hour)
	for n := range events / 20_000 {
		batch := keyfold.UsageBatch{RecorderID: "old", Number: int64(n), At: time.Now()}
		for i := range 20_000 {
			// Each hour is a row of its own, and pruning deletes 5000 rows in a step.
			at := old.Add(time.Duration(i-20_000)*time.Hour + time.Duration(n)*time.Millisecond)
			batch.Events = append(batch.Events, keyfold.UsageEvent{At: at, KeyID: key.ID, Route: "GET /"})
		}
		if _, err := store.RecordUsage(t.Context(), batch); err != nil {
			t.Fatal(err)
		}
	}
	pruned := make(chan error, 1)
	var during, changes int
	go func() {
		n, err := svc.PruneUsage(t.Context(), time.Now().Add(-30*day))
		if err == nil && n != events {
			err = fmt.Errorf("%d events were pruned, want %d", n, events)
		}
		pruned <- err
	}()
	for done := false; !done; {
		select {
		case err := <-pruned:
			if err != nil {
				t.Fatal(err)
			}
			done = true
		default:
			if _, err := svc.Verify(t.Context(), keyfold.Request{Token: token}); err != nil {
				t.Fatal(err)
			}
			if during++; during%50 == 0 { // what writes gets its turn as well
				create(t, svc, keyfold.NewKey{})
				changes++
			}
		}
	}
	if steps := events / 5000; during < steps {
		t.Errorf("%d verifies were answered during %d steps of pruning", during, steps)
	}
	t.Logf("%d verifies and %d keys created while %d events were pruned", during, changes, events)
}
