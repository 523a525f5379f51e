package faulttest_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/store/mysql"
)

// cluster is three MariaDB nodes, each of which takes writes.
type cluster struct {
	*servers
	addresses []string
	nodes     []*sql.DB // as their administrator
}

// TestGalera runs its parts one after the other on one cluster.
func TestGalera(t *testing.T) {
	onlyWithEverything(t)
	c := &cluster{servers: startServers(t, "galera")}
	c.addresses = strings.Split(c.variables["KEYFOLD_TEST_GALERA"], ",")
	for _, address := range c.addresses {
		c.nodes = append(c.nodes, mysqlPool(t, address))
	}
	t.Run("processes start on an empty database", c.start)
	t.Run("a node answers with what is new", c.stale)
	t.Run("conflicts are retried", c.conflicts)
	t.Run("a node is killed", c.killed)
	t.Run("a node is cut off", c.cutOff)
}

// database makes a database and returns it as each node has it.
func (c *cluster) database(t *testing.T, name string) (ways []string) {
	t.Helper()
	created := createDatabase(t, c.addresses[0], name)
	for i, address := range c.addresses {
		ways = append(ways, strings.Replace(created, c.addresses[0], address, 1))
		c.awaitDatabase(t, i, name)
	}
	return ways
}

// awaitDatabase waits until a node has heard of a database.
func (c *cluster) awaitDatabase(t *testing.T, node int, name string) {
	t.Helper()
	for began := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		var n int
		err := c.nodes[node].QueryRowContext(t.Context(), "SELECT COUNT(*) FROM information_schema.schemata WHERE schema_name = ?", name).Scan(&n)
		if err == nil && n == 1 {
			return
		}
		if time.Since(began) > patience {
			t.Fatalf("node %d has no database %s: %v", node+1, name, err)
		}
	}
}

// start opens an empty database from all nodes at once: each migrates, or waits
// for another one.
func (c *cluster) start(t *testing.T) {
	for round := range 10 {
		ways := c.database(t, fmt.Sprint("start", round))
		var group sync.WaitGroup
		for i := range 12 {
			group.Go(func() {
				store, err := openStore(t.Context(), ways[i%len(ways)])
				if err != nil {
					t.Errorf("process %d: %v", i, err)
					return
				}
				defer store.Close()
				if err := store.Ping(t.Context()); err != nil {
					t.Errorf("process %d: %v", i, err)
				}
			})
		}
		group.Wait()
	}
}

// uncached returns a Service on each node that asks it with every verify.
func (c *cluster) uncached(t *testing.T, ways []string) (services []*keyfold.Service, stores []keyfold.Store) {
	t.Helper()
	for _, way := range ways {
		store, err := openStore(t.Context(), way)
		if err != nil {
			t.Fatal(err)
		}
		svc, err := keyfold.New(store, &keyfold.Options{DisableCache: true, VerifyTimeout: 10 * time.Second})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			_ = svc.Close(context.Background())
			_ = store.Close()
		})
		services, stores = append(services, svc), append(stores, store)
	}
	return services, stores
}

// stale revokes on one node and verifies on another one at once.
func (c *cluster) stale(t *testing.T) {
	ways := c.database(t, "stale")
	services, _ := c.uncached(t, []string{ways[0], ways[1], ways[1] + "?wsrep_sync_wait=0"})
	if _, err := mysql.New(t.Context(), mysqlPool(t, c.addresses[1])); err == nil || !strings.Contains(err.Error(), "wsrep_sync_wait") {
		t.Errorf("a pool whose reads may be stale: %v, want an error that names wsrep_sync_wait", err)
	}
	const rounds = 200
	var wrong [3]int
	for i := range rounds {
		key, token, err := services[0].CreateKey(t.Context(), keyfold.NewKey{})
		if err != nil {
			t.Fatal(err)
		}
		there := 1 + i%2
		if err := services[0].RevokeKey(t.Context(), key.ID, ""); err != nil {
			t.Fatal(err)
		}
		if _, err := services[there].Verify(t.Context(), keyfold.Request{Token: token.Reveal()}); keyfold.OutcomeOf(err) != keyfold.OutcomeRevoked {
			wrong[there]++
		}
	}
	t.Logf("of %d each, %d keys were not seen as revoked on another node, and %d with wsrep_sync_wait=0", rounds/2, wrong[1], wrong[2])
	if wrong[1] > 0 {
		t.Errorf("%d keys of %d were not seen as revoked on another node", wrong[1], rounds/2)
	}
}

// conflicts writes uses of one key, and attempts of one name, from all nodes at
// once. A node that has committed what another one is about to loses the other's.
func (c *cluster) conflicts(t *testing.T) {
	ways := c.database(t, "conflicts")
	services, stores := c.uncached(t, ways)
	key, _, err := services[0].CreateKey(t.Context(), keyfold.NewKey{})
	if err != nil {
		t.Fatal(err)
	}
	const writers, writes = 4, 25
	rule := keyfold.ThrottleRule{Burst: 1 << 20, InitialDelay: time.Second, MaxDelay: time.Second, ResetAfter: time.Hour}
	before := c.conflictsSoFar(t)
	var repeated atomic.Int64
	land := func(write func() error) error { // as a recorder and a log-in do
		err := write()
		for ; errors.Is(err, keyfold.ErrRetry); err = write() {
			repeated.Add(1)
		}
		return err
	}
	var group sync.WaitGroup
	for i, store := range stores {
		for n := range writers {
			group.Go(func() {
				for batch := range writes {
					at := time.Now()
					used := land(func() error {
						_, err := store.RecordUsage(t.Context(), keyfold.UsageBatch{
							RecorderID: fmt.Sprint(i, n), Number: int64(batch + 1), At: at,
							Keys: []keyfold.KeyUses{{KeyID: key.ID, Uses: 1, LastUsedAt: at}},
						})
						return err
					})
					tried := land(func() error {
						_, err := store.ReserveAttempt(t.Context(), []keyfold.ThrottleReservation{{Name: "hot", Rule: rule}}, at)
						return err
					})
					if used != nil || tried != nil {
						t.Errorf("a batch of usage and an attempt on node %d: %v, %v", i+1, used, tried)
					}
				}
			})
		}
	}
	group.Wait()
	want := int64(len(stores) * writers * writes)
	for i, store := range stores {
		got, err := store.Key(t.Context(), key.ID)
		throttle, failed := store.Throttle(t.Context(), "hot")
		if err != nil || failed != nil || got.Uses != want || throttle.Attempts != want {
			t.Errorf("node %d: %d uses and %d attempts, %v, %v; want %d of each", i+1, got.Uses, throttle.Attempts, err, failed, want)
		}
	}
	n := c.conflictsSoFar(t) - before
	t.Logf("%d writes of each kind landed; nodes gave up %d transactions; %d calls were repeated", want, n, repeated.Load())
	if n == 0 {
		t.Error("there were no conflicts; this shows nothing")
	}
}

// conflictsSoFar counts the transactions that nodes gave up for another node's.
func (c *cluster) conflictsSoFar(t *testing.T) (sum int) {
	t.Helper()
	for _, node := range c.nodes {
		for _, name := range []string{"wsrep_local_cert_failures", "wsrep_local_bf_aborts"} {
			var n int
			if err := node.QueryRowContext(t.Context(), "SHOW STATUS LIKE '"+name+"'").Scan(&name, &n); err != nil {
				t.Fatal(err)
			}
			sum += n
		}
	}
	return sum
}

// killed ends a node under load and starts it again.
func (c *cluster) killed(t *testing.T) {
	c.withoutNode3(t, "killed", func() { c.do(t, "kill", "3") }, func() { c.do(t, "start", "3") })
}

// cutOff takes a node away from the others, which it still seems to serve.
func (c *cluster) cutOff(t *testing.T) {
	isolate := func(how string) func() {
		return func() {
			if _, err := c.nodes[2].ExecContext(t.Context(), "SET GLOBAL wsrep_provider_options = 'gmcast.isolate="+how+"'"); err != nil {
				t.Error(err)
			}
		}
	}
	c.withoutNode3(t, "cutoff", isolate("1"), isolate("0"))
}

func (c *cluster) withoutNode3(t *testing.T, name string, away, back func()) {
	ways := c.database(t, name)
	var down, up moment
	var h *history
	v := carryOut(t, plan{
		ways: []string{ways[0], ways[1], ways[2], ways[0]}, direct: ways[1], lasts: 30 * time.Second, syncs: 1, least: 100,
		during: func(ctx context.Context, r *run) {
			h = &r.mix.history
			pause(ctx, 5*time.Second)
			down = r.mix.clock()
			away()
			t.Logf("503 from its process after %v", r.await(r.members[2], http.StatusServiceUnavailable))
			t.Logf("200 from the others after %v", max(r.await(r.members[0], 200), r.await(r.members[1], 200), r.await(r.members[3], 200)))
			pause(ctx, heardAtAll+time.Second)
			back()
			t.Logf("200 from its process %v after it came back", r.await(r.members[2], http.StatusOK))
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
