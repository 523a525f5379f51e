package bench_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/bench/keyset"
)

// maxBehind is how many events may wait: verifies that come faster than the
// database writes are held back, as they would be by the network.
const maxBehind = 40_000

// BenchmarkUsageIngest verifies cached keys through a Service with default
// options as fast as the database takes their usage, and then counts what is
// stored: rows, totals and hours must all be the number of verifies.
func BenchmarkUsageIngest(b *testing.B) {
	for _, engine := range engines {
		b.Run(engine.name, func(b *testing.B) { ingest(b, filled(b, engine.name, 10_000)) })
	}
}

func ingest(b *testing.B, d *database) {
	opts := quietOptions(d.keys.Len())
	opts.FlushInterval = time.Second
	svc := newService(b, d.store, opts)
	warm(b, svc, d.keys)
	before := stored(b, d)
	order := keyset.Zipf(d.keys.Len())
	ctx := serverContext(b)
	requests := someRequests()
	var working meter
	b.ResetTimer()
	working.start()
	n := 0
	for b.Loop() {
		r := requests[n&(len(requests)-1)]
		r.Token = d.keys.Token(int(order[n&(len(order)-1)]))
		if _, err := svc.Verify(ctx, r); err != nil {
			b.Fatal(err)
		}
		if n++; n&511 == 0 {
			for svc.UsageStats().PendingEvents > maxBehind {
				time.Sleep(500 * time.Microsecond)
			}
		}
	}
	flush(b, svc)
	working.stop(n)
	b.ReportMetric(perOp(working.wall, n), "ns/op")
	b.ReportMetric(perOp(working.cpu, n), "cpu-ns/op")
	b.ReportMetric(float64(n)/working.wall.Seconds(), "events/s")
	after := stored(b, d)
	lost := int64(0)
	for i := range after {
		lost += max(int64(n)-(after[i]-before[i]), 0)
		if after[i]-before[i] != int64(n) {
			b.Errorf("%s: %d, want %d", countQueries[i], after[i]-before[i], n)
		}
	}
	b.ReportMetric(float64(lost), "lost")
}

var countQueries = [...]string{
	"SELECT CAST(COALESCE(SUM(events), 0) AS DECIMAL(20)) FROM keyfold_usage_blocks",
	"SELECT CAST(COALESCE(SUM(uses), 0) AS DECIMAL(20)) FROM keyfold_key_totals",
	"SELECT CAST(COALESCE(SUM(uses), 0) AS DECIMAL(20)) FROM keyfold_usage_hours WHERE key_id <> ''",
	"SELECT CAST(COALESCE(SUM(uses), 0) AS DECIMAL(20)) FROM keyfold_usage_hours WHERE key_id = ''",
}

func stored(b *testing.B, d *database) (counts [len(countQueries)]int64) {
	b.Helper()
	for i, query := range countQueries {
		var err error
		counts[i], err = d.number(context.Background(), query)
		must(b, err)
	}
	return counts
}

// someRequests differ in route and address as those of a small service do.
func someRequests() []keyfold.Request {
	random := rand.New(rand.NewPCG(keyset.Seed, 4))
	requests := make([]keyfold.Request, 1024)
	for i := range requests {
		requests[i].Route = fmt.Sprintf("GET /v1/resource%d/{id}", random.IntN(20))
		requests[i].IP = netip.AddrFrom4([4]byte{192, 0, 2, byte(random.IntN(256))})
	}
	return requests
}

var sequence atomic.Int64

// BenchmarkUsagePerRequest is what usage costs when each request writes its own
// row, and nothing else, by a prepared statement.
func BenchmarkUsagePerRequest(b *testing.B) {
	for _, engine := range engines {
		b.Run(engine.name, func(b *testing.B) {
			d := filled(b, engine.name, 10_000)
			order := keyset.Zipf(d.keys.Len())
			ctx := serverContext(b)
			first := sequence.Add(1 << 40)
			paired(b, 1024, func(i int) {
				must(b, d.insertEvent(ctx, first+int64(i), d.keys.ID(int(order[i&(len(order)-1)]))))
			}, nil, nil)
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
		})
	}
}

// BenchmarkUsageByDay asks for thirty days of usage of the busiest key.
func BenchmarkUsageByDay(b *testing.B) {
	sizes := []int{100_000, 1_000_000}
	if full() {
		sizes = append(sizes, 10_000_000)
	}
	for _, n := range sizes {
		b.Run("events="+events(n), func(b *testing.B) {
			const keys = 10_000
			d := openSQLite(b, keyset.New(keys))
			fillUsage(b, d, n)
			busiest := d.keys.ID(int(mostOften(keyset.Zipf(keys))))
			end := keyset.Created.AddDate(0, 0, days)
			opts := quietOptions(keys)
			svc := newService(b, d.store, opts)
			ctx := serverContext(b)
			b.Run("sqlite", func(b *testing.B) {
				total := int64(0)
				paired(b, 16, func(int) {
					usage, err := svc.UsageTotals(ctx, keyfold.UsageQuery{KeyID: keyfold.Only(busiest), From: keyset.Created, To: end})
					must(b, err)
					total = usage.Count[keyfold.OutcomeAllowed]
				}, nil, nil)
				if total == 0 {
					b.Error("the busiest key was never used")
				}
				b.ReportMetric(float64(total), "uses")
			})
		})
	}
}

const days = 30

func events(n int) string {
	if n < 1_000_000 {
		return fmt.Sprintf("%.1fM", float64(n)/1e6)
	}
	return fmt.Sprintf("%dM", n/1_000_000)
}

// fillUsage spreads n events over thirty days, in batches as a recorder makes.
func fillUsage(b *testing.B, d *database, n int) {
	b.Helper()
	order := keyset.Zipf(d.keys.Len())
	step := time.Duration(days*24) * time.Hour / time.Duration(n)
	const size = 10_000
	for from := 0; from < n; from += size {
		batch := keyfold.UsageBatch{RecorderID: "bench", Number: int64(from/size + 1), At: time.Now().UTC()}
		totals, hours := map[string]*keyfold.KeyUses{}, map[string]map[time.Time]int64{}
		for i := from; i < min(from+size, n); i++ {
			at := keyset.Created.Add(time.Duration(i) * step).Truncate(time.Millisecond)
			id := d.keys.ID(int(order[i&(len(order)-1)]))
			batch.Events = append(batch.Events, keyfold.UsageEvent{At: at, KeyID: id, Route: "GET /reports/{id}", IP: netip.MustParseAddr("192.0.2.17")})
			if totals[id] == nil {
				totals[id], hours[id] = &keyfold.KeyUses{KeyID: id}, map[time.Time]int64{}
			}
			totals[id].Uses++
			totals[id].LastUsedAt = at
			hours[id][at.Truncate(time.Hour)]++
		}
		for id, total := range totals {
			batch.Keys = append(batch.Keys, *total)
			for hour, count := range hours[id] {
				batch.Hours = append(batch.Hours, keyfold.UsageHour{KeyID: id, HourAt: hour, Count: count})
			}
		}
		_, err := d.store.RecordUsage(context.Background(), batch)
		must(b, err)
	}
	runtime.GC()
}

func mostOften(order keyset.Order) int32 {
	counts, best := map[int32]int{}, order[0]
	for _, key := range order {
		if counts[key]++; counts[key] > counts[best] {
			best = key
		}
	}
	return best
}
