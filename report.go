package keyfold

import (
	"context"
	"fmt"
	"time"
)

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
