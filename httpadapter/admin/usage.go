package admin

import (
	"context"

	"github.com/keyfold/keyfold"
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

	eventsAnswer struct{ Body keyfold.UsagePage }

	reportInput struct {
		By      string   `query:"by" enum:"hour,day" doc:"Default hour"`
		KeyID   string   `query:"key_id"`
		OwnerID string   `query:"owner_id" doc:"Keys of this owner that exist now; not beside key_id"`
		UserID  string   `query:"user_id" doc:"Keys of this user that exist now; not beside key_id or owner_id"`
		From    string   `query:"from" format:"date-time" doc:"24 hours before to if not given, 30 days by day"`
		To      string   `query:"to" format:"date-time" doc:"Exclusive; now if not given"`
		Outcome []string `query:"outcome,explode" doc:"allowed, expired, …; repeat it for several; all if not given"`
	}

	reportAnswer struct{ Body keyfold.UsageReport }

	totalsAnswer struct{ Body keyfold.UsageTotals }
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
		code, err := keyfold.ParseOutcome(outcome)
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
	return &eventsAnswer{Body: page}, nil
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
	return &totalsAnswer{Body: totals}, nil
}

func (a *api) reportUsage(ctx context.Context, in *reportInput) (*reportAnswer, error) {
	filter := usageFilter{KeyID: in.KeyID, OwnerID: in.OwnerID, UserID: in.UserID, From: in.From, To: in.To, Outcome: in.Outcome}
	q, err := filter.query()
	if err != nil {
		return nil, err
	}
	report := keyfold.UsageReportQuery{KeyID: q.KeyID, OwnerID: q.OwnerID, UserID: q.UserID, From: q.From, To: q.To, Outcomes: q.Outcomes}
	if in.By == keyfold.UsageByDay.String() {
		report.By = keyfold.UsageByDay
	}
	counted, err := a.svc.UsageReport(ctx, report)
	if err != nil {
		return nil, err
	}
	return &reportAnswer{Body: counted}, nil
}
