package mongo

import (
	"cmp"
	"fmt"
	"strconv"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/store/internal/column"
)

// batchDoc is a batch of usage. Writing it is what makes the batch count: it
// holds all that is to be added, and any process that finds it open adds it.
//
// Each batch has a ticket in one of a few slots. A ticket is given out only
// when all that the one before says has been added, and every document that
// counts remembers the last ticket of each slot that was added to it. So adding
// a batch again adds nothing, whichever process does it and however late.
type batchDoc struct {
	ID        string   `bson:"_id"`   // "slot/ticket"
	Claim     string   `bson:"claim"` // "recorder/number"; unique
	Slot      int64    `bson:"slot"`
	Ticket    int64    `bson:"ticket"`
	At        int64    `bson:"at"`
	WrittenAt int64    `bson:"written_at"`
	Open      bool     `bson:"open"`
	Data      []byte   `bson:"data,omitempty"`  // a batchData, while it is open
	Parts     []string `bson:"parts,omitempty"` // documents that hold it where it is too large
}

// partDoc is a part of a batch that is too large for one document.
type partDoc struct {
	ID        string `bson:"_id"`
	WrittenAt int64  `bson:"written_at"`
	Data      []byte `bson:"data"`
}

const (
	slots      = 64
	maxPart    = 8 << 20 // bytes; a document may have 16 MiB
	eventBits  = 20      // of a number of an event: its place in the batch
	maxMembers = 1 << eventBits
)

func batchID(slot, ticket int64) string { return fmt.Sprintf("%d/%d", slot, ticket) }

func claimOf(batch *keyfold.UsageBatch) string {
	return batch.RecorderID + "/" + strconv.FormatInt(batch.Number, 10)
}

// batchData is what a batch adds. What is given twice is joined.
type batchData struct {
	Totals []totalDoc  `bson:"totals"`
	Hours  []countDoc  `bson:"hours"`
	Events []*eventDoc `bson:"events"`
}

type totalDoc struct {
	KeyID      string `bson:"key_id"`
	Uses       int64  `bson:"uses"`
	LastUsedAt int64  `bson:"last_used_at"`
}

// countDoc is a count of an hour, in a batch and in its collection.
type countDoc struct {
	ID      string `bson:"_id"`
	KeyID   string `bson:"key_id"` // empty for the sum of all keys and refusals
	At      int64  `bson:"at"`
	Outcome int32  `bson:"outcome"`
	Count   int64  `bson:"count"`
}

// eventDoc is a usage event.
type eventDoc struct {
	Seq       int64  `bson:"_id"`
	At        int64  `bson:"at"`
	KeyID     string `bson:"key_id"`
	Outcome   int32  `bson:"outcome"`
	Route     string `bson:"route"`
	IP        string `bson:"ip"`
	RequestID string `bson:"request_id"`
	UserAgent string `bson:"user_agent"`
}

func countOf(keyID string, at time.Time, outcome keyfold.Outcome, count int64) countDoc {
	millis := at.UnixMilli()
	return countDoc{
		ID: fmt.Sprintf("%016x/%d/%s", millis, outcome, keyID), KeyID: keyID, At: millis, Outcome: int32(outcome), Count: count,
	}
}

func joinCounts(counts []countDoc) []countDoc {
	return column.Merge(counts, func(a, b countDoc) int { return cmp.Compare(a.ID, b.ID) },
		func(into *countDoc, row countDoc) { into.Count += row.Count })
}

func dataOf(batch *keyfold.UsageBatch) *batchData {
	data := &batchData{}
	for _, total := range batch.Keys {
		data.Totals = append(data.Totals, totalDoc{total.KeyID, total.Uses, column.Used(total.LastUsedAt)})
	}
	data.Totals = column.Merge(data.Totals, func(a, b totalDoc) int { return cmp.Compare(a.KeyID, b.KeyID) },
		func(into *totalDoc, row totalDoc) {
			into.Uses += row.Uses
			into.LastUsedAt = max(into.LastUsedAt, row.LastUsedAt)
		})
	for _, hour := range batch.Hours {
		data.Hours = append(data.Hours, countOf(hour.KeyID, hour.HourAt, hour.Outcome, hour.Count))
	}
	data.Hours = joinCounts(data.Hours)
	for _, event := range batch.Events {
		data.Events = append(data.Events, &eventDoc{
			At: event.At.UnixMilli(), KeyID: event.KeyID, Outcome: int32(event.Outcome), Route: column.Clean(event.Route, maxText),
			IP: column.FormatIP(event.IP), RequestID: column.Clean(event.RequestID, 256), UserAgent: column.Clean(event.UserAgent, maxText),
		})
	}
	return data
}

const maxText = 1024 // bytes of a route or user agent

// keyIDs returns the ids of the keys that the batch names.
func (d *batchData) keyIDs() []string {
	var ids []string
	for i := range d.Totals {
		ids = append(ids, d.Totals[i].KeyID)
	}
	for i := range d.Hours {
		if d.Hours[i].KeyID != "" {
			ids = append(ids, d.Hours[i].KeyID)
		}
	}
	for i := range d.Events {
		if d.Events[i].KeyID != "" {
			ids = append(ids, d.Events[i].KeyID)
		}
	}
	return once(ids)
}

// only drops what is about keys that do not exist.
func (d *batchData) only(exists map[string]bool) *batchData {
	kept := &batchData{}
	for _, total := range d.Totals {
		if exists[total.KeyID] {
			kept.Totals = append(kept.Totals, total)
		}
	}
	for _, hour := range d.Hours {
		if hour.KeyID == "" || exists[hour.KeyID] {
			kept.Hours = append(kept.Hours, hour)
		}
	}
	for _, event := range d.Events {
		if event.KeyID == "" || exists[event.KeyID] {
			kept.Events = append(kept.Events, event)
		}
	}
	return kept
}

// lost counts the uses of keys that do not exist.
func (d *batchData) lost(exists map[string]bool) (uses int64) {
	for _, total := range d.Totals {
		if !exists[total.KeyID] {
			uses += total.Uses
		}
	}
	return uses
}

// withSums returns the hours with the sums over all keys and refusals.
func (d *batchData) withSums() []countDoc {
	sums := make([]countDoc, 0, 2*len(d.Hours))
	var ofKeys []countDoc
	for _, hour := range d.Hours {
		sums = append(sums, countOf("", column.Moment(hour.At), keyfold.Outcome(hour.Outcome), hour.Count))
		if hour.KeyID != "" {
			ofKeys = append(ofKeys, hour)
		}
	}
	return append(joinCounts(sums), ofKeys...)
}

// encode returns the data whole, or in parts where it is large.
func (d *batchData) encode(limit int) (data []byte, parts []partDoc, err error) {
	if data, err = bson.Marshal(d); err != nil || len(data) <= limit {
		return data, nil, err
	}
	for rest := data; len(rest) > 0; {
		some := rest[:min(len(rest), limit)]
		parts = append(parts, partDoc{Data: some})
		rest = rest[len(some):]
	}
	return nil, parts, nil
}
