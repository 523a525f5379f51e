package keyfold

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"time"
)

// UsageEvent is one verify. Every verify whose secret was right leaves one. Of
// the other requests a process keeps a sample: at most 10 000 in 24 hours, and
// at most 100 at once. Counts are exact for all.
type UsageEvent struct {
	At        time.Time
	Seq       int64      // orders events of one millisecond; no other meaning
	KeyID     string     // empty for a sampled refusal that no key can be held to
	Outcome   Outcome    // what was decided
	Route     string     // as given in Request.Route: "GET /reports"
	IP        netip.Addr // as given in Request.IP, without a zone; the zero Addr when unknown
	RequestID string     // empty unless Options.RecordRequestID, and in samples
	UserAgent string     // empty unless Options.RecordUserAgent, and in samples
}

// UsageQuery names usage. Every field that is set must match.
type UsageQuery struct {
	KeyID    Filter
	OwnerID  Filter    // keys of this owner that exist now; not together with KeyID
	UserID   Filter    // keys of this user that exist now; not together with the two above
	From     time.Time // inclusive; zero = To - 24 hours
	To       time.Time // exclusive; zero = now
	Outcomes []Outcome // empty = all
	Cursor   string    // UsagePage.Next of the page before; empty starts
	Limit    int       // 1 to 200; zero = 50
}

// UsagePage is a page of usage events, newest first.
type UsagePage struct {
	Events []UsageEvent
	Next   string // Cursor of the next page; empty when there is none
}

const defaultUsageSpan = 24 * time.Hour

// Usage lists single verifies, newest first. Verifies of the last
// Options.FlushInterval may be missing; [Service.Flush] writes those of this
// process. Errors: [InvalidError], [ErrUnavailable].
func (s *Service) Usage(ctx context.Context, q UsageQuery) (UsagePage, error) {
	limit, err := checkLimit(q.Limit)
	if err != nil {
		return UsagePage{}, err
	}
	filter := fmt.Sprintf("usage|%s|%q|%s|%v|%d|%d", q.KeyID.value, q.OwnerID.value, q.UserID.value, q.Outcomes, q.From.UnixMilli(), q.To.UnixMilli())
	after, err := s.readCursor(ctx, q.Cursor, filter)
	if err != nil {
		return UsagePage{}, err
	}
	scan, err := q.scan(s.now())
	if err != nil {
		return UsagePage{}, err
	}
	scan.Limit = limit
	if q.Cursor != "" {
		scan.After = EventPosition{At: time.UnixMilli(after.At).UTC(), Seq: after.Seq}
	}
	events, err := s.store.UsageEvents(ctx, scan)
	if err != nil {
		return UsagePage{}, storeError(ctx, err)
	}
	page := UsagePage{Events: events}
	if len(events) == limit {
		last := &events[limit-1]
		page.Next, err = s.nextCursor(ctx, cursor{At: last.At.UnixMilli(), Seq: last.Seq}, filter)
	}
	return page, err
}

// UsageTotals counts verifies by their outcome.
type UsageTotals struct {
	From  time.Time // the hour that the count begins with
	To    time.Time // as asked for
	Count map[Outcome]int64
}

// UsageTotals counts verifies by outcome over whole hours: from the hour of
// q.From to the last one that begins before q.To. Counts are exact, also where
// single events were dropped or pruned, and end with Options.HourRetention.
// Without KeyID, OwnerID and UserID, keys that were deleted count too, and so do the
// refusals that no key can be held to. Cursor and Limit are ignored.
// Errors: [InvalidError], [ErrUnavailable].
func (s *Service) UsageTotals(ctx context.Context, q UsageQuery) (UsageTotals, error) {
	scan, err := q.scan(s.now())
	if err != nil {
		return UsageTotals{}, err
	}
	hours, err := s.store.UsageHours(ctx, scan)
	if err != nil {
		return UsageTotals{}, storeError(ctx, err)
	}
	totals := UsageTotals{From: scan.From.Truncate(time.Hour), To: scan.To, Count: map[Outcome]int64{}}
	for _, hour := range hours {
		totals.Count[hour.Outcome] += hour.Count
	}
	return totals, nil
}

// scan checks the query and fills in its bounds.
func (q *UsageQuery) scan(now time.Time) (UsageScan, error) {
	switch {
	case q.OwnerID.set && q.KeyID.set:
		return UsageScan{}, invalid("owner_id", "must not be set together with key_id")
	case q.UserID.set && (q.KeyID.set || q.OwnerID.set):
		return UsageScan{}, invalid("user_id", "must not be set together with key_id or owner_id")
	}
	if err := q.KeyID.checkID("key_id"); err != nil {
		return UsageScan{}, err
	}
	if err := checkFilters(q.OwnerID, q.UserID, Filter{}); err != nil {
		return UsageScan{}, err
	}
	for _, code := range q.Outcomes {
		if int(code) >= len(outcomeNames) {
			return UsageScan{}, invalid("outcome", "must be one of "+strings.Join(outcomeNames[:], ", "))
		}
	}
	scan := UsageScan{KeyID: q.KeyID.value, OwnerID: q.OwnerID.value, UserID: q.UserID.value, From: q.From.UTC(), To: q.To.UTC(), Outcomes: q.Outcomes}
	if q.To.IsZero() {
		scan.To = now.Add(time.Millisecond)
	}
	if q.From.IsZero() {
		scan.From = scan.To.Add(-defaultUsageSpan)
	}
	if !scan.From.Before(scan.To) || scan.From.Year() < 1970 || scan.To.Year() > 9999 {
		return UsageScan{}, invalid("from", "must be before to, and both must be between the years 1970 and 9999")
	}
	return scan, nil
}

// PruneUsage deletes usage events that are older than before, in small steps
// that let verifies through, and returns how many. Totals and counts by hour
// stay. Errors: [ErrUnavailable]; what went before an error stays deleted.
func (s *Service) PruneUsage(ctx context.Context, before time.Time) (int, error) {
	total, err := pruneUsage(ctx, s.store, before)
	return total, storeError(ctx, err)
}

func pruneUsage(ctx context.Context, store Store, before time.Time) (int, error) {
	return inSteps(func() (int, bool, error) { return store.PruneUsage(ctx, before, pruneStep) })
}

// PruneHours deletes counts by hour of hours that were over at before, in small
// steps, and returns how many. Totals stay, and so do the hours from which there
// are events: [Service.PruneUsage] comes first. Errors: [ErrUnavailable]; what
// went before an error stays deleted.
func (s *Service) PruneHours(ctx context.Context, before time.Time) (int, error) {
	total, err := pruneHours(ctx, s.store, before)
	return total, storeError(ctx, err)
}

func pruneHours(ctx context.Context, store Store, before time.Time) (int, error) {
	return inSteps(func() (int, bool, error) { return store.PruneHours(ctx, before, pruneStep) })
}

// inSteps repeats a step as long as there is more to delete.
func inSteps(step func() (deleted int, more bool, err error)) (total int, err error) {
	for {
		deleted, more, err := step()
		total += deleted
		if err != nil || !more {
			return total, err
		}
	}
}

const pruneStep = 5000

// UsageStats says how the recording of usage is doing in this process.
type UsageStats struct {
	PendingEvents   int64 `json:"pending_events"` // not written yet
	DroppedEvents   int64 `json:"dropped_events"` // beyond the bounds of the Options; they are in the totals all the same
	LostUses        int64 `json:"lost_uses"`      // of keys that were deleted before their last uses were written
	RejectedBatches int64 `json:"batches_aside"`  // that the store refuses although it works; they are tried again, and no use of them is lost
}

// UsageStats returns how the recording of usage is doing in this process.
func (s *Service) UsageStats() UsageStats { return s.delivery.stats() }
