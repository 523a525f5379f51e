package keyfold

import (
	"context"
	"fmt"
	"iter"
	"strings"
	"time"
)

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
	scan, filter, err := s.usageScan(ctx, &q)
	if err != nil {
		return UsagePage{}, err
	}
	events, err := s.store.UsageEvents(ctx, scan)
	if err != nil {
		return UsagePage{}, storeError(ctx, err)
	}
	page := UsagePage{Events: events}
	if len(events) == scan.Limit {
		last := &events[scan.Limit-1]
		page.Next, err = s.nextCursor(ctx, cursor{At: last.At.UnixMilli(), Seq: last.Seq}, filter)
	}
	return page, err
}

// usageScan returns the scan for a page of the query, and the filter that its cursors
// are bound to.
func (s *Service) usageScan(ctx context.Context, q *UsageQuery) (scan UsageScan, filter string, err error) {
	limit, err := checkLimit(q.Limit)
	if err != nil {
		return UsageScan{}, "", err
	}
	filter = fmt.Sprintf("usage|%s|%q|%s|%v|%d|%d", q.KeyID.value, q.OwnerID.value, q.UserID.value, q.Outcomes, q.From.UnixMilli(), q.To.UnixMilli())
	after, err := s.readCursor(ctx, q.Cursor, filter)
	if err != nil {
		return UsageScan{}, "", err
	}
	if scan, err = q.scan(s.now()); err != nil {
		return UsageScan{}, "", err
	}
	scan.Limit = limit
	if q.Cursor != "" {
		scan.After = EventPosition{At: time.UnixMilli(after.At).UTC(), Seq: after.Seq}
	}
	return scan, filter, nil
}

// AllUsage yields every usage event that matches, newest first, as [Service.AllKeys]
// yields keys. It holds a thousand events in memory, however many match. If q.To
// is zero, events that are written while the loop runs are not among them. Limit has
// no effect; with a Cursor, AllUsage yields the events after that page.
func (s *Service) AllUsage(ctx context.Context, q UsageQuery) iter.Seq2[UsageEvent, error] {
	return func(yield func(UsageEvent, error) bool) {
		q.Limit = 0
		scan, _, err := s.usageScan(ctx, &q)
		if err != nil {
			yield(UsageEvent{}, err)
			return
		}
		scan.Limit = streamedPage
		for {
			events, err := s.store.UsageEvents(ctx, scan)
			if err != nil {
				yield(UsageEvent{}, storeError(ctx, err))
				return
			}
			for i := range events {
				if !yield(events[i], nil) {
					return
				}
			}
			if len(events) < scan.Limit {
				return
			}
			last := &events[len(events)-1]
			scan.After = EventPosition{At: last.At, Seq: last.Seq}
		}
	}
}

// streamedPage is how many events AllUsage reads at a time.
const streamedPage = 1000

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
	if err := (&keyConditions{owner: q.OwnerID, user: q.UserID}).check(); err != nil {
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
	total, err := inSteps(ctx, s.store.PruneUsage, before)
	return total, storeError(ctx, err)
}

// PruneHours deletes counts by hour of hours that were over at before, in small
// steps, and returns how many. Totals stay, and so do the hours from which there
// are events: [Service.PruneUsage] comes first. Errors: [ErrUnavailable]; what
// went before an error stays deleted.
func (s *Service) PruneHours(ctx context.Context, before time.Time) (int, error) {
	total, err := inSteps(ctx, s.store.PruneHours, before)
	return total, storeError(ctx, err)
}

// UsageStats returns how the recording of usage is doing in this process.
func (s *Service) UsageStats() UsageStats { return s.delivery.stats() }

// UsageUnit is the length of the intervals of a [UsageReport].
type UsageUnit uint8

// The units. Days are those of UTC.
const (
	UsageByHour UsageUnit = iota
	UsageByDay
)

// String returns the stable text of the unit: "hour", "day".
func (u UsageUnit) String() string {
	switch u {
	case UsageByHour:
		return "hour"
	case UsageByDay:
		return "day"
	}
	return fmt.Sprintf("unit_%d", uint8(u))
}

// ParseUsageUnit returns the unit of that text, or an [InvalidError] for the
// field "by".
func ParseUsageUnit(text string) (UsageUnit, error) {
	for _, unit := range []UsageUnit{UsageByHour, UsageByDay} {
		if unit.String() == text {
			return unit, nil
		}
	}
	return 0, invalid("by", "must be hour or day")
}

// The longest spans of a report: what one answer can hold.
const (
	maxReportHours = 31 * 24
	maxReportDays  = 366

	defaultReportDays = 30
)

// UsageReportQuery names usage, and how finely to tell it.
type UsageReportQuery struct {
	KeyID    Filter
	OwnerID  Filter    // keys of this owner that exist now; not together with KeyID
	UserID   Filter    // keys of this user that exist now; not together with the two above
	From     time.Time // zero = 24 hours before To, by day 30 days
	To       time.Time // exclusive; zero = now
	Outcomes []Outcome // empty = all
	By       UsageUnit // zero = UsageByHour
}

// UsageReport counts verifies by interval and outcome.
type UsageReport struct {
	By        UsageUnit
	Intervals []UsageInterval // oldest first, without gaps
}

// UsageInterval is one hour or day of a [UsageReport].
type UsageInterval struct {
	StartAt time.Time
	Count   map[Outcome]int64 // nil where nothing happened
}

// UsageReport counts verifies in every hour or UTC day from the one of q.From
// to the last that begins before q.To, at most 31 days by hour and 366 days by
// day. Counts are exact, also where single events were dropped or pruned, and
// end with Options.HourRetention. Without KeyID, OwnerID and UserID, keys that were
// deleted count too, and so do the refusals that no key can be held to. Errors:
// [InvalidError], [ErrUnavailable].
func (s *Service) UsageReport(ctx context.Context, q UsageReportQuery) (UsageReport, error) {
	if q.By > UsageByDay {
		return UsageReport{}, invalid("by", "must be hour or day")
	}
	scan, err := q.scan(s.now())
	if err != nil {
		return UsageReport{}, err
	}
	hours, err := s.store.UsageHours(ctx, scan)
	if err != nil {
		return UsageReport{}, storeError(ctx, err)
	}
	unit := q.By.length()
	report := UsageReport{By: q.By, Intervals: make([]UsageInterval, scan.To.Sub(scan.From)/unit)}
	for i := range report.Intervals {
		report.Intervals[i].StartAt = scan.From.Add(time.Duration(i) * unit)
	}
	for _, hour := range hours {
		interval := &report.Intervals[hour.HourAt.Sub(scan.From)/unit]
		if interval.Count == nil {
			interval.Count = map[Outcome]int64{}
		}
		interval.Count[hour.Outcome] += hour.Count
	}
	return report, nil
}

func (u UsageUnit) length() time.Duration {
	if u == UsageByDay {
		return 24 * time.Hour
	}
	return time.Hour
}

// scan checks the query and rounds its bounds to whole intervals.
func (q *UsageReportQuery) scan(now time.Time) (UsageScan, error) {
	usage := UsageQuery{KeyID: q.KeyID, OwnerID: q.OwnerID, UserID: q.UserID, From: q.From, To: q.To, Outcomes: q.Outcomes}
	unit, most, rule := q.By.length(), maxReportHours, "must be at most 31 days before to when counting by hour"
	if q.By == UsageByDay {
		most, rule = maxReportDays, fmt.Sprintf("must be at most %d days before to", maxReportDays)
		if q.From.IsZero() {
			if usage.To.IsZero() {
				usage.To = now.Add(time.Millisecond)
			}
			usage.From = usage.To.Add(-defaultReportDays * unit)
		}
	}
	scan, err := usage.scan(now)
	if err != nil {
		return UsageScan{}, err
	}
	to := scan.To.Truncate(unit)
	if to.Before(scan.To) {
		to = to.Add(unit)
	}
	scan.From, scan.To = scan.From.Truncate(unit), to
	if scan.To.Sub(scan.From) > time.Duration(most)*unit {
		return UsageScan{}, invalid("from", rule)
	}
	return scan, nil
}
