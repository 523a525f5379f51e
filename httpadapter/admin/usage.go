package admin

import (
	"context"
	"iter"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/httpadapter/admin/internal/usagequery"
	"github.com/keyfold/keyfold/internal/usageexport"
)

type (
	countUsageInput struct{ usagequery.Filter }

	listUsageInput struct {
		usagequery.Filter
		Cursor string `query:"cursor" doc:"The member next of the previous page. The other parameters must be the same."`
		Limit  int    `query:"limit" minimum:"1" maximum:"200" doc:"The maximum number of events. The default is 50."`
	}

	usagePageOutput struct{ Body keyfold.UsagePage }

	usageReportInput struct {
		By string `query:"by" enum:"hour,day" doc:"The length of the intervals. The default is hour."`
		usagequery.Filter
	}

	exportUsageInput struct {
		Format string `query:"format" enum:"ndjson,csv" doc:"The format of the export: JSON lines or CSV. The default is ndjson."`
		usagequery.Filter
	}

	usageReportOutput struct{ Body keyfold.UsageReport }

	usageTotalsOutput struct{ Body keyfold.UsageTotals }
)

func (a *api) usageRoutes(r *routes) {
	addRead(r, "/usage/events", "list-usage", "List usage events", "The newest events come first. Events of the last second may be missing.", a.listUsage)
	r.addUsageExport()
	addRead(r, "/usage/totals", "count-usage", "Count requests by outcome", "Counts whole hours. The counts are exact.", a.countUsage)
	addRead(r, "/usage/report", "report-usage", "Count requests by interval and outcome",
		"Days begin at midnight UTC. A report covers at most 31 days by hour and 366 days by day. The counts are exact.", a.reportUsage)
}

// usageQuery returns the query that the parameters name.
func usageQuery(f *usagequery.Filter) (keyfold.UsageQuery, error) {
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
	q, err := usageQuery(&in.Filter)
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

// addUsageExport registers the export. It does not use addRead, because its response
// has no end that huma could wait for.
func (r *routes) addUsageExport() {
	op := route{http.MethodGet, "/usage/export", "export-usage", "Export usage events", http.StatusOK, noBody}.operation(
		"Streams every event of the period, the newest first, one a line. If the database fails in the middle, the connection is closed before the end of the response. " +
			"In CSV, texts that a spreadsheet would run as a formula begin with an apostrophe. Events of the last second may be missing.")
	example := `{"at":"2026-11-30T12:00:00.007Z","key_id":"8fJ2kQpWm3xTzR4a","outcome":"allowed","route":"GET /reports","ip":"192.0.2.1","request_id":null,"user_agent":null}` + "\n"
	op.Responses["200"] = &huma.Response{Description: "The events.", Content: map[string]*huma.MediaType{
		"application/x-ndjson": {Example: example}, // OpenAPI 3.1 has no schema for lines
		"text/csv":             {},
	}}
	huma.Register(r.huma, op, func(ctx context.Context, in *exportUsageInput) (*huma.StreamResponse, error) {
		out, err := r.api.exportUsage(ctx, in)
		if err != nil {
			return nil, r.api.refuse(ctx, err)
		}
		return out, nil
	})
}

// exportUsage reads the first events before it answers, so that a query that is
// refused, or a database that is away, still has a problem document.
func (a *api) exportUsage(ctx context.Context, in *exportUsageInput) (*huma.StreamResponse, error) {
	q, err := usageQuery(&in.Filter)
	if err != nil {
		return nil, err
	}
	format := usageexport.NDJSON
	if in.Format == string(usageexport.CSV) {
		format = usageexport.CSV
	}
	next, stop := iter.Pull2(a.svc.AllUsage(ctx, q))
	e, err, more := next()
	if err != nil {
		stop()
		return nil, err
	}
	return &huma.StreamResponse{Body: func(ctx huma.Context) {
		defer stop()
		ctx.SetHeader("Content-Type", format.MediaType())
		ctx.SetHeader("Content-Disposition", `attachment; filename="usage.`+string(format)+`"`)
		ctx.SetHeader("Cache-Control", "no-store")
		ctx.SetStatus(http.StatusOK)
		_, w := humago.Unwrap(ctx)
		out := usageexport.NewWriter(w, format)
		for n := 0; more; n++ {
			if n%exportStep == 0 {
				// A long export is not a slow client. Not every ResponseWriter has deadlines.
				_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(exportTimeout))
			}
			if out.Write(&e) != nil {
				return // the client is gone
			}
			if e, err, more = next(); err != nil {
				a.log.ErrorContext(ctx.Context(), "keyfold: an export of usage events was cut off", "error", err)
				panic(http.ErrAbortHandler) // so that the client notices
			}
		}
		_ = out.Flush()
	}}, nil
}

const (
	exportStep    = 1000             // events for which the client has exportTimeout
	exportTimeout = 30 * time.Second // as `keyfold serve` gives for every response
)

func (a *api) countUsage(ctx context.Context, in *countUsageInput) (*usageTotalsOutput, error) {
	q, err := usageQuery(&in.Filter)
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
	q, err := usageQuery(&in.Filter)
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
