package usageblock

import (
	"encoding/binary"
	"hash/crc32"
	"net/netip"
)

// Block is a body that has been opened for reading. Its memory can be used for
// another body.
type Block struct {
	body      []byte
	n         int
	first     int64
	span      int64
	base      int64
	runs      []byte
	times     []byte // nil where all events have the same time
	keys      keys
	routes    words
	agents    words
	outcomes  []byte // nil where all are 0
	addresses addresses
	requests  []byte // nil where all are empty

	at, seq   []int64 // scratch
	outcome   []byte
	wanted    []bool
	entryNums []uint32
}

type keys struct {
	entries []byte // 12 bytes each
	texts   []string
	column  packed
}

type words struct {
	d       int // 0 where all events have none
	entries []byte
	column  packed
}

func (w *words) word(i int) int64 { return int64(binary.LittleEndian.Uint64(w.entries[i*wordLen:])) }

func (w *words) at(i int) (int64, error) {
	if w.d == 0 {
		return 0, nil
	}
	number, err := w.column.at(i)
	if err != nil {
		return 0, err
	}
	return w.word(int(number)), nil
}

type addresses struct {
	present  bool
	plain    []byte // n IPv4 addresses, or nil
	d4, d6   int
	none     bool
	ip4, ip6 []byte
	column   packed
}

func (a *addresses) at(i int) (netip.Addr, error) {
	switch {
	case !a.present:
		return netip.Addr{}, nil
	case a.plain != nil:
		return netip.AddrFrom4([ip4Len]byte(a.plain[i*ip4Len:])), nil
	}
	number, err := a.column.at(i)
	n := int(number)
	switch {
	case err != nil:
		return netip.Addr{}, err
	case n < a.d4:
		return netip.AddrFrom4([ip4Len]byte(a.ip4[n*ip4Len:])), nil
	case n < a.d4+a.d6:
		return netip.AddrFrom16([ip6Len]byte(a.ip6[(n-a.d4)*ip6Len:])), nil
	}
	return netip.Addr{}, nil
}

// input is what is left to be read.
type input struct {
	bytes []byte
	bad   bool
}

func (in *input) uvarint(most int) int {
	n, length := binary.Uvarint(in.bytes)
	if length <= 0 || n > uint64(most) {
		in.bad, in.bytes = true, nil
		return 0
	}
	in.bytes = in.bytes[length:]
	return int(n)
}

func (in *input) take(n int) []byte {
	if n > len(in.bytes) {
		in.bad, in.bytes = true, nil
		return nil
	}
	taken := in.bytes[:n]
	in.bytes = in.bytes[n:]
	return taken
}

func (in *input) byte() byte {
	if b := in.take(1); b != nil {
		return b[0]
	}
	return 0
}

// packed takes n packed numbers below d, which must be what is left. The checksum,
// which follows all sections, makes sure that four bytes can be read at any place.
func (in *input) packed(n, d int) packed {
	w := width(d)
	length := packedLen(n, d)
	if length != len(in.bytes) {
		in.bad, in.bytes = true, nil
		return packed{}
	}
	bytes := in.bytes[: length+crcLen : length+crcLen]
	in.bytes = in.bytes[length:]
	return packed{bytes: bytes, width: w, mask: 1<<w - 1, d: uint32(d)}
}

// Open checks a body and prepares it for reading. Sections are checked when they are
// read. It returns [ErrCorrupt] or [ErrNewer]. The body must not change while the
// block is in use.
func (b *Block) Open(id, span, events int64, body []byte) error {
	if len(body) < overhead-2 {
		return ErrCorrupt
	}
	end := len(body) - crcLen
	if crc32.Checksum(body[:end], castagnoli) != binary.LittleEndian.Uint32(body[end:]) {
		return ErrCorrupt
	}
	flags := int(body[1])
	if body[0] != version || flags&flagReserved != 0 {
		return ErrNewer
	}
	b.body, b.span, b.first = body, span, Time(id)-span
	in := input{bytes: body[2:end]}
	b.n = in.uvarint(maxRead)
	base := in.take(baseLen)
	if in.bad || b.n == 0 || int64(b.n) != events || span < 0 || span >= hour || b.first < 0 {
		return ErrCorrupt
	}
	b.base = readBase(base)
	section := func(flag int) *input {
		if flag != 0 && flags&flag == 0 {
			return nil
		}
		length := in.uvarint(len(in.bytes))
		return &input{bytes: in.take(length), bad: in.bad}
	}
	b.runs, b.times, b.outcomes, b.requests = nil, nil, nil, nil
	b.routes, b.agents, b.addresses = words{}, words{}, addresses{}
	ok := true
	if part := section(flagRuns); part != nil {
		b.runs = part.bytes
		ok = ok && len(b.runs) > 0
	}
	if part := section(flagTimes); part != nil {
		b.times = part.bytes
		ok = ok && len(b.times) >= b.n-1 && b.n > 1
	} else {
		ok = ok && span == 0
	}
	ok = ok && b.openKeys(section(0))
	if part := section(flagRoutes); part != nil {
		ok = b.routes.open(part, b.n) && ok
	}
	if part := section(flagAgents); part != nil {
		ok = b.agents.open(part, b.n) && ok
	}
	if part := section(flagOutcomes); part != nil {
		b.outcomes = part.bytes
		ok = ok && len(b.outcomes) > 1
	}
	if part := section(flagAddresses); part != nil {
		ok = b.addresses.open(part, b.n) && ok
	}
	if part := section(flagRequests); part != nil {
		b.requests = part.bytes
		ok = ok && len(b.requests) >= b.n
	}
	if !ok || in.bad || len(in.bytes) > 0 {
		return ErrCorrupt
	}
	return nil
}

// Len returns the number of events.
func (b *Block) Len() int { return b.n }

func readBase(b []byte) int64 {
	return int64(binary.LittleEndian.Uint32(b)) | int64(binary.LittleEndian.Uint16(b[4:]))<<32
}

func (b *Block) openKeys(in *input) bool {
	d := in.uvarint(b.n)
	x := in.uvarint(b.n)
	b.keys.entries = in.take(d * keyLen)
	clear(b.keys.texts)
	b.keys.texts = b.keys.texts[:0]
	for i := 0; i < x && !in.bad; i++ {
		text := in.take(in.uvarint(len(in.bytes)))
		in.bad = in.bad || len(text) == 0
		b.keys.texts = append(b.keys.texts, string(text))
	}
	if in.bad || d+x == 0 || d+x > b.n {
		return false
	}
	b.keys.column = in.packed(b.n, d+x)
	return !in.bad
}

func (w *words) open(in *input, n int) bool {
	w.d = in.uvarint(n)
	w.entries = in.take(w.d * wordLen)
	if in.bad || w.d == 0 {
		return false
	}
	w.column = in.packed(n, w.d)
	return !in.bad
}

func (a *addresses) open(in *input, n int) bool {
	a.present = true
	switch in.byte() {
	case 0:
		a.plain = in.bytes
		return !in.bad && len(a.plain) == n*ip4Len
	case 1:
	default:
		return false
	}
	a.d4, a.d6 = in.uvarint(n), in.uvarint(n)
	none := in.byte()
	a.none = none == 1
	a.ip4, a.ip6 = in.take(a.d4*ip4Len), in.take(a.d6*ip6Len)
	d := a.d4 + a.d6 + int(none)
	if in.bad || none > 1 || d == 0 || d > n {
		return false
	}
	a.column = in.packed(n, d)
	return !in.bad
}

// readTimes returns the times of all events.
func (b *Block) readTimes() ([]int64, error) {
	times := append(b.at[:0], b.first)
	b.at = times
	if b.times == nil {
		for len(times) < b.n {
			times = append(times, b.first)
		}
		b.at = times
		return times, nil
	}
	rest, at, last := b.times, b.first, b.first+b.span
	for len(times) < b.n {
		if len(rest) > 0 && rest[0] < 0x80 { // most differences are small
			at += int64(rest[0])
			rest = rest[1:]
		} else {
			more, length := binary.Uvarint(rest)
			if length <= 0 || more > uint64(b.span) {
				return nil, ErrCorrupt
			}
			at += int64(more)
			rest = rest[length:]
		}
		if at > last {
			return nil, ErrCorrupt
		}
		times = append(times, at)
	}
	b.at = times
	if at != last || len(rest) > 0 {
		return nil, ErrCorrupt
	}
	return times, nil
}

// readSeqs returns the numbers of all events.
func (b *Block) readSeqs() ([]int64, error) {
	seqs := b.seq[:0]
	defer func() { b.seq = seqs }()
	next, rest := b.base, input{bytes: b.runs}
	for len(seqs) < b.n {
		length := b.n - len(seqs)
		var base []byte
		if len(rest.bytes) > 0 {
			length = rest.uvarint(length - 1)
			base = rest.take(baseLen)
			if rest.bad || length == 0 {
				return nil, ErrCorrupt
			}
		}
		if next > maxSeq-int64(length) {
			return nil, ErrCorrupt
		}
		for range length {
			seqs = append(seqs, next)
			next++
		}
		if base != nil {
			next = readBase(base)
		}
	}
	if len(rest.bytes) > 0 {
		return nil, ErrCorrupt
	}
	return seqs, nil
}

// readOutcomes returns the outcomes of all events.
func (b *Block) readOutcomes() ([]byte, error) {
	outcomes := b.outcome[:0]
	defer func() { b.outcome = outcomes }()
	in := input{bytes: b.outcomes}
	most := byte(0)
	if b.outcomes != nil {
		most = in.byte()
	}
	for range b.n {
		outcomes = append(outcomes, most)
	}
	if b.outcomes == nil {
		return outcomes, nil
	}
	others := in.uvarint(b.n)
	at := 0
	for i := range others {
		distance := in.uvarint(b.n)
		outcome := in.byte()
		at += distance
		if in.bad || i > 0 && distance == 0 || at >= b.n {
			return nil, ErrCorrupt
		}
		outcomes[at] = outcome
	}
	if in.bad || len(in.bytes) > 0 {
		return nil, ErrCorrupt
	}
	return outcomes, nil
}

// keyPairs returns the number that each entry of the dictionary has in a builder.
func (b *Block) keyPairs(to *Builder) ([]uint32, error) {
	numbers := b.entryNums[:0]
	defer func() { b.entryNums = numbers }()
	for entry := b.keys.entries; len(entry) > 0; entry = entry[keyLen:] {
		k, err := readKey(entry)
		if err != nil {
			return nil, err
		}
		numbers = append(numbers, to.keyDict.number(to.pairOf(k)))
	}
	for _, text := range b.keys.texts {
		numbers = append(numbers, to.keyDict.number(to.pairOf(KeyOf(text))))
	}
	return numbers, nil
}

func (b *Block) addRequests(to *Builder) error {
	in := input{bytes: b.requests}
	for range b.n {
		if b.requests != nil {
			to.requests = append(to.requests, in.take(in.uvarint(len(in.bytes)))...)
		}
		to.ends = append(to.ends, uint32(len(to.requests)))
	}
	if in.bad || len(in.bytes) > 0 {
		return ErrCorrupt
	}
	return nil
}

// key returns the key of a number of the column.
func (b *Block) key(number uint32) (Key, error) {
	if d := len(b.keys.entries) / keyLen; int(number) >= d {
		return KeyOf(b.keys.texts[int(number)-d]), nil
	}
	return readKey(b.keys.entries[int(number)*keyLen:])
}
