package mongo

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"strconv"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/keyfold/keyfold"
)

// anySlot spreads processes over the slots. Two that share one help each other
// and part again.
func anySlot() int64 { return mathrand.Int64N(slots) }

// RecordUsage implements keyfold.UsageStore. A call that fails once the batch is
// written is like one whose answer was lost: the batch is added all the same,
// by the next try, or by the next sweep.
func (s *Store) RecordUsage(ctx context.Context, batch keyfold.UsageBatch) (keyfold.UsageResult, error) {
	ctx, cancel := context.WithTimeout(ctx, usageTimeout)
	defer cancel()
	select {
	case s.flush <- struct{}{}:
	case <-ctx.Done():
		return keyfold.UsageResult{}, wrap("record usage", ctx.Err())
	}
	defer func() { <-s.flush }()
	if len(batch.Events) > maxMembers {
		return keyfold.UsageResult{}, wrap("record usage", fmt.Errorf("%d events are too many for a batch", len(batch.Events)))
	}
	data := dataOf(&batch)
	doc := &batchDoc{Claim: claimOf(&batch), At: batch.At.UnixMilli(), Open: true}
	err := s.keepData(ctx, doc, data)
	if err == nil {
		err = s.claim(ctx, doc)
	}
	if errors.Is(err, errTaken) {
		return keyfold.UsageResult{Duplicate: true}, nil
	}
	var lost int64
	if err == nil {
		lost, err = s.applyBatch(ctx, doc, data)
	}
	if err != nil {
		return keyfold.UsageResult{}, wrap("record usage", err)
	}
	return keyfold.UsageResult{LostUses: lost}, nil
}

// keepData puts what the batch adds into its document, or into parts.
func (s *Store) keepData(ctx context.Context, doc *batchDoc, data *batchData) error {
	whole, parts, err := data.encode(s.maxPart)
	doc.Data = whole
	for i := range parts {
		if err != nil {
			return err
		}
		parts[i].ID, parts[i].WrittenAt = rand.Text(), time.Now().UnixMilli()
		doc.Parts = append(doc.Parts, parts[i].ID)
		err = s.parts.insert(ctx, &parts[i])
	}
	return err
}

// claim writes the batch under the next ticket of a slot. It returns errTaken
// where the batch was written before; then it has been added too.
func (s *Store) claim(ctx context.Context, doc *batchDoc) error {
	for range maxTries {
		doc.Slot = s.slot.Load()
		last, err := first[batchDoc](ctx, s.batches, bson.D{is("slot", doc.Slot)}, options.FindOne().SetSort(bson.D{is("ticket", -1)}))
		if err != nil {
			return err
		}
		doc.Ticket = 1
		if last != nil {
			doc.Ticket = last.Ticket + 1
			if last.Open {
				if _, err := s.applyBatch(ctx, last, nil); err != nil {
					return err
				}
			}
		}
		doc.ID, doc.WrittenAt = batchID(doc.Slot, doc.Ticket), time.Now().UnixMilli()
		if err := s.batches.insert(ctx, doc); !errors.Is(err, errTaken) {
			return err
		}
		same, err := first[batchDoc](ctx, s.batches, bson.D{is("claim", doc.Claim)})
		switch {
		case err != nil:
			return err
		case same != nil:
			return s.repeated(ctx, doc, same)
		}
		s.slot.Store(anySlot()) // the ticket went to another process
	}
	return keyfold.ErrRetry
}

// repeated is for a batch that came before.
func (s *Store) repeated(ctx context.Context, doc, same *batchDoc) error {
	if _, err := s.removeAll(ctx, s.parts, doc.Parts); err != nil {
		return err
	}
	if _, err := s.applyBatch(ctx, same, nil); err != nil {
		return err
	}
	return errTaken
}

// applyBatch adds an open batch, and closes it. data is what it adds, nil for
// what is stored. It returns the uses of keys that do not exist.
func (s *Store) applyBatch(ctx context.Context, doc *batchDoc, data *batchData) (lost int64, err error) {
	if !doc.Open {
		return 0, nil
	}
	if data == nil {
		if data, err = s.load(ctx, doc); err != nil || data == nil {
			return 0, err
		}
	}
	ids := data.keyIDs()
	exists, err := s.existing(ctx, ids)
	if err != nil {
		return 0, err
	}
	known := data.only(exists)
	matched, err := s.keys.updates(ctx, doc.totals(known.Totals))
	if err != nil {
		return 0, err
	}
	if matched < len(known.Totals) { // a key was deleted meanwhile, or somebody else is adding the batch
		if exists, err = s.existing(ctx, ids); err != nil {
			return 0, err
		}
	}
	if err := s.count(ctx, s.hours, doc, known.withSums()); err != nil {
		return 0, err
	}
	if err := s.events.ensure(ctx, doc.events(known.Events)); err != nil {
		return 0, err
	}
	return data.lost(exists), s.close(ctx, doc)
}

// load returns what a stored batch adds, nil if it has been closed meanwhile.
func (s *Store) load(ctx context.Context, doc *batchDoc) (*batchData, error) {
	whole := doc.Data
	for _, id := range doc.Parts {
		part, err := first[partDoc](ctx, s.parts, byID(id))
		if err != nil {
			return nil, err
		}
		if part == nil {
			now, err := first[batchDoc](ctx, s.batches, byID(doc.ID))
			if err == nil && now != nil && now.Open {
				err = errors.New("a part of a batch of usage is missing")
			}
			return nil, err
		}
		whole = append(whole, part.Data...)
	}
	data := new(batchData)
	return data, bson.Unmarshal(whole, data)
}

// close marks a batch as added. What it added is not kept twice.
func (s *Store) close(ctx context.Context, doc *batchDoc) error {
	closed := set(is("open", false))
	closed = append(closed, is("$unset", bson.D{is("data", ""), is("parts", "")}))
	if _, err := s.batches.update(ctx, byID(doc.ID), closed); err != nil {
		return err
	}
	_, err := s.removeAll(ctx, s.parts, doc.Parts)
	return err
}

// existing tells which of the keys exist.
func (s *Store) existing(ctx context.Context, ids []string) (map[string]bool, error) {
	exists := make(map[string]bool, len(ids))
	for len(ids) > 0 {
		some := ids[:min(len(ids), chunk)]
		keys, err := list[head](ctx, s.keys, append(among(some), is("live", true)), options.Find().SetProjection(bson.D{is("_id", 1)}))
		if err != nil {
			return nil, err
		}
		for i := range keys {
			exists[keys[i].ID] = true
		}
		ids = ids[len(some):]
	}
	return exists, nil
}

// once guards an update of what counts: it matches where the batch has not
// been added.
func (d *batchDoc) once(id string) bson.D {
	return bson.D{is("_id", id), is(d.seen(), bson.D{is("$not", bson.D{is("$gte", d.Ticket)})})}
}

func (d *batchDoc) seen() string { return "seen." + strconv.FormatInt(d.Slot, 10) }

func (d *batchDoc) totals(totals []totalDoc) []mongo.WriteModel {
	models := make([]mongo.WriteModel, len(totals))
	for i, total := range totals {
		models[i] = mongo.NewUpdateOneModel().SetFilter(d.once(total.KeyID)).SetUpdate(bson.D{
			is("$inc", bson.D{is("uses", total.Uses)}),
			is("$max", bson.D{is("last_used_at", total.LastUsedAt)}),
			is("$set", bson.D{is(d.seen(), d.Ticket)}),
		})
	}
	return models
}

// count adds to counters. Those that do not exist are made first, so that no
// update has to insert: one that did could not be guarded.
func (s *Store) count(ctx context.Context, in collection, doc *batchDoc, counts []countDoc) error {
	exists := make(map[string]bool, len(counts))
	var fresh []any
	models := make([]mongo.WriteModel, len(counts))
	for begin := 0; begin < len(counts); begin += chunk {
		some := counts[begin:min(len(counts), begin+chunk)]
		ids := make([]string, len(some))
		for i := range some {
			ids[i] = some[i].ID
		}
		there, err := list[countDoc](ctx, in, among(ids), options.Find().SetProjection(bson.D{is("_id", 1)}))
		if err != nil {
			return err
		}
		for i := range there {
			exists[there[i].ID] = true
		}
	}
	for i, count := range counts {
		models[i] = mongo.NewUpdateOneModel().SetFilter(doc.once(count.ID)).SetUpdate(bson.D{
			is("$inc", bson.D{is("count", count.Count)}), is("$set", bson.D{is(doc.seen(), doc.Ticket)}),
		})
		if !exists[count.ID] {
			count.Count = 0
			fresh = append(fresh, count)
		}
	}
	if err := in.ensure(ctx, fresh); err != nil {
		return err
	}
	_, err := in.updates(ctx, models)
	return err
}

// events numbers the events of a batch, the same in every process that adds it.
func (d *batchDoc) events(events []*eventDoc) []any {
	docs := make([]any, len(events))
	for i, event := range events {
		numbered := *event
		numbered.Seq = (d.Ticket*slots+d.Slot)<<eventBits + int64(i)
		docs[i] = numbered
	}
	return docs
}
