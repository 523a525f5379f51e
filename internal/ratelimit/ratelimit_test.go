package ratelimit

import (
	"math/big"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// bucket is the model: a bucket that refills continuously, in exact numbers.
type bucket struct {
	burst, perNano, units *big.Rat
	at                    int64
}

func newBucket(units int64, per time.Duration, burst int64) *bucket {
	return &bucket{burst: new(big.Rat).SetInt64(burst), perNano: big.NewRat(units, int64(per)), units: new(big.Rat).SetInt64(burst)}
}

func (b *bucket) advance(now int64) {
	b.units.Add(b.units, new(big.Rat).Mul(b.perNano, new(big.Rat).SetInt64(now-b.at)))
	if b.units.Cmp(b.burst) > 0 {
		b.units.Set(b.burst)
	}
	b.at = now
}

func (b *bucket) take(units, now int64) bool {
	b.advance(now)
	cost := new(big.Rat).SetInt64(units)
	if cost.Cmp(b.units) > 0 {
		return false
	}
	b.units.Sub(b.units, cost)
	return true
}

func randomRate(random *rand.Rand) (units int64, per time.Duration, burst int64) {
	per = []time.Duration{time.Second, time.Minute, time.Hour, 24 * time.Hour}[random.IntN(4)]
	divisors := []int64{1, 2, 4, 5, 8, 10, 20, 100, 1000} // of a second in nanoseconds: the model has no rounding
	return divisors[random.IntN(len(divisors))], per, 1 + random.Int64N(50)
}

// Mutations tried: the refill rounded down; a full bucket that keeps refilling; the
// comparison with > replaced by >=.
func TestTableDecidesAsAnExactBucketDoes(t *testing.T) {
	t.Parallel()
	for seed := range uint64(300) {
		random := rand.New(rand.NewPCG(seed, 1))
		units, per, burst := randomRate(random)
		r, table, model := New(units, per, burst), NewTable(1), newBucket(units, per, burst)
		now := int64(random.Uint32())
		model.at = now
		for step := range 300 {
			now += random.Int64N(2 * r.one)
			cost := random.Int64N(min(burst+2, 6))
			state, got := table.Take(seed, r, cost, now)
			if want := model.take(cost, now); got != want {
				t.Fatalf("seed %d, step %d: %d of %d per %s, burst %d: allowed %v, want %v", seed, step, cost, units, per, burst, got, want)
			}
			left := new(big.Int).Quo(model.units.Num(), model.units.Denom())
			if state.Left != left.Int64() {
				t.Fatalf("seed %d, step %d: %d units left, want %s", seed, step, state.Left, left)
			}
			if !got && cost <= burst {
				if _, ok := table.Take(seed, r, cost, now+int64(state.Wait)-1); ok {
					t.Fatalf("seed %d, step %d: allowed before the wait of %s was over", seed, step, state.Wait)
				}
				now += int64(state.Wait)
				if _, ok := table.Take(seed, r, cost, now); !ok || !model.take(cost, now) {
					t.Fatalf("seed %d, step %d: refused after the wait of %s", seed, step, state.Wait)
				}
			}
		}
	}
}

func TestRefundedUnitsCanBeTakenAgain(t *testing.T) {
	t.Parallel()
	r, table := New(10, time.Second, 10), NewTable(1)
	for range 3 {
		if _, ok := table.Take(7, r, 10, 0); !ok {
			t.Fatal("10 units of a full bucket were refused")
		}
		table.Give(7, r, 10)
	}
}

func TestCostAboveTheBurstHasNoWait(t *testing.T) {
	t.Parallel()
	state, ok := NewTable(1).Take(7, New(10, time.Second, 10), 11, 0)
	if ok || state.Wait != 0 {
		t.Errorf("11 units of a bucket of 10: allowed %v, wait %s; want a refusal without a wait", ok, state.Wait)
	}
}

// Mutation tried: no lock in Take.
func TestGoroutinesTakeExactlyTheBurst(t *testing.T) {
	t.Parallel()
	r := New(500, time.Second, 500)
	for round := range uint64(50) {
		table, taken := NewTable(1), atomic.Int64{}
		var done sync.WaitGroup
		for range 8 {
			done.Go(func() {
				for range 200 {
					if _, ok := table.Take(round, r, 1, 0); ok {
						taken.Add(1)
					}
				}
			})
		}
		done.Wait()
		if taken.Load() != 500 {
			t.Fatalf("round %d: 8 goroutines took %d units, want 500", round, taken.Load())
		}
	}
}

// Mutations tried: a place that becomes unused when its bucket is full; buckets that
// are not moved when a shard grows; a full bucket that keeps its place.
func TestTableForgetsOnlyFullBucketsWhileThereIsRoom(t *testing.T) {
	t.Parallel()
	r, random := New(1, time.Second, 3), rand.New(rand.NewPCG(1, 2))
	table, models := NewTable(1<<16), map[uint64]*bucket{}
	tags := make([]uint64, 4000)
	for i := range tags {
		tags[i] = random.Uint64() | 1
	}
	for step := range 100_000 {
		now, tag := int64(step)*int64(time.Millisecond), tags[random.IntN(len(tags))]
		if models[tag] == nil {
			models[tag] = newBucket(1, time.Second, 3)
			models[tag].at = now
		}
		_, got := table.Take(tag, r, 1, now)
		if want := models[tag].take(1, now); got != want {
			t.Fatalf("step %d: allowed %v, want %v", step, got, want)
		}
	}
	if table.Dropped() != 0 {
		t.Errorf("%d buckets were dropped although there was room", table.Dropped())
	}
}

func TestFullTableDropsTheBucketsNearestToFull(t *testing.T) {
	t.Parallel()
	r, random := New(1, time.Minute, 100), rand.New(rand.NewPCG(3, 4))
	table := NewTable(1)
	heavy := random.Uint64() | 1
	table.Take(heavy, r, 100, 0)
	for range 100_000 {
		table.Take(random.Uint64()|1, r, 1, 0)
	}
	if table.Dropped() == 0 {
		t.Error("100 000 buckets in a table for 4096, and none was dropped")
	}
	for i := range table.shards {
		if n := len(table.shards[i].places); n > least {
			t.Errorf("a shard has %d places, want at most %d", n, least)
		}
	}
	if state := table.State(heavy, r, 0); state.Left != 0 {
		t.Errorf("the empty bucket was dropped before those that are nearly full: %d units left", state.Left)
	}
}

func TestTakeAllocatesNothing(t *testing.T) {
	r, table := New(1000, time.Second, 1000), NewTable(1)
	if n := testing.AllocsPerRun(100, func() { table.Take(99, r, 1, 0) }); n != 0 {
		t.Errorf("Take allocates %v times, want 0", n)
	}
}

// Mutations tried, each refused by this test or the simulation: units charged when
// they are taken in advance instead of when they are spent; unreported units dropped
// instead of charged; units kept after their epoch; what is held not subtracted from
// what is free.
func TestRowNeverAllowsMoreThanAnExactBucket(t *testing.T) {
	t.Parallel()
	for seed := range uint64(500) {
		random := rand.New(rand.NewPCG(seed, 5))
		units, per, burst := randomRate(random)
		r, model := New(units, per, burst), newBucket(units, per, burst)
		var row Row
		type lease struct{ epoch, left, spent, until int64 }
		leases := make([]lease, 3) // of processes
		now := int64(random.Uint32())
		model.at = now
		spend := func(cost int64) {
			if !model.take(cost, now) {
				t.Fatalf("seed %d: %d units were allowed that an exact bucket refuses", seed, cost)
			}
		}
		for range 400 {
			now += random.Int64N(int64(700 * time.Millisecond))
			l := &leases[random.IntN(len(leases))]
			if now < l.until && l.left > 0 && random.IntN(2) == 0 {
				n := 1 + random.Int64N(l.left)
				spend(n)
				l.left, l.spent = l.left-n, l.spent+n
				continue
			}
			ask := Reservation{Ahead: random.Int64N(burst), Epoch: l.epoch, Held: l.left + l.spent, Spent: l.spent}
			if now < l.until {
				ask.Keep = random.Int64N(l.left + 1)
			}
			for range random.IntN(4) {
				ask.Costs = append(ask.Costs, 1+random.Int64N(burst))
			}
			if random.IntN(10) == 0 {
				ask.Epoch = -1 // the process was killed: nothing is reported
				ask.Held, ask.Spent, ask.Keep = 0, 0, 0
			}
			var got Grant
			row, got = r.Reserve(row, now, ask)
			for _, cost := range ask.Costs[:got.Taken] {
				spend(cost)
			}
			if got.Keep > ask.Keep || got.Ahead > ask.Ahead {
				t.Fatalf("seed %d: granted %+v, asked for %+v", seed, got, ask)
			}
			*l = lease{epoch: got.Epoch, left: got.Keep + got.Ahead, until: now + int64(lifetime)}
			if free := r.free(row); free < 0 {
				t.Fatalf("seed %d: %d units are free", seed, free)
			}
		}
	}
}

func TestRowOfASlowClockIsNotEarlier(t *testing.T) {
	t.Parallel()
	r := New(1, time.Second, 1)
	row, _ := r.Reserve(Row{}, int64(time.Hour), Reservation{Costs: []int64{1}})
	if _, got := r.Reserve(row, 0, Reservation{Costs: []int64{1}}); got.Taken != 0 || got.Wait > time.Second {
		t.Errorf("a process whose clock is an hour slow: %+v; want a wait of a second", got)
	}
}

func TestForgottenRowIsFullAndHoldsNothing(t *testing.T) {
	t.Parallel()
	for seed := range uint64(200) {
		random := rand.New(rand.NewPCG(seed, 6))
		units, per, burst := randomRate(random)
		r, now := New(units, per, burst), int64(random.Uint32())
		row, _ := r.Reserve(Row{}, now, Reservation{Costs: []int64{1 + random.Int64N(burst)}, Ahead: random.Int64N(burst)})
		row, _ = r.Reserve(row, now+random.Int64N(int64(2*time.Second)), Reservation{Ahead: random.Int64N(burst)})
		end := max(r.ExpiresAt(row), row.At)
		if row = r.advance(row, end); r.free(row) != burst {
			t.Fatalf("seed %d: %d of %d units are free when the row expires: %+v", seed, r.free(row), burst, row)
		}
	}
}

func BenchmarkTake(b *testing.B) {
	r, table := New(1_000_000, time.Second, 1_000_000), NewTable(1<<20)
	random := rand.New(rand.NewPCG(1, 1))
	for _, n := range []struct {
		name string
		keys uint64
	}{{"keys=1", 1}, {"keys=10k", 10_000}, {"keys=1M", 1_000_000}} {
		b.Run(n.name, func(b *testing.B) {
			b.ReportAllocs()
			now := int64(0)
			for b.Loop() {
				now += 20
				table.Take(random.Uint64N(n.keys)*0x9e3779b97f4a7c15, r, 1, now)
			}
		})
	}
}
