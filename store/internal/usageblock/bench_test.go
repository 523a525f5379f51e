package usageblock_test

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/keyfold/keyfold/store/internal/usageblock"
)

// traffic returns n events of 10,000 keys, few of which are used most, 50 routes and
// 20,000 addresses.
func traffic(n int) []usageblock.Event {
	r := newRandom(1)
	zipf := make([]usageblock.Key, 10_000)
	for i := range zipf {
		zipf[i] = usageblock.KeyOf(r.id(16))
	}
	events := make([]usageblock.Event, n)
	for i := range events {
		rank := int(float64(len(zipf)) * r.Float64() * r.Float64() * r.Float64() * r.Float64())
		address := r.IntN(20_000)
		events[i] = usageblock.Event{
			At: begin + int64(i)*(hour-1)/int64(max(n, 100_000)), Seq: int64(i), Key: zipf[rank], Route: 1 + r.Int64N(50)<<50,
			IP: netip.AddrFrom4([4]byte{203, 0, byte(address >> 8), byte(address)}),
		}
		if r.IntN(100) == 0 {
			events[i].Outcome = 3
		}
	}
	return events
}

func perEvent(b *testing.B, n int) {
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/event")
}

func BenchmarkEncode(b *testing.B) {
	for _, n := range []int{1, 100, 1000, 20_000} {
		b.Run(fmt.Sprint(n, "events"), func(b *testing.B) {
			events := traffic(n)
			var size int
			b.ReportAllocs()
			for b.Loop() {
				size = len(encode(events).Body)
			}
			perEvent(b, n)
			b.ReportMetric(float64(size)/float64(n), "B/event")
		})
	}
}

func BenchmarkMerge(b *testing.B) {
	for _, n := range []int{1, 4, 100, 1000} {
		b.Run(fmt.Sprint("blocks of ", n), func(b *testing.B) {
			const all = 32_000
			events := traffic(all)
			var blocks []usageblock.Encoded
			for i := 0; i < all; i += n {
				blocks = append(blocks, encode(events[i:i+n]))
			}
			var block usageblock.Block
			b.ReportAllocs()
			for b.Loop() {
				builder := usageblock.NewBuilder()
				for _, e := range blocks {
					if err := block.Open(e.ID, e.Span, int64(e.Events), e.Body); err != nil {
						b.Fatal(err)
					}
					if err := builder.AddBlock(&block); err != nil {
						b.Fatal(err)
					}
				}
				builder.Encode(false)
				builder.Free()
			}
			perEvent(b, all)
		})
	}
}

func BenchmarkSelect(b *testing.B) {
	for _, n := range []int{100, 16_000, 32_000} {
		events := traffic(n)
		events[n/3].Key = usageblock.KeyOf("0000000000000000")
		e := encode(events)
		for name, id := range map[string]string{"absent": "0000000000000001", "rare": "0000000000000000"} {
			b.Run(fmt.Sprint(name, " key, ", n, "events"), func(b *testing.B) {
				q := everything
				q.Keys = map[usageblock.Key]struct{}{usageblock.KeyOf(id): {}}
				var block usageblock.Block
				var found []usageblock.Event
				b.ReportAllocs()
				for b.Loop() {
					if err := block.Open(e.ID, e.Span, int64(e.Events), e.Body); err != nil {
						b.Fatal(err)
					}
					var err error
					if found, err = block.Select(found[:0], &q); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
