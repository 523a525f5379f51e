package main

// goal is a bound of one value: at most or at least.
type goal struct {
	unit  string
	bound float64
	least bool
}

func (g goal) met(value float64) bool {
	if g.least {
		return value >= g.bound
	}
	return value <= g.bound
}

func (g goal) wanted() string {
	sign := "≤ "
	if g.least {
		sign = "≥ "
	}
	return sign + number(g.bound) + " " + g.unit
}

func most(unit string, bound float64) goal  { return goal{unit: unit, bound: bound} }
func least(unit string, bound float64) goal { return goal{unit: unit, bound: bound, least: true} }

// row is one line of the table. A benchmark that is there for comparison or for
// growth alone has no goals.
type row struct {
	target    string
	benchmark string
	goals     []goal
	extra     []string // units to show as well
}

// What to show of a benchmark in addition to its goals.
var (
	alone    = []string{"ns/op", "cpu-ns/op", "allocs/op"}
	cpu      = []string{"cpu-ns/op", "floor-ns/op", "x-floor-cpu", "flush-cpu-ns/op"}
	all      = []string{"ns/op", "x-floor", "cpu-ns/op", "x-floor-cpu", "flush-cpu-ns/op"}
	byHand   = []string{"x-floor", "x-floor-cpu", "ns/op", "floor-ns/op"}
	uncached = []string{"ns/op", "floor-ns/op", "x-floor", "allocs/op", "floor-allocs/op"}
)

var rows = []row{
	{"", "FloorVerify", nil, alone},
	{"P1", "VerifyCached/keys=10k/hot", []goal{most("x-floor-cpu", 1.3), most("allocs/op", 0)}, cpu},
	{"P1", "VerifyCached/keys=10k/zipf", []goal{most("x-floor-cpu", 1.8), most("allocs/op", 0)}, cpu},
	{"P1", "VerifyCached/keys=10k/uniform", []goal{most("x-floor-cpu", 2), most("allocs/op", 0)}, cpu},
	{"P1", "VerifyCachedParallel", []goal{most("allocs/op", 0)}, []string{"cpu-ns/op", "late/op"}},
	{"", "VerifyCached/keys=1k/zipf", nil, all},
	{"", "VerifyCached/keys=1k/uniform", nil, all},
	{"", "VerifyCached/keys=100k/zipf", nil, all},
	{"", "VerifyCached/keys=100k/uniform", nil, all},
	{"P2", "VerifyCached/keys=1M/zipf", []goal{most("x-floor-cpu", 2.5), most("allocs/op", 0)}, cpu},
	{"P2", "VerifyCached/keys=1M/uniform", []goal{most("x-floor-cpu", 3), most("allocs/op", 0)}, cpu},
	{"P3", "Reject/prefix", []goal{most("ns/op", 10), most("allocs/op", 0)}, []string{"cpu-ns/op"}},
	{"P3", "Reject/length", []goal{most("ns/op", 10), most("allocs/op", 0)}, []string{"cpu-ns/op"}},
	{"P3", "Reject/crc", []goal{most("ns/op", 50), most("allocs/op", 0)}, []string{"cpu-ns/op"}},
	{"", "Reject/crc/parse", nil, alone},
	{"P4", "RejectFlood/store=instant", []goal{most("heap-MiB", 8)}, []string{"ns/op", "allocs/op", "tokens"}},
	{"P4", "RejectFlood/store=1ms", []goal{least("x-quiet", 0.9), most("reads-over-cap", 0)}, []string{"reads-in-flight", "reads/s"}},
	{"P5", "VerifyUncached/sqlite/keys=100k", []goal{most("x-floor-cpu", 0.85)}, uncached},
	{"P5", "VerifyUncached/postgres/keys=100k", []goal{most("x-floor-cpu", 1.25)}, uncached},
	{"P5", "VerifyUncached/mysql/keys=100k", []goal{most("x-floor-cpu", 1.0)}, uncached},
	{"", "VerifyUncached/sqlite/keys=1k", nil, append([]string{"x-floor-cpu"}, uncached...)},
	{"", "VerifyUncached/postgres/keys=1k", nil, append([]string{"x-floor-cpu"}, uncached...)},
	{"", "VerifyUncached/mysql/keys=1k", nil, append([]string{"x-floor-cpu"}, uncached...)},
	{"P6", "UsageIngest/sqlite", []goal{least("events/s", 250_000), most("lost", 0)}, []string{"cpu-ns/op"}},
	{"P6", "UsageIngest/postgres", []goal{least("events/s", 400_000), most("lost", 0)}, []string{"cpu-ns/op"}},
	{"P6", "UsageIngest/mysql", []goal{least("events/s", 150_000), most("lost", 0)}, []string{"cpu-ns/op"}},
	{"", "UsagePerRequest/sqlite", nil, []string{"events/s", "cpu-ns/op"}},
	{"", "UsagePerRequest/postgres", nil, []string{"events/s", "cpu-ns/op"}},
	{"", "UsagePerRequest/mysql", nil, []string{"events/s", "cpu-ns/op"}},
	{"P8", "HTTPLoad/ratio", []goal{least("x-rate", 0.95), most("x-p99", 1.05)}, []string{"x-cpu", "noise-rate", "noise-p99"}},
	{"", "HTTPLoadCounts/ratio", nil, []string{"x-rate", "x-p99", "x-cpu", "noise-rate", "noise-p99"}},
	{"", "HTTPLoad/open", nil, []string{"req/s", "p99-us", "cpu-ns/op"}},
	{"", "HTTPLoad/guarded", nil, []string{"req/s", "p99-us", "cpu-ns/op"}},
	{"P8", "HTTPGuarded", []goal{most("allocs-over-floor", 2)}, []string{"ns/op", "floor-ns/op", "cpu-ns/op"}},
	{"P9", "CacheMemory/keys=1M", []goal{most("MB", 120), most("gc-cpu-ms", 20)}, []string{"B/key"}},
	{"", "CacheMemory/keys=100k", nil, []string{"MB", "gc-cpu-ms", "B/key"}},
	{"P10", "Open/keys=1M/sqlite", []goal{most("slowest-ms", 200)}, []string{"ns/op"}},
	{"", "Open/keys=1k/sqlite", nil, []string{"slowest-ms", "ns/op"}},
	{"P11", "RevocationLag/process", []goal{most("max-ms", 0)}, nil},
	{"P11", "RevocationLag/sqlite", []goal{most("p99-ms", 25)}, []string{"p50-ms", "max-ms"}},
	{"P11", "RevocationLag/postgres", []goal{most("p99-ms", 25)}, []string{"p50-ms", "max-ms"}},
	{"P11", "RevocationLag/mongodb", []goal{most("p99-ms", 250)}, []string{"p50-ms", "max-ms"}},
	{"P11", "RevocationLag/mysql", []goal{most("p99-ms", 120)}, []string{"p50-ms", "max-ms"}},
	{"P12", "LoginStorm/at-once=500", []goal{most("hashes-of-memory-per-slot", 3), most("verify-p99-ms", 25)}, []string{"over-base-MB", "checked", "refused-busy"}},
	{"", "LoginStorm/at-once=64", nil, []string{"hashes-of-memory-per-slot", "verify-p99-ms", "over-base-MB", "checked", "refused-busy"}},
	{"P12", "LoginFlood/sqlite/logins", []goal{least("uncached-%", 95), most("lag-max-ms", 1200)}, []string{"revoke-max-ms", "stale-max-ms", "remembered-%", "admitted/s", "turned-away/s"}},
	{"P12", "LoginFlood/sqlite/mails", []goal{least("uncached-%", 95), most("lag-max-ms", 1200)}, []string{"revoke-max-ms", "stale-max-ms", "remembered-%", "admitted/s", "turned-away/s"}},
	{"P12", "LoginFlood/postgres/logins", []goal{least("uncached-%", 95), most("lag-max-ms", 1200)}, []string{"revoke-max-ms", "stale-max-ms", "remembered-%", "admitted/s", "turned-away/s"}},
	{"P12", "LoginFlood/postgres/mails", []goal{least("uncached-%", 95), most("lag-max-ms", 1200)}, []string{"revoke-max-ms", "stale-max-ms", "remembered-%", "admitted/s", "turned-away/s"}},
	{"P12", "LoginFlood/mysql/logins", []goal{least("uncached-%", 95), most("lag-max-ms", 1200)}, []string{"revoke-max-ms", "stale-max-ms", "remembered-%", "admitted/s", "turned-away/s"}},
	{"P12", "LoginFlood/mysql/mails", []goal{least("uncached-%", 95), most("lag-max-ms", 1200)}, []string{"revoke-max-ms", "stale-max-ms", "remembered-%", "admitted/s", "turned-away/s"}},
	{"", "Login", nil, []string{"wrong-ms", "right-x-wrong", "unknown-x-wrong", "disabled-x-wrong", "no-password-x-wrong", "absurd-x-wrong"}},
	{"", "ByHand/sqlite/select", nil, byHand},
	{"", "ByHand/sqlite/select+update", nil, byHand},
	{"", "ByHand/postgres/select", nil, byHand},
	{"", "ByHand/postgres/select+update", nil, byHand},
	{"", "ByHand/mysql/select", nil, byHand},
	{"", "ByHand/mysql/select+update", nil, byHand},
	{"P13", "UsageByDay/events=0.1M/sqlite", nil, []string{"ns/op", "uses"}},
	{"P13", "UsageByDay/events=1M/sqlite", []goal{most("ns/op", 5e6)}, []string{"uses"}},
	{"P13", "UsageByDay/events=10M/sqlite", []goal{most("ns/op", 5e6)}, []string{"uses"}},
}
