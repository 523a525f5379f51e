package usageblock

import (
	"encoding/binary"
	"hash/crc32"
	"math"
	"net/netip"
	"slices"
	"sync"
)

// Event is one usage event.
type Event struct {
	At        int64 // unix milliseconds
	Seq       int64 // orders events of one millisecond
	Key       Key
	Route     int64 // id of a word, 0 for none
	Agent     int64 // id of a word, 0 for none
	Outcome   uint8
	IP        netip.Addr // without a zone; the zero Addr if unknown
	RequestID string
}

// Encoded is a block as a store keeps it.
type Encoded struct {
	ID     int64
	Span   int64
	Events int
	Body   []byte
}

// Builder collects the events of one block. The caller must call Free.
type Builder struct {
	at, seq   []int64
	keys      []uint32
	keyDict   dictionary
	texts     []string // ids that are not 16 base62 digits; pairs of textKey name them
	textOf    map[string]uint64
	routes    []uint32
	routeDict dictionary
	agents    []uint32
	agentDict dictionary
	outcomes  []byte
	addresses []uint32 // number and kind
	ip4, ip6  dictionary
	requests  []byte
	ends      []uint32 // of each request id
	unordered bool
	read      int // bytes of the bodies that were added

	order   []uint64 // scratch
	numbers []uint32
	moved   []int64
	bytes   []byte
	blob    []byte
}

// textKey marks the pair of a key whose id is in texts.
const textKey = 1 << 63

// The kind of an address is in the highest bits of its number.
const (
	kind4 = iota << 30
	kind6
	kindNone
	kindMask = 3 << 30
)

var builders = sync.Pool{New: func() any { return new(Builder) }}

// NewBuilder returns an empty builder, which may have been used before.
func NewBuilder() *Builder { return builders.Get().(*Builder) }

// Free gives the memory of the builder to others. The builder must not be used
// afterwards.
func (b *Builder) Free() {
	b.Reset()
	builders.Put(b)
}

// Reset removes all events.
func (b *Builder) Reset() {
	b.at, b.seq = b.at[:0], b.seq[:0]
	b.keys, b.routes, b.agents = b.keys[:0], b.routes[:0], b.agents[:0]
	b.outcomes, b.addresses = b.outcomes[:0], b.addresses[:0]
	b.requests, b.ends = b.requests[:0], b.ends[:0]
	for _, d := range []*dictionary{&b.keyDict, &b.routeDict, &b.agentDict, &b.ip4, &b.ip6} {
		d.reset()
	}
	clear(b.texts)
	b.texts = b.texts[:0]
	clear(b.textOf)
	b.unordered, b.read = false, 0
}

// Len returns the number of events.
func (b *Builder) Len() int { return len(b.at) }

// Add adds an event, which must be from the same hour as the others.
func (b *Builder) Add(e *Event) {
	b.place(e.At, e.Seq)
	b.keys = append(b.keys, b.keyDict.number(b.pairOf(e.Key)))
	b.routes = append(b.routes, b.routeDict.number(pair{a: uint64(e.Route)}))
	b.agents = append(b.agents, b.agentDict.number(pair{a: uint64(e.Agent)}))
	b.outcomes = append(b.outcomes, e.Outcome)
	b.addresses = append(b.addresses, b.address(e.IP))
	b.requests = append(b.requests, e.RequestID...)
	b.ends = append(b.ends, uint32(len(b.requests)))
}

func (b *Builder) place(at, seq int64) {
	if last := len(b.at) - 1; last >= 0 && (at < b.at[last] || at == b.at[last] && seq < b.seq[last]) {
		b.unordered = true
	}
	b.at, b.seq = append(b.at, at), append(b.seq, seq)
}

func (b *Builder) pairOf(k Key) pair {
	if k.text == "" {
		return pair{k.hi, k.lo}
	}
	n, known := b.textOf[k.text]
	if !known {
		if b.textOf == nil {
			b.textOf = map[string]uint64{}
		}
		n = uint64(len(b.texts))
		b.texts = append(b.texts, k.text)
		b.textOf[k.text] = n
	}
	return pair{textKey, n}
}

func (b *Builder) address(ip netip.Addr) uint32 {
	switch {
	case ip.Is4():
		four := ip.As4()
		return b.ip4.number(pair{a: uint64(binary.BigEndian.Uint32(four[:]))}) | kind4
	case ip.IsValid():
		six := ip.As16()
		return b.ip6.number(pair{binary.BigEndian.Uint64(six[:8]), binary.BigEndian.Uint64(six[8:])}) | kind6
	}
	return kindNone
}

// Fits reports whether the events of a block can be added without exceeding the
// limits of a block.
func (b *Builder) Fits(block *Block) bool {
	return len(b.at) == 0 || len(b.at)+block.n <= MaxEvents && b.read+len(block.body) <= MaxBody
}

// AddBlock adds all events of a block, which must be from the same hour as the
// others. After an error the builder must be reset.
func (b *Builder) AddBlock(block *Block) error {
	times, err := block.readTimes()
	if err != nil {
		return err
	}
	seqs, err := block.readSeqs()
	if err != nil {
		return err
	}
	for i := range block.n {
		b.place(times[i], seqs[i])
	}
	keys, err := block.keyPairs(b)
	if err != nil {
		return err
	}
	if b.keys, err = block.keys.column.remap(b.keys, block.n, keys); err != nil {
		return err
	}
	if b.routes, err = block.routes.remap(b, b.routes, block.n, &b.routeDict); err != nil {
		return err
	}
	if b.agents, err = block.agents.remap(b, b.agents, block.n, &b.agentDict); err != nil {
		return err
	}
	outcomes, err := block.readOutcomes()
	if err != nil {
		return err
	}
	b.outcomes = append(b.outcomes, outcomes...)
	if err := block.addresses.addTo(b, block.n); err != nil {
		return err
	}
	if err := block.addRequests(b); err != nil {
		return err
	}
	b.read += len(block.body)
	return nil
}

// remap appends the numbers of a column in other numbers.
func (p *packed) remap(to []uint32, n int, numbers []uint32) ([]uint32, error) {
	for i := range n {
		number, err := p.at(i)
		if err != nil {
			return to, err
		}
		to = append(to, numbers[number])
	}
	return to, nil
}

// remap appends the numbers that the words of a column have in a dictionary.
func (w *words) remap(b *Builder, to []uint32, n int, dict *dictionary) ([]uint32, error) {
	numbers := b.numbers[:0]
	defer func() { b.numbers = numbers[:0] }()
	if w.d == 0 {
		none := dict.number(pair{})
		for range n {
			to = append(to, none)
		}
		return to, nil
	}
	for i := range w.d {
		numbers = append(numbers, dict.number(pair{a: uint64(w.word(i))}))
	}
	return w.column.remap(to, n, numbers)
}

func (a *addresses) addTo(b *Builder, n int) error {
	switch {
	case !a.present:
		for range n {
			b.addresses = append(b.addresses, kindNone)
		}
		return nil
	case a.plain != nil:
		for i := range n {
			b.addresses = append(b.addresses, b.ip4.number(pair{a: uint64(binary.BigEndian.Uint32(a.plain[i*ip4Len:]))})|kind4)
		}
		return nil
	}
	numbers := b.numbers[:0]
	defer func() { b.numbers = numbers[:0] }()
	for i := range a.d4 {
		numbers = append(numbers, b.ip4.number(pair{a: uint64(binary.BigEndian.Uint32(a.ip4[i*ip4Len:]))})|kind4)
	}
	for i := range a.d6 {
		six := a.ip6[i*ip6Len:]
		numbers = append(numbers, b.ip6.number(pair{binary.BigEndian.Uint64(six), binary.BigEndian.Uint64(six[8:])})|kind6)
	}
	if a.none {
		numbers = append(numbers, kindNone)
	}
	var err error
	b.addresses, err = a.column.remap(b.addresses, n, numbers)
	return err
}

// Encode returns the block of all events, which must be one or more and at most
// twice [MaxEvents]. Of events with the same time and number it keeps one if
// distinct is true. The builder is empty afterwards.
func (b *Builder) Encode(distinct bool) Encoded {
	b.sort(distinct)
	n := len(b.at)
	first, last := b.at[0], b.at[n-1]
	flags := 0
	for _, section := range []struct {
		flag  int
		write func([]byte) []byte
	}{
		{flagRuns, b.writeRuns},
		{flagTimes, b.writeTimes},
		{0, b.writeKeys},
		{flagRoutes, func(to []byte) []byte { return writeWords(to, b.routes, &b.routeDict) }},
		{flagAgents, func(to []byte) []byte { return writeWords(to, b.agents, &b.agentDict) }},
		{flagOutcomes, b.writeOutcomes},
		{flagAddresses, b.writeAddresses},
		{flagRequests, b.writeRequests},
	} {
		b.bytes = section.write(b.bytes[:0])
		if len(b.bytes) == 0 {
			continue
		}
		flags |= section.flag
		b.blob = binary.AppendUvarint(b.blob, uint64(len(b.bytes)))
		b.blob = append(b.blob, b.bytes...)
	}
	out := append(make([]byte, 0, overhead+len(b.blob)), version, byte(flags))
	out = binary.AppendUvarint(out, uint64(n))
	out = appendBase(out, b.seq[0])
	out = append(out, b.blob...)
	out = binary.LittleEndian.AppendUint32(out, crc32.Checksum(out, castagnoli))
	b.blob = b.blob[:0]
	b.Reset()
	return Encoded{ID: NewID(last), Span: last - first, Events: n, Body: out}
}

func appendBase(to []byte, seq int64) []byte {
	to = binary.LittleEndian.AppendUint32(to, uint32(seq))
	return binary.LittleEndian.AppendUint16(to, uint16(seq>>32))
}

func (b *Builder) writeRuns(to []byte) []byte {
	began := 0
	for i := 1; i < len(b.seq); i++ {
		if b.seq[i] != b.seq[i-1]+1 {
			to = binary.AppendUvarint(to, uint64(i-began))
			to = appendBase(to, b.seq[i])
			began = i
		}
	}
	return to
}

func (b *Builder) writeTimes(to []byte) []byte {
	if b.at[0] == b.at[len(b.at)-1] {
		return to
	}
	for i := 1; i < len(b.at); i++ {
		to = binary.AppendUvarint(to, uint64(b.at[i]-b.at[i-1]))
	}
	return to
}

func (b *Builder) writeKeys(to []byte) []byte {
	entries := b.keyDict.entries
	d := len(entries) - len(b.texts)
	to = binary.AppendUvarint(to, uint64(d))
	to = binary.AppendUvarint(to, uint64(len(b.texts)))
	for _, p := range entries {
		if p.a != textKey {
			to = appendHalf(appendHalf(to, p.a), p.b)
		}
	}
	for _, text := range b.texts {
		to = binary.AppendUvarint(to, uint64(len(text)))
		to = append(to, text...)
	}
	if len(b.texts) > 0 {
		numbers := b.numbers[:0]
		next := uint32(0)
		for _, p := range entries {
			if p.a == textKey {
				numbers = append(numbers, uint32(d)+uint32(p.b))
				continue
			}
			numbers = append(numbers, next)
			next++
		}
		for i, number := range b.keys {
			b.keys[i] = numbers[number]
		}
		b.numbers = numbers[:0]
	}
	return appendPacked(to, b.keys, len(entries))
}

func writeWords(to []byte, numbers []uint32, dict *dictionary) []byte {
	if len(dict.entries) == 1 && dict.entries[0] == (pair{}) {
		return to
	}
	to = binary.AppendUvarint(to, uint64(len(dict.entries)))
	for _, p := range dict.entries {
		to = binary.LittleEndian.AppendUint64(to, p.a)
	}
	return appendPacked(to, numbers, len(dict.entries))
}

func (b *Builder) writeOutcomes(to []byte) []byte {
	var counts [math.MaxUint8 + 1]int
	for _, outcome := range b.outcomes {
		counts[outcome]++
	}
	most := 0
	for outcome, count := range counts {
		if count > counts[most] {
			most = outcome
		}
	}
	others := len(b.outcomes) - counts[most]
	if most == 0 && others == 0 {
		return to
	}
	to = append(to, byte(most))
	to = binary.AppendUvarint(to, uint64(others))
	last := 0
	for i, outcome := range b.outcomes {
		if int(outcome) != most {
			to = binary.AppendUvarint(to, uint64(i-last))
			to = append(to, outcome)
			last = i
		}
	}
	return to
}

func (b *Builder) writeAddresses(to []byte) []byte {
	d4, d6, none := len(b.ip4.entries), len(b.ip6.entries), 0
	for _, address := range b.addresses {
		if address&kindMask == kindNone {
			none = 1
			break
		}
	}
	d := d4 + d6 + none
	switch {
	case d4+d6 == 0:
		return to
	case d == d4 && ip4Len*len(b.addresses) <= ip4Len*d4+packedLen(len(b.addresses), d):
		to = append(to, 0)
		for _, address := range b.addresses {
			to = binary.BigEndian.AppendUint32(to, uint32(b.ip4.entries[address&^kindMask].a))
		}
		return to
	}
	to = append(to, 1)
	to = binary.AppendUvarint(to, uint64(d4))
	to = binary.AppendUvarint(to, uint64(d6))
	to = append(to, byte(none))
	for _, p := range b.ip4.entries {
		to = binary.BigEndian.AppendUint32(to, uint32(p.a))
	}
	for _, p := range b.ip6.entries {
		to = binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(to, p.a), p.b)
	}
	for i, address := range b.addresses {
		switch address & kindMask {
		case kind4:
			b.addresses[i] = address &^ kindMask
		case kind6:
			b.addresses[i] = address&^kindMask + uint32(d4)
		default:
			b.addresses[i] = uint32(d4 + d6)
		}
	}
	return appendPacked(to, b.addresses, d)
}

func (b *Builder) writeRequests(to []byte) []byte {
	if len(b.requests) == 0 {
		return to
	}
	begin := uint32(0)
	for _, end := range b.ends {
		to = binary.AppendUvarint(to, uint64(end-begin))
		to = append(to, b.requests[begin:end]...)
		begin = end
	}
	return to
}

// sort orders the events by time and number.
func (b *Builder) sort(distinct bool) {
	if b.unordered {
		b.reorder(b.sorted())
	}
	if !distinct {
		return
	}
	order := b.order[:0]
	for i := range b.at {
		if i == 0 || b.at[i] != b.at[i-1] || b.seq[i] != b.seq[i-1] {
			order = append(order, uint64(i))
		}
	}
	b.order = order
	if len(order) < len(b.at) {
		b.reorder(order)
		b.compact()
	}
}

// compact removes the entries of dictionaries that no event names any more.
func (b *Builder) compact() {
	for _, column := range []struct {
		dict    *dictionary
		numbers []uint32
		kind    uint32
	}{
		{&b.keyDict, b.keys, 0},
		{&b.routeDict, b.routes, 0},
		{&b.agentDict, b.agents, 0},
		{&b.ip4, b.addresses, kind4},
		{&b.ip6, b.addresses, kind6},
	} {
		entries := slices.Clone(column.dict.entries)
		column.dict.reset()
		for i, number := range column.numbers {
			if number&kindMask == column.kind {
				column.numbers[i] = column.dict.number(entries[number&^kindMask]) | column.kind
			}
		}
	}
	texts := b.texts
	b.texts = nil
	clear(b.textOf)
	for i, p := range b.keyDict.entries {
		if p.a == textKey {
			b.keyDict.entries[i] = b.pairOf(Key{text: texts[p.b]})
		}
	}
	b.keyDict.rehash()
}

// sorted returns the places of the events in the order of their times and numbers.
func (b *Builder) sorted() []uint64 {
	const placeBits = 17
	first := slices.Min(b.at)
	order := b.order[:0]
	for i, at := range b.at {
		order = append(order, uint64(at-first)<<placeBits|uint64(i))
	}
	slices.Sort(order)
	for begin := 0; begin < len(order); {
		end := begin + 1
		for end < len(order) && order[end]>>placeBits == order[begin]>>placeBits {
			end++
		}
		for i := begin; i < end; i++ {
			order[i] &= 1<<placeBits - 1
		}
		if end > begin+1 {
			slices.SortStableFunc(order[begin:end], func(x, y uint64) int {
				switch a, b := b.seq[x], b.seq[y]; {
				case a < b:
					return -1
				case a > b:
					return 1
				}
				return 0
			})
		}
		begin = end
	}
	b.order = order
	return order
}

// reorder moves the events to the given places.
func (b *Builder) reorder(order []uint64) {
	b.at, b.moved = reorder(b.at, b.moved, order), b.at
	b.seq, b.moved = reorder(b.seq, b.moved, order), b.seq
	b.keys, b.numbers = reorder(b.keys, b.numbers, order), b.keys
	b.routes, b.numbers = reorder(b.routes, b.numbers, order), b.routes
	b.agents, b.numbers = reorder(b.agents, b.numbers, order), b.agents
	b.addresses, b.numbers = reorder(b.addresses, b.numbers, order), b.addresses
	b.outcomes, b.bytes = reorder(b.outcomes, b.bytes, order), b.outcomes
	if len(b.requests) > 0 {
		requests, ends := make([]byte, 0, len(b.requests)), make([]uint32, 0, len(order))
		for _, at := range order {
			begin := uint32(0)
			if at > 0 {
				begin = b.ends[at-1]
			}
			requests = append(requests, b.requests[begin:b.ends[at]]...)
			ends = append(ends, uint32(len(requests)))
		}
		b.requests, b.ends = requests, ends
	}
	b.ends = b.ends[:len(order)]
	b.unordered = false
}

func reorder[T any](from, to []T, order []uint64) []T {
	to = slices.Grow(to[:0], len(order))
	for _, at := range order {
		to = append(to, from[at])
	}
	return to
}
