package bench_test

import (
	"testing"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/bench/keyset"
)

// keySizes are the sizes of databases to measure on.
func keySizes() []int {
	if full() {
		return []int{1000, 100_000, 1_000_000}
	}
	return []int{1000, 100_000}
}

// BenchmarkFloorSelect reads the columns that a verify needs by the driver
// alone: a prepared statement on SQLite and MariaDB, a cached one of pgx.
func BenchmarkFloorSelect(b *testing.B) {
	onEngines(b, func(b *testing.B, d *database, order keyset.Order) {
		ctx := serverContext(b)
		paired(b, 256, func(i int) { must(b, d.selectKey(ctx, d.keys.ID(int(order[i&(len(order)-1)])))) }, nil, nil)
	})
}

// BenchmarkVerifyUncached verifies without a cache, next to the floor.
func BenchmarkVerifyUncached(b *testing.B) {
	onEngines(b, func(b *testing.B, d *database, order keyset.Order) {
		ctx := serverContext(b)
		opts := quietOptions(1)
		opts.DisableCache = true
		svc := newService(b, d.store, opts)
		mask := len(order) - 1
		paired(b, 256, func(i int) {
			if _, err := svc.Verify(ctx, request(d.keys.Token(int(order[i&mask])))); err != nil {
				b.Fatal(err)
			}
		}, func(i int) {
			must(b, d.selectKey(ctx, d.keys.ID(int(order[i&mask]))))
		}, func() { flush(b, svc) })
		if svc.UsageStats() != (keyfold.UsageStats{}) {
			b.Errorf("usage was lost: %+v", svc.UsageStats())
		}
	})
}

func onEngines(b *testing.B, run func(*testing.B, *database, keyset.Order)) {
	for _, engine := range engines {
		b.Run(engine.name, func(b *testing.B) {
			for _, n := range keySizes() {
				b.Run("keys="+sizeName(n), func(b *testing.B) {
					d := filled(b, engine.name, n)
					run(b, d, keyset.Uniform(n))
				})
			}
		})
	}
}
