package keyfold

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// usageSum makes a batch of what the shards of a recorder gathered. It runs in
// the background, but for every verify, so it allocates little for each.
type usageSum struct {
	uses    [][]use // of each shard
	events  bool    // to be kept, beside the counts
	ordered bool
	places  []place // of the uses that are in no batch yet, oldest first
	texts   map[string]string
	ips     map[[16]byte]string
}

// tallyOf is what uses are counted by: in one flush a key is nearly always the
// same principal, and comparing a pointer is cheaper than comparing an id.
type tallyOf struct {
	who  principal
	hour int64
	code Outcome
}

type tally struct {
	hourOf
	lateUse
}

func newSum(shards int, events bool) *usageSum {
	return &usageSum{uses: make([][]use, shards), events: events, texts: map[string]string{}, ips: map[[16]byte]string{}}
}

// next makes a batch of a bounded number of uses, the oldest first, and of
// late, which it empties as far as there is room. size is that of the uses, as
// the shards counted it.
func (sum *usageSum) next(late map[hourOf]lateUse) (batch *UsageBatch, size allowance) {
	if !sum.ordered {
		sum.places, sum.ordered = sum.order(), true
	}
	batch = &UsageBatch{}
	places := sum.places[:min(len(sum.places), batchEvents)]
	size.events = int64(len(places))
	sum.places = sum.places[len(places):]
	if len(places) > 0 && sum.events {
		batch.Events = make([]UsageEvent, len(places))
	}
	tallies := map[tallyOf]lateUse{}
	for i, at := range places {
		u := &sum.uses[at.shard][at.index]
		size.bytes += u.size()
		if sum.events {
			sum.fill(&batch.Events[i], u)
		}
		if !u.who.isNobody() {
			of := tallyOf{who: u.who, hour: floor(u.at(), time.Hour), code: u.code()}
			tallies[of] = tallies[of].plus(lateUse{count: 1, last: u.at()})
		}
	}
	counts := make([]tally, 0, len(tallies)+min(len(late), batchHours))
	for of, use := range tallies {
		counts = append(counts, tally{hourOf{keyID: of.who.keyID(), hour: of.hour, code: of.code}, use})
	}
	for of, use := range late {
		if len(counts) >= batchHours {
			break
		}
		counts = append(counts, tally{of, use})
		delete(late, of)
	}
	count(batch, counts)
	return batch, size
}

// place is where a use stands; sorting places moves less than sorting uses.
type place struct {
	at           int64
	shard, index int32
}

func (sum *usageSum) order() []place {
	n := 0
	for _, uses := range sum.uses {
		n += len(uses)
	}
	order := make([]place, 0, n)
	for shard, uses := range sum.uses {
		for i := range uses {
			order = append(order, place{at: uses[i].at(), shard: int32(shard), index: int32(i)})
		}
	}
	slices.SortFunc(order, func(a, b place) int { return cmp.Compare(a.at, b.at) })
	return order
}

func (sum *usageSum) fill(event *UsageEvent, u *use) {
	event.At, event.Outcome, event.Route = time.UnixMilli(u.at()).UTC(), u.code(), sum.text(u.route)
	if u.more != nil {
		event.RequestID, event.UserAgent = plainText(u.more.requestID), sum.text(u.more.userAgent)
	}
	if u.address != ([16]byte{}) {
		event.IP = sum.address(u.address)
	}
	if !u.who.isNobody() {
		event.KeyID = u.who.keyID()
	}
}

// text returns the part of a text that may be stored. Routes and agents repeat.
func (sum *usageSum) text(s string) string {
	if s == "" {
		return ""
	}
	plain, known := sum.texts[s]
	if !known {
		plain = plainText(s)
		sum.texts[s] = plain
	}
	return plain
}

func (sum *usageSum) address(address [16]byte) string {
	text, known := sum.ips[address]
	if !known {
		text = netip.AddrFrom16(address).Unmap().String()
		sum.ips[address] = text
	}
	return text
}

// count turns tallies into hours and totals, by key.
func count(batch *UsageBatch, tallies []tally) {
	slices.SortFunc(tallies, func(a, b tally) int {
		return cmp.Or(strings.Compare(a.keyID, b.keyID), cmp.Compare(a.hour, b.hour), cmp.Compare(a.code, b.code))
	})
	for i, t := range tallies {
		if last := len(batch.Hours) - 1; i > 0 && tallies[i-1].hourOf == t.hourOf {
			batch.Hours[last].Count += t.count
		} else {
			batch.Hours = append(batch.Hours, UsageHour{KeyID: t.keyID, HourAt: time.UnixMilli(t.hour).UTC(), Outcome: t.code, Count: t.count})
		}
		if t.code != OutcomeAllowed {
			continue
		}
		used := time.UnixMilli(t.last).UTC()
		if last := len(batch.Keys) - 1; last >= 0 && batch.Keys[last].KeyID == t.keyID {
			batch.Keys[last].Uses += t.count
			if used.After(batch.Keys[last].LastUsedAt) {
				batch.Keys[last].LastUsedAt = used
			}
		} else {
			batch.Keys = append(batch.Keys, KeyUses{KeyID: t.keyID, Uses: t.count, LastUsedAt: used})
		}
	}
}
