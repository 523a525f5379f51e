package usageblock_test

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/keyfold/keyfold/store/internal/usageblock"
)

const (
	begin = int64(1_800_000_000_000) // the beginning of an hour
	hour  = int64(3_600_000)
)

// random makes the traffic of a test from a seed.
type random struct{ *rand.Rand }

func newRandom(seed uint64) random { return random{rand.New(rand.NewPCG(seed, 7))} }

const base62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

func (r random) id(length int) string {
	text := make([]byte, length)
	for i := range text {
		text[i] = base62[r.IntN(len(base62))]
	}
	return string(text)
}

func (r random) address() netip.Addr {
	var six [16]byte
	for i := range six {
		six[i] = byte(r.IntN(4))
	}
	switch r.IntN(8) {
	case 0:
		return netip.Addr{}
	case 1:
		return netip.AddrFrom16(six)
	case 2:
		return netip.AddrFrom16(netip.AddrFrom4([4]byte(six[:4])).As16()) // an IPv4 address in IPv6
	}
	return netip.AddrFrom4([4]byte(six[:4]))
}

// events returns n events of one hour in order. Some columns may be empty.
func (r random) events(n int) []usageblock.Event {
	var ids []string
	for range 1 + r.IntN(40) {
		ids = append(ids, r.id(16))
	}
	if r.IntN(2) == 0 {
		ids = append(ids, "", "k1", "a key id with 16", strings.Repeat("x", 128))
	}
	columns, step := r.IntN(64), r.Int64N(1+2*hour/int64(n))
	at, seq := begin+r.Int64N(1000), r.Int64N(1<<40)
	events := make([]usageblock.Event, n)
	for i := range events {
		e := &events[i]
		if columns&1 != 0 && step > 0 {
			at = min(at+r.Int64N(step), begin+hour-1)
		}
		seq++
		if columns&2 != 0 && r.IntN(3) == 0 {
			seq += r.Int64N(1 << 20)
		}
		*e = usageblock.Event{At: at, Seq: seq, Key: usageblock.KeyOf(ids[r.IntN(len(ids))])}
		if columns&4 != 0 {
			e.Route, e.Agent = r.Int64N(3)<<40, r.Int64N(50)
		}
		if columns&8 != 0 && r.IntN(4) == 0 {
			e.Outcome = uint8(r.IntN(256))
		}
		if columns&16 != 0 {
			e.IP = r.address()
		}
		if columns&32 != 0 && r.IntN(2) == 0 {
			e.RequestID = r.id(r.IntN(200))
		}
	}
	return events
}

func encode(events []usageblock.Event) usageblock.Encoded {
	b := usageblock.NewBuilder()
	defer b.Free()
	for i := range events {
		b.Add(&events[i])
	}
	return b.Encode(false)
}

func open(t testing.TB, e usageblock.Encoded) *usageblock.Block {
	t.Helper()
	block := new(usageblock.Block)
	if err := block.Open(e.ID, e.Span, int64(e.Events), e.Body); err != nil {
		t.Fatal(err)
	}
	return block
}

var everything = usageblock.Query{Upto: 1 << 60, Before: usageblock.End, Limit: 1 << 20}

// decode returns all events, oldest first.
func decode(t testing.TB, e usageblock.Encoded) []usageblock.Event {
	t.Helper()
	events, err := open(t, e).Select(nil, &everything)
	if err != nil {
		t.Fatal(err)
	}
	slices.Reverse(events)
	return events
}

func wantEvents(t testing.TB, got, want []usageblock.Event) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d events, want %d", len(got), len(want))
	}
	for i := range want {
		if got[i] != want[i] {
			t.Fatalf("event %d is %+v, want %+v", i, got[i], want[i])
		}
	}
}

// Mutations tried: a width one bit too small, addresses that unmap IPv4 in IPv6, runs
// that are not written.
func TestEventsAreReadAsTheyWereAdded(t *testing.T) {
	t.Parallel()
	for seed := range uint64(300) {
		r := newRandom(seed)
		n := 1 + r.IntN(1+r.IntN(3000))
		events := r.events(n)
		block := encode(events)
		last := events[n-1].At
		if block.Events != n || usageblock.Time(block.ID) != last || block.Span != last-events[0].At {
			t.Fatalf("seed %d: block %d, span %d, %d events", seed, block.ID, block.Span, block.Events)
		}
		wantEvents(t, decode(t, block), events)

		shuffled := slices.Clone(events)
		r.Shuffle(n, func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
		wantEvents(t, decode(t, encode(shuffled)), events)
	}
}

func compare(a, b usageblock.Event) int {
	return cmp.Or(cmp.Compare(a.At, b.At), cmp.Compare(a.Seq, b.Seq))
}

// However events are split into blocks, and however these are merged, the events are
// the same.
//
// Mutations tried: AddBlock that does not translate agents, a sort by time alone.
func TestMergedBlocksHaveTheSameEvents(t *testing.T) {
	t.Parallel()
	for seed := range uint64(200) {
		r := newRandom(seed)
		var events []usageblock.Event
		for range 1 + r.IntN(3) { // recorders that number their events on their own
			events = append(events, r.events(1+r.IntN(1500))...)
		}
		want := slices.Clone(events)
		slices.SortFunc(want, compare)
		var blocks []usageblock.Encoded
		for len(events) > 0 {
			n := min(len(events), 1+r.IntN(300))
			blocks = append(blocks, encode(events[:n]))
			events = events[n:]
		}
		for len(blocks) > 1 {
			r.Shuffle(len(blocks), func(i, j int) { blocks[i], blocks[j] = blocks[j], blocks[i] })
			n := min(len(blocks), 2+r.IntN(8))
			b := usageblock.NewBuilder()
			for _, block := range blocks[:n] {
				if err := b.AddBlock(open(t, block)); err != nil {
					t.Fatal(err)
				}
			}
			merged := b.Encode(false)
			b.Free()
			blocks = append(blocks[n:], merged)
		}
		wantEvents(t, decode(t, blocks[0]), want)
	}
}

func TestEqualEventsAreMergedIntoOne(t *testing.T) {
	t.Parallel()
	for seed := range uint64(100) {
		r := newRandom(seed)
		events := r.events(1 + r.IntN(500))
		block := encode(events)
		b := usageblock.NewBuilder()
		for range 2 {
			if err := b.AddBlock(open(t, block)); err != nil {
				t.Fatal(err)
			}
		}
		merged := b.Encode(true)
		b.Free()
		wantEvents(t, decode(t, merged), events)
	}
}

// Select must find what a loop over all events finds.
//
// Mutations tried: a position that is inclusive, keys as text that are not looked
// for, a limit that is applied before the outcomes.
func TestSelectFindsWhatIsAskedFor(t *testing.T) {
	t.Parallel()
	for seed := range uint64(400) {
		r := newRandom(seed)
		events := r.events(1 + r.IntN(600))
		some := func() *usageblock.Event { return &events[r.IntN(len(events))] }
		q := usageblock.Query{From: 0, Upto: 1 << 60, Before: usageblock.End, Limit: 1 + r.IntN(100)}
		if r.IntN(2) == 0 {
			q.Keys = map[usageblock.Key]struct{}{}
			for range r.IntN(4) {
				q.Keys[some().Key] = struct{}{}
			}
			if len(q.Keys) == 0 || r.IntN(2) == 0 {
				q.Keys[usageblock.KeyOf(r.id(16))] = struct{}{}
			}
		}
		if r.IntN(2) == 0 {
			q.Outcomes = new([256]bool)
			q.Outcomes[some().Outcome], q.Outcomes[r.IntN(256)] = true, true
		}
		if r.IntN(2) == 0 {
			q.From, q.Upto = some().At, some().At
		}
		if r.IntN(2) == 0 {
			q.Before = usageblock.Position{At: some().At, Seq: some().Seq}
		}
		var want []usageblock.Event
		for _, e := range slices.Backward(events) {
			_, wanted := q.Keys[e.Key]
			if len(want) < q.Limit && (q.Keys == nil || wanted) && (q.Outcomes == nil || q.Outcomes[e.Outcome]) && e.At >= q.From &&
				e.At <= q.Upto && (e.At < q.Before.At || e.At == q.Before.At && e.Seq < q.Before.Seq) {
				want = append(want, e)
			}
		}
		got, err := open(t, encode(events)).Select(nil, &q)
		if err != nil {
			t.Fatal(err)
		}
		wantEvents(t, got, want)
	}
}

func TestKeysKeepTheirIDs(t *testing.T) {
	t.Parallel()
	for _, id := range []string{
		"", "0", "0000000000000000", "zzzzzzzzzzzzzzzz", "zzzzzzzz00000000", "AbCdEfGhIjKlMnOp", "AbCdEfGhIjKlMnO", "AbCdEfGhIjKlMnOpQ",
		"AbCdEfGhIjKlMnO-", "-bCdEfGhIjKlMnOp", "Ab dEfGhIjKlMnOp", "é6789012345678", "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
	} {
		if got := usageblock.KeyOf(id).String(); got != id {
			t.Errorf("the id %q comes back as %q", id, got)
		}
	}
}

func TestBlocksEndWithTheHourAndWithinTheLimits(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name string
		n    int
		step int64
		text int
		want []int
	}{
		{"a few", 3, 1, 0, []int{3}},
		{"the last and the first millisecond of an hour", 4, hour - 1, 0, []int{2, 1, 1}},
		{"too many for a block", 70_000, 0, 0, []int{32_768, 32_768, 4464}},
		{"long request ids", 8000, 0, 256, []int{3640, 3640, 720}},
		{"a text that is too long for any block", 2, 0, 2 << 20, []int{1, 1}},
	} {
		var got []int
		err := usageblock.Split(row.n, usageblock.MaxBody, func(i int) int64 { return begin + int64(i)*row.step }, func(int) int { return row.text },
			func(from, to int) error {
				got = append(got, to-from)
				return nil
			})
		if err != nil || !slices.Equal(got, row.want) {
			t.Errorf("%s: got %d (%v), want %d", row.name, got, err, row.want)
		}
	}
}

// A damaged body must be recognized, and one of a later version told apart.
//
// Mutation tried: Open without its comparison of the checksum.
func TestDamagedBlocksAreRefused(t *testing.T) {
	t.Parallel()
	events := newRandom(3).events(100)
	whole := encode(events)
	for at := range whole.Body {
		bad := whole
		bad.Body = slices.Clone(whole.Body)
		bad.Body[at] ^= 0x40
		if err := new(usageblock.Block).Open(bad.ID, bad.Span, int64(bad.Events), bad.Body); !errors.Is(err, usageblock.ErrCorrupt) {
			t.Fatalf("one bit of byte %d is different: got %v", at, err)
		}
		if err := new(usageblock.Block).Open(bad.ID, bad.Span, int64(bad.Events), whole.Body[:at]); !errors.Is(err, usageblock.ErrCorrupt) {
			t.Fatalf("only %d bytes: got %v", at, err)
		}
	}
	for name, change := range map[string]func(*usageblock.Encoded){
		"another number of events": func(e *usageblock.Encoded) { e.Events++ },
		"a negative span":          func(e *usageblock.Encoded) { e.Span = -1 },
		"a span of an hour":        func(e *usageblock.Encoded) { e.Span = hour },
	} {
		bad := whole
		change(&bad)
		if err := new(usageblock.Block).Open(bad.ID, bad.Span, int64(bad.Events), bad.Body); !errors.Is(err, usageblock.ErrCorrupt) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	for name, change := range map[string]func([]byte){
		"version 2":         func(b []byte) { b[0] = 2 },
		"the reserved flag": func(b []byte) { b[1] |= 128 },
	} {
		newer := slices.Clone(whole.Body)
		change(newer)
		seal(newer)
		if err := new(usageblock.Block).Open(whole.ID, whole.Span, int64(whole.Events), newer); !errors.Is(err, usageblock.ErrNewer) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// seal writes the checksum that fits the rest of the body.
func seal(body []byte) {
	if end := len(body) - 4; end >= 0 {
		binary.LittleEndian.PutUint32(body[end:], crc32.Checksum(body[:end], crc32.MakeTable(crc32.Castagnoli)))
	}
}

var update = flag.Bool("update", false, "write the golden bodies in testdata")

// golden are blocks whose bodies are in testdata, so that the format of version 1
// cannot change unnoticed.
func golden() map[string][]usageblock.Event {
	key := func(n int) usageblock.Key { return usageblock.KeyOf(fmt.Sprintf("Key%013d", n)) }
	full := []usageblock.Event{
		{At: begin, Seq: 9, Outcome: 4},
		{At: begin, Seq: 10, Key: key(1), Route: 1 << 60, IP: netip.MustParseAddr("192.0.2.1")},
		{At: begin + 1, Seq: 2, Key: key(2), Route: 7, Agent: 5, IP: netip.MustParseAddr("2001:db8::1"), RequestID: "a"},
		{At: begin + 300, Seq: 3, Key: usageblock.KeyOf("other"), Agent: 5, IP: netip.MustParseAddr("::ffff:192.0.2.1")},
		{At: begin + hour - 1, Seq: 1<<48 - 2, Key: key(1), Route: 7, IP: netip.MustParseAddr("192.0.2.1"), RequestID: "request 2"},
	}
	var plain []usageblock.Event
	for n := range 12 {
		plain = append(plain, usageblock.Event{
			At: begin + int64(n)*40, Seq: 77 + int64(n), Key: key(n % 5), Route: int64(1 + n%3), IP: netip.AddrFrom4([4]byte{198, 51, 100, byte(n)}),
		})
	}
	return map[string][]usageblock.Event{
		"one":   {{At: begin + 5, Seq: 1 << 40, Key: key(1), Route: 3, IP: netip.MustParseAddr("192.0.2.1")}},
		"bare":  {{At: begin, Seq: 0}},
		"full":  full,
		"plain": plain,
	}
}

func TestFormatOfVersion1IsUnchanged(t *testing.T) {
	t.Parallel()
	for name, events := range golden() {
		block := encode(events)
		path := filepath.Join("testdata", "v1", name+".hex")
		if *update {
			if err := os.WriteFile(path, []byte(hex.EncodeToString(block.Body)+"\n"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		body, err := hex.DecodeString(strings.TrimSpace(string(text)))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(block.Body, body) {
			t.Errorf("%s is encoded as\n%x, want\n%x", name, block.Body, body)
		}
		block.Body = body
		wantEvents(t, decode(t, block), events)
	}
}

func TestSmallBlocksAreSmall(t *testing.T) {
	t.Parallel()
	one := golden()["one"]
	if got := len(encode(one).Body); got > 60 {
		t.Errorf("a block of one event has %d bytes, want at most 60", got)
	}
}

func TestBuildersAreReused(t *testing.T) {
	r := newRandom(5)
	events := r.events(1000)
	block := encode(events)
	opened := open(t, block)
	b := usageblock.NewBuilder()
	defer b.Free()
	round := func() {
		for i := range events {
			b.Add(&events[i])
		}
		b.Encode(false)
		if err := b.AddBlock(opened); err != nil {
			t.Fatal(err)
		}
		b.Reset()
	}
	round()
	if got := testing.AllocsPerRun(10, round); got > 40 {
		t.Errorf("%v allocations for 1000 events", got)
	}
}

func FuzzOpenAnyBody(f *testing.F) {
	for _, events := range golden() {
		block := encode(events)
		f.Add(block.ID, block.Span, int64(block.Events), block.Body)
	}
	f.Fuzz(func(t *testing.T, id, span, n int64, body []byte) {
		seal(body)
		var block usageblock.Block
		if err := block.Open(id, span, n, body); err != nil {
			return
		}
		events, err := block.Select(nil, &everything)
		if err == nil && int64(len(events)) != n {
			t.Fatalf("%d events, want %d", len(events), n)
		}
		b := usageblock.NewBuilder()
		defer b.Free()
		added := b.AddBlock(&block) // also checks entries that no event names
		switch {
		case added != nil:
			return
		case err != nil:
			t.Fatalf("AddBlock returned no error, and Select %v", err)
		}
		again := decode(t, b.Encode(false))
		slices.Reverse(events)
		slices.SortStableFunc(events, compare)
		if !reflect.DeepEqual(again, events) {
			t.Fatalf("merged alone, the events are\n%+v, want\n%+v", again, events)
		}
	})
}

func FuzzEventsAreReadAsTheyWereAdded(f *testing.F) {
	f.Add(uint64(1), uint16(1))
	f.Add(uint64(2), uint16(900))
	f.Fuzz(func(t *testing.T, seed uint64, n uint16) {
		events := newRandom(seed).events(1 + int(n)%2000)
		wantEvents(t, decode(t, encode(events)), events)
	})
}
