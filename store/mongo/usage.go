package mongo

import (
	"cmp"
	"context"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/store/internal/column"
)

// UsageEvents implements keyfold.UsageStore.
func (s *Store) UsageEvents(ctx context.Context, scan keyfold.UsageScan) ([]keyfold.UsageEvent, error) {
	filter, err := s.usageFilter(ctx, scan, scan.From.UnixMilli(), scan.To.UnixMilli(), nil)
	if err != nil {
		return nil, wrap("list usage events", err)
	}
	if scan.After != (keyfold.EventPosition{}) {
		at := scan.After.At.UnixMilli()
		filter = append(filter,
			is("$and", bson.A{bson.D{is("at", bson.D{is("$lte", at)})}}),
			is("$or", bson.A{bson.D{less("at", at)}, bson.D{less("_id", scan.After.Seq)}}))
	}
	docs, err := list[eventDoc](ctx, s.events, filter,
		options.Find().SetSort(bson.D{is("at", -1), is("_id", -1)}).SetLimit(int64(scan.Limit)))
	if err != nil {
		return nil, wrap("list usage events", err)
	}
	events := make([]keyfold.UsageEvent, len(docs))
	for i, doc := range docs {
		events[i] = keyfold.UsageEvent{
			At: column.Moment(doc.At), Seq: doc.Seq, KeyID: doc.KeyID, Outcome: keyfold.Outcome(doc.Outcome), Route: doc.Route,
			IP: column.ParseIP(doc.IP), RequestID: doc.RequestID, UserAgent: doc.UserAgent,
		}
	}
	return events, nil
}

// usageFilter matches what the scan names, from a time to another. all is what
// stands for all keys; nil if nothing does.
func (s *Store) usageFilter(ctx context.Context, scan keyfold.UsageScan, from, to int64, all any) (bson.D, error) {
	filter := bson.D{is("at", bson.D{is("$gte", from), is("$lt", to)})}
	whose := bson.E{}
	switch {
	case scan.KeyID != "":
		filter = append(filter, is("key_id", scan.KeyID))
	case scan.OwnerID != "":
		whose = is("owner_id", scan.OwnerID)
	case scan.UserID != "":
		whose = is("user_id", scan.UserID)
	case all != nil:
		filter = append(filter, is("key_id", all))
	}
	if whose.Key != "" {
		keys, err := list[head](ctx, s.keys, bson.D{whose, is("live", true)}, options.Find().SetProjection(bson.D{is("_id", 1)}))
		if err != nil {
			return nil, err
		}
		ids := make([]string, len(keys))
		for i := range keys {
			ids[i] = keys[i].ID
		}
		filter = append(filter, is("key_id", bson.D{is("$in", ids)}))
	}
	if len(scan.Outcomes) > 0 {
		outcomes := make([]int32, len(scan.Outcomes))
		for i, outcome := range scan.Outcomes {
			outcomes[i] = int32(outcome)
		}
		filter = append(filter, is("outcome", bson.D{is("$in", outcomes)}))
	}
	return filter, nil
}

// UsageHours implements keyfold.UsageStore.
func (s *Store) UsageHours(ctx context.Context, scan keyfold.UsageScan) ([]keyfold.UsageHour, error) {
	filter, err := s.usageFilter(ctx, scan, scan.From.Truncate(time.Hour).UnixMilli(), scan.To.UnixMilli(), "")
	var counts []countDoc
	if err == nil {
		counts, err = s.counts(ctx, s.hours, filter)
	}
	if err != nil {
		return nil, wrap("list usage hours", err)
	}
	hours := make([]keyfold.UsageHour, len(counts))
	for i, count := range counts {
		hours[i] = keyfold.UsageHour{HourAt: column.Moment(count.At), Outcome: keyfold.Outcome(count.Outcome), Count: count.Count}
	}
	return hours, nil
}

// counts adds up the counts of all keys by time and outcome, in that order. One of
// nothing is of a batch that is being added.
func (s *Store) counts(ctx context.Context, in collection, filter bson.D) ([]countDoc, error) {
	counts, err := list[countDoc](ctx, in, append(filter, is("count", bson.D{is("$gt", 0)})),
		options.Find().SetProjection(bson.D{is("at", 1), is("outcome", 1), is("count", 1)}))
	return column.Merge(counts,
		func(a, b countDoc) int { return cmp.Or(cmp.Compare(a.At, b.At), cmp.Compare(a.Outcome, b.Outcome)) },
		func(into *countDoc, row countDoc) { into.Count += row.Count }), err
}

const (
	day = 24 * time.Hour

	// A claim is kept for at least minClaimAge, longer than any recorder tries to
	// deliver its batch while the store works, and at most maxClaimAge.
	minClaimAge = day
	maxClaimAge = 30 * day

	// ticketAge is how long a ticket is kept whatever becomes of its claim:
	// longer than any process takes from looking for the next one to using it.
	ticketAge = time.Hour
)

// PruneUsage implements keyfold.UsageStore.
func (s *Store) PruneUsage(ctx context.Context, before time.Time, limit int) (deleted int, more bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, usageTimeout)
	defer cancel()
	now := time.Now()
	claims := max(min(before.UnixMilli(), now.Add(-minClaimAge).UnixMilli()), now.Add(-maxClaimAge).UnixMilli())
	deleted, more, err = s.pruneOldest(ctx, s.events, before.UnixMilli(), limit)
	var moreClaims bool
	if err == nil {
		moreClaims, err = s.pruneClaims(ctx, claims, limit)
	}
	if err != nil {
		return 0, false, wrap("prune usage", err)
	}
	return deleted, more || moreClaims, nil
}

// pruneOldest deletes the first documents of a time before that.
func (s *Store) pruneOldest(ctx context.Context, in collection, before int64, limit int) (deleted int, more bool, err error) {
	old, err := list[struct {
		ID any `bson:"_id"`
	}](ctx, in, bson.D{less("at", before)},
		options.Find().SetSort(bson.D{is("at", 1), is("_id", 1)}).SetLimit(int64(limit)+1).SetProjection(bson.D{is("_id", 1)}))
	if err != nil || len(old) == 0 {
		return 0, false, err
	}
	more = len(old) > limit
	ids := bson.A{}
	for _, doc := range old[:min(len(old), limit)] {
		ids = append(ids, doc.ID)
	}
	deleted, err = in.remove(ctx, bson.D{is("_id", bson.D{is("$in", ids)})})
	return deleted, more, err
}

// pruneClaims forgets batches. The last ticket of a slot stays, for the next
// follows from it, and so do young ones; those lose their claim.
func (s *Store) pruneClaims(ctx context.Context, before int64, limit int) (more bool, err error) {
	old, err := list[batchDoc](ctx, s.batches, bson.D{less("at", before), is("open", false)},
		options.Find().SetSort(bson.D{is("at", 1)}).SetLimit(int64(limit)+1))
	if err != nil {
		return false, err
	}
	more = len(old) > limit
	young := time.Now().Add(-ticketAge).UnixMilli()
	var spent []string
	for i := range old[:min(len(old), limit)] {
		doc := &old[i]
		last, err := first[batchDoc](ctx, s.batches, bson.D{is("slot", doc.Slot)}, options.FindOne().SetSort(bson.D{is("ticket", -1)}))
		switch {
		case err != nil:
			return false, err
		case doc.WrittenAt >= young || last == nil || last.ID == doc.ID:
			forgotten := set(is("claim", "~"+doc.ID), is("at", time.Now().UnixMilli()))
			if _, err := s.batches.update(ctx, byID(doc.ID), forgotten); err != nil {
				return false, err
			}
		default:
			spent = append(spent, doc.ID)
		}
	}
	_, err = s.removeAll(ctx, s.batches, spent)
	return more, err
}

// PruneHours implements keyfold.UsageStore.
func (s *Store) PruneHours(ctx context.Context, before time.Time, limit int) (deleted int, more bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, usageTimeout)
	defer cancel()
	end := before.Truncate(time.Hour)
	kept := end
	oldest, err := first[eventDoc](ctx, s.events, bson.D{less("at", end.UnixMilli())}, options.FindOne().SetSort(bson.D{is("at", 1)}))
	if oldest != nil {
		kept = column.Moment(oldest.At).Truncate(time.Hour)
	}
	if err == nil {
		deleted, more, err = s.pruneOldest(ctx, s.hours, kept.UnixMilli(), limit)
	}
	if err != nil {
		return 0, false, wrap("prune usage hours", err)
	}
	return deleted, more, nil
}
