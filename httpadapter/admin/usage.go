package admin

import (
	"context"
	"time"

	"github.com/keyfold/keyfold"
)

// UsageEvent is one verify, as this API shows it.
type UsageEvent struct {
	At        time.Time `json:"at"`
	KeyID     *string   `json:"key_id" doc:"null for a sampled refusal that no key can be held to"`
	Outcome   string    `json:"outcome" doc:"allowed, or why not"`
	Route     *string   `json:"route" doc:"The pattern that the request matched"`
	IP        *string   `json:"ip"`
	RequestID *string   `json:"request_id" doc:"null unless it is kept"`
	UserAgent *string   `json:"user_agent" doc:"null unless it is kept"`
}

// NewUsageEvent shows a usage event.
func NewUsageEvent(e keyfold.UsageEvent) UsageEvent {
	return UsageEvent{
		At: e.At.UTC(), KeyID: textOrNil(e.KeyID), Outcome: e.Code.String(), Route: textOrNil(e.Route),
		IP: textOrNil(e.IP), RequestID: textOrNil(e.RequestID), UserAgent: textOrNil(e.UserAgent),
	}
}

// UsagePage is a page of usage events. An empty one has the events [], never
// null.
type UsagePage struct {
	Events []UsageEvent `json:"events" nullable:"false"`
	Next   *string      `json:"next" doc:"Cursor of the next page; null at the end"`
}

// NewUsagePage shows a page of usage events.
func NewUsagePage(p keyfold.UsagePage) UsagePage {
	shown := UsagePage{Events: make([]UsageEvent, 0, len(p.Events)), Next: textOrNil(p.Next)}
	for _, event := range p.Events {
		shown.Events = append(shown.Events, NewUsageEvent(event))
	}
	return shown
}

// UsageTotals counts verifies by outcome, as this API shows it.
type UsageTotals struct {
	From   time.Time        `json:"from" doc:"The hour that the count begins with"`
	To     time.Time        `json:"to"`
	Counts map[string]int64 `json:"counts" doc:"By outcome; what did not happen is left out"`
}

// NewUsageTotals shows totals.
func NewUsageTotals(t keyfold.UsageTotals) UsageTotals {
	return UsageTotals{From: t.From.UTC(), To: t.To.UTC(), Counts: named(t.Count)}
}

// UsageReport counts verifies by interval and outcome, as this API shows it.
type UsageReport struct {
	By        string          `json:"by"`
	Intervals []UsageInterval `json:"intervals" nullable:"false" doc:"Oldest first, without gaps"`
}

// UsageInterval is one hour or day of a report.
type UsageInterval struct {
	StartAt time.Time        `json:"start_at"`
	Counts  map[string]int64 `json:"counts" doc:"By outcome; what did not happen is left out"`
}

// NewUsageReport shows a report.
func NewUsageReport(r keyfold.UsageReport) UsageReport {
	shown := UsageReport{By: byHour, Intervals: make([]UsageInterval, len(r.Intervals))}
	if r.By == keyfold.UsageByDay {
		shown.By = byDay
	}
	for i, interval := range r.Intervals {
		shown.Intervals[i] = UsageInterval{StartAt: interval.StartAt.UTC(), Counts: named(interval.Count)}
	}
	return shown
}

// The units of a report.
const (
	byHour = "hour"
	byDay  = "day"
)

type (
	usageFilter struct {
		KeyID   string   `query:"key_id"`
		OwnerID string   `query:"owner_id" doc:"Keys of this owner that exist now; not beside key_id"`
		UserID  string   `query:"user_id" doc:"Keys of this user that exist now; not beside key_id or owner_id"`
		From    string   `query:"from" format:"date-time" doc:"Inclusive; 24 hours before to if not given"`
		To      string   `query:"to" format:"date-time" doc:"Exclusive; now if not given"`
		Outcome []string `query:"outcome,explode" doc:"allowed, expired, …; repeat it for several; all if not given"`
	}

	eventsInput struct {
		KeyID   string   `query:"key_id"`
		OwnerID string   `query:"owner_id" doc:"Keys of this owner that exist now; not beside key_id"`
		UserID  string   `query:"user_id" doc:"Keys of this user that exist now; not beside key_id or owner_id"`
		From    string   `query:"from" format:"date-time" doc:"Inclusive; 24 hours before to if not given"`
		To      string   `query:"to" format:"date-time" doc:"Exclusive; now if not given"`
		Outcome []string `query:"outcome,explode" doc:"allowed, expired, …; repeat it for several; all if not given"`
		Cursor  string   `query:"cursor" doc:"The next of the page before, with the same filters"`
		Limit   int      `query:"limit" minimum:"1" maximum:"200" doc:"Default 50"`
	}

	eventsAnswer struct{ Body UsagePage }

	reportInput struct {
		By      string   `query:"by" enum:"hour,day" doc:"Default hour"`
		KeyID   string   `query:"key_id"`
		OwnerID string   `query:"owner_id" doc:"Keys of this owner that exist now; not beside key_id"`
		UserID  string   `query:"user_id" doc:"Keys of this user that exist now; not beside key_id or owner_id"`
		From    string   `query:"from" format:"date-time" doc:"24 hours before to if not given, 30 days by day"`
		To      string   `query:"to" format:"date-time" doc:"Exclusive; now if not given"`
		Outcome []string `query:"outcome,explode" doc:"allowed, expired, …; repeat it for several; all if not given"`
	}

	reportAnswer struct{ Body UsageReport }

	totalsAnswer struct{ Body UsageTotals }
)

func (a *api) usageRoutes(r *routes) {
	addRead(r, "/usage/events", "list-usage", "List single verifies", "Newest first. Those of the last second may be missing.", a.listUsage)
	addRead(r, "/usage/totals", "count-usage", "Count verifies by outcome", "Over whole hours; exact.", a.countUsage)
	addRead(r, "/usage/report", "report-usage", "Count verifies by hour or day and outcome",
		"Days are those of UTC. At most 31 days by hour, 366 days by day; exact.", a.reportUsage)
}

func (f *usageFilter) query() (keyfold.UsageQuery, error) {
	from, err := parseTime("from", f.From)
	if err != nil {
		return keyfold.UsageQuery{}, err
	}
	to, err := parseTime("to", f.To)
	if err != nil {
		return keyfold.UsageQuery{}, err
	}
	q := keyfold.UsageQuery{KeyID: onlyIf(f.KeyID), OwnerID: onlyIf(f.OwnerID), UserID: onlyIf(f.UserID), From: from, To: to}
	for _, outcome := range f.Outcome {
		code, err := keyfold.ParseCode(outcome)
		if err != nil {
			return keyfold.UsageQuery{}, err
		}
		q.Outcomes = append(q.Outcomes, code)
	}
	return q, nil
}

func (a *api) listUsage(ctx context.Context, in *eventsInput) (*eventsAnswer, error) {
	filter := usageFilter{KeyID: in.KeyID, OwnerID: in.OwnerID, UserID: in.UserID, From: in.From, To: in.To, Outcome: in.Outcome}
	q, err := filter.query()
	if err != nil {
		return nil, err
	}
	q.Cursor, q.Limit = in.Cursor, in.Limit
	page, err := a.svc.Usage(ctx, q)
	if err != nil {
		return nil, err
	}
	return &eventsAnswer{Body: NewUsagePage(page)}, nil
}

func (a *api) countUsage(ctx context.Context, in *usageFilter) (*totalsAnswer, error) {
	q, err := in.query()
	if err != nil {
		return nil, err
	}
	totals, err := a.svc.UsageTotals(ctx, q)
	if err != nil {
		return nil, err
	}
	return &totalsAnswer{Body: NewUsageTotals(totals)}, nil
}

func named(count map[keyfold.Code]int64) map[string]int64 {
	counts := make(map[string]int64, len(count))
	for code, n := range count {
		counts[code.String()] = n
	}
	return counts
}

func (a *api) reportUsage(ctx context.Context, in *reportInput) (*reportAnswer, error) {
	filter := usageFilter{KeyID: in.KeyID, OwnerID: in.OwnerID, UserID: in.UserID, From: in.From, To: in.To, Outcome: in.Outcome}
	q, err := filter.query()
	if err != nil {
		return nil, err
	}
	report := keyfold.UsageReportQuery{KeyID: q.KeyID, OwnerID: q.OwnerID, UserID: q.UserID, From: q.From, To: q.To, Outcomes: q.Outcomes}
	if in.By == byDay {
		report.By = keyfold.UsageByDay
	}
	counted, err := a.svc.UsageReport(ctx, report)
	if err != nil {
		return nil, err
	}
	return &reportAnswer{Body: NewUsageReport(counted)}, nil
}
