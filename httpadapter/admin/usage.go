package admin

import (
	"context"

	"github.com/keyfold/keyfold"
)

type (
	usageFilter struct {
		KeyID   string   `query:"key_id" doc:"Only this key."`
		OwnerID string   `query:"owner_id" doc:"Only keys of this owner that still exist. It excludes key_id."`
		UserID  string   `query:"user_id" doc:"Only keys of this user that still exist. It excludes key_id and owner_id."`
		From    string   `query:"from" format:"date-time" doc:"The start of the period, inclusive. The default is 24 hours before its end."`
		To      string   `query:"to" format:"date-time" doc:"The end of the period, exclusive. The default is now."`
		Outcome []string `query:"outcome,explode" enum:"allowed,missing,malformed,unknown,wrong_secret,revoked,disabled,expired,idle,user_disabled,scope,ip,rate_limited,credits,unavailable" doc:"Only requests with one of these outcomes. Repeat the parameter for several outcomes. The default is all outcomes."`
	}

	listUsageInput struct {
		KeyID   string   `query:"key_id" doc:"Only this key."`
		OwnerID string   `query:"owner_id" doc:"Only keys of this owner that still exist. It excludes key_id."`
		UserID  string   `query:"user_id" doc:"Only keys of this user that still exist. It excludes key_id and owner_id."`
		From    string   `query:"from" format:"date-time" doc:"The start of the period, inclusive. The default is 24 hours before its end."`
		To      string   `query:"to" format:"date-time" doc:"The end of the period, exclusive. The default is now."`
		Outcome []string `query:"outcome,explode" enum:"allowed,missing,malformed,unknown,wrong_secret,revoked,disabled,expired,idle,user_disabled,scope,ip,rate_limited,credits,unavailable" doc:"Only requests with one of these outcomes. Repeat the parameter for several outcomes. The default is all outcomes."`
		Cursor  string   `query:"cursor" doc:"The member next of the previous page. The other parameters must be the same."`
		Limit   int      `query:"limit" minimum:"1" maximum:"200" doc:"The maximum number of events. The default is 50."`
	}

	usagePageOutput struct{ Body keyfold.UsagePage }

	usageReportInput struct {
		By      string   `query:"by" enum:"hour,day" doc:"The length of the intervals. The default is hour."`
		KeyID   string   `query:"key_id" doc:"Only this key."`
		OwnerID string   `query:"owner_id" doc:"Only keys of this owner that still exist. It excludes key_id."`
		UserID  string   `query:"user_id" doc:"Only keys of this user that still exist. It excludes key_id and owner_id."`
		From    string   `query:"from" format:"date-time" doc:"The start of the period, inclusive. The default is 24 hours before its end, or 30 days in a report by day."`
		To      string   `query:"to" format:"date-time" doc:"The end of the period, exclusive. The default is now."`
		Outcome []string `query:"outcome,explode" enum:"allowed,missing,malformed,unknown,wrong_secret,revoked,disabled,expired,idle,user_disabled,scope,ip,rate_limited,credits,unavailable" doc:"Only requests with one of these outcomes. Repeat the parameter for several outcomes. The default is all outcomes."`
	}

	usageReportOutput struct{ Body keyfold.UsageReport }

	usageTotalsOutput struct{ Body keyfold.UsageTotals }
)

func (a *api) usageRoutes(r *routes) {
	addRead(r, "/usage/events", "list-usage", "List usage events", "The newest events come first. Events of the last second may be missing.", a.listUsage)
	addRead(r, "/usage/totals", "count-usage", "Count requests by outcome", "Counts whole hours. The counts are exact.", a.countUsage)
	addRead(r, "/usage/report", "report-usage", "Count requests by interval and outcome",
		"Days begin at midnight UTC. A report covers at most 31 days by hour and 366 days by day. The counts are exact.", a.reportUsage)
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
	q := keyfold.UsageQuery{KeyID: filterOf(f.KeyID), OwnerID: filterOf(f.OwnerID), UserID: filterOf(f.UserID), From: from, To: to}
	for _, outcome := range f.Outcome {
		code, err := keyfold.ParseOutcome(outcome)
		if err != nil {
			return keyfold.UsageQuery{}, err
		}
		q.Outcomes = append(q.Outcomes, code)
	}
	return q, nil
}

func (a *api) listUsage(ctx context.Context, in *listUsageInput) (*usagePageOutput, error) {
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
	return &usagePageOutput{Body: page}, nil
}

func (a *api) countUsage(ctx context.Context, in *usageFilter) (*usageTotalsOutput, error) {
	q, err := in.query()
	if err != nil {
		return nil, err
	}
	totals, err := a.svc.UsageTotals(ctx, q)
	if err != nil {
		return nil, err
	}
	return &usageTotalsOutput{Body: totals}, nil
}

func (a *api) reportUsage(ctx context.Context, in *usageReportInput) (*usageReportOutput, error) {
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
	return &usageReportOutput{Body: counted}, nil
}
