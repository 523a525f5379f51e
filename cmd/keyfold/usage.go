package main

import (
	"context"
	"fmt"
	"iter"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/spf13/cobra"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/internal/usageexport"
)

func (c *command) usage() *cobra.Command {
	cmd := &cobra.Command{
		Use: "usage", Short: "Show how keys are used", Args: subcommandOnly,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(c.usageEvents(), c.usageExport(), c.usageReport(), c.usageTotals())
	return cmd
}

// usageFlags select usage.
type usageFlags struct {
	key, owner, user, from, to string
	outcomes                   []string
}

func (f *usageFlags) add(cmd *cobra.Command, fromUsage string) {
	cmd.Flags().StringVar(&f.key, "key", "", "only usage of the key with this `id`")
	cmd.Flags().StringVar(&f.owner, "owner", "", "only usage of existing keys of the owner with this `id`")
	cmd.Flags().StringVar(&f.user, "user", "", "only usage of existing keys of this `user`: an ID, a username or an e-mail address")
	cmd.Flags().StringVar(&f.from, "from", "", fromUsage)
	cmd.Flags().StringVar(&f.to, "to", "", "only before this `time` (default now)")
	cmd.Flags().StringArrayVar(&f.outcomes, "outcome", nil, "only with this `outcome`: allowed, expired, …; repeatable")
	exclusive(cmd, "key", "owner", "user")
}

func (f *usageFlags) query(cmd *cobra.Command) (keyfold.UsageQuery, error) {
	q := keyfold.UsageQuery{KeyID: onlyIf(f.key), OwnerID: onlyIf(f.owner)}
	if err := noneEmpty(cmd, "key", "owner", "user"); err != nil {
		return q, err
	}
	if f.key != "" {
		if err := checkID("--key", f.key); err != nil {
			return q, err
		}
	}
	var err error
	if q.From, err = parseTimeIfSet(cmd, "from", f.from); err != nil {
		return q, err
	}
	if q.To, err = parseTimeIfSet(cmd, "to", f.to); err != nil {
		return q, err
	}
	for _, outcome := range f.outcomes {
		code, err := keyfold.ParseOutcome(outcome)
		if err != nil {
			return q, inFlags(err)
		}
		q.Outcomes = append(q.Outcomes, code)
	}
	return q, nil
}

// findUser sets the filter of --user, which may be a username or an e-mail address.
func (f *usageFlags) findUser(ctx context.Context, svc *keyfold.Service, filter *keyfold.Filter) error {
	err := findUserFlag(ctx, svc, "--user", &f.user)
	*filter = onlyIf(f.user)
	return err
}

const fromADay = "only from this `time` on (default 24 hours before --to)"

func (c *command) usageEvents() *cobra.Command {
	var flags dataFlags
	var filter usageFlags
	var pages pageFlags
	cmd := &cobra.Command{
		Use:   "events",
		Short: "List verifies, newest first",
		Long: `List verifies, newest first. A server stores them once a second, so the most
recent ones may be missing.

` + listHelp,
		Example: `  keyfold usage events --key 8fJ2kQ0aXw3mT7Zb --outcome expired --outcome scope`,
		Args:    noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			q, err := filter.query(cmd)
			if err != nil {
				return err
			}
			if err := pages.check(); err != nil {
				return err
			}
			return c.onService(cmd, func(ctx context.Context, svc *keyfold.Service) error {
				if err := filter.findUser(ctx, svc, &q.UserID); err != nil {
					return err
				}
				return eventListing(svc, q).print(ctx, c, &pages, flags.asJSON)
			})
		},
	}
	filter.add(cmd, fromADay)
	pages.add(cmd)
	flags.add(cmd)
	return cmd
}

func eventListing(svc *keyfold.Service, q keyfold.UsageQuery) listing[keyfold.UsageEvent] {
	return listing[keyfold.UsageEvent]{
		fetch: func(ctx context.Context, cursor string, limit int) ([]keyfold.UsageEvent, string, error) {
			q.Cursor, q.Limit = cursor, limit
			page, err := svc.Usage(ctx, q)
			return page.Events, page.Next, err
		},
		document: func(events []keyfold.UsageEvent, next string) any {
			return keyfold.UsagePage{Events: events, Next: next}
		},
		table: eventTable,
	}
}

func eventTable(events []keyfold.UsageEvent) *table {
	t := newTable("usage", "TIME!", "KEY!", "OUTCOME!", "ROUTE", "IP", "REQUEST?", "USER AGENT?")
	for _, e := range events {
		t.add(exactTime(e.At), e.KeyID, e.Outcome.String(), e.Route, ipText(e.IP), e.RequestID, e.UserAgent)
	}
	return t
}

func (c *command) usageExport() *cobra.Command {
	var filter usageFlags
	var format string
	cmd := &cobra.Command{
		Use:   "export",
		Short: "Write all verifies of a period as NDJSON or CSV",
		Long: `Write all verifies of a period to standard output, newest first, as NDJSON or
CSV. They are streamed, whatever their number. A server stores them once a
second, so the most recent ones may be missing.

In CSV, texts that a spreadsheet would run as a formula begin with an
apostrophe.`,
		Example: `  keyfold usage export --from 2026-11-01 --format csv > november.csv`,
		Args:    noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			q, err := filter.query(cmd)
			if err != nil {
				return err
			}
			if format != string(usageexport.NDJSON) && format != string(usageexport.CSV) {
				return usage("--format must be ndjson or csv")
			}
			return c.onService(cmd, func(ctx context.Context, svc *keyfold.Service) error {
				if err := filter.findUser(ctx, svc, &q.UserID); err != nil {
					return err
				}
				return c.export(svc.AllUsage(ctx, q), usageexport.Format(format))
			})
		},
	}
	filter.add(cmd, fromADay)
	cmd.Flags().StringVar(&format, "format", string(usageexport.NDJSON), "`format` of the output: ndjson or csv")
	return cmd
}

func (c *command) export(events iter.Seq2[keyfold.UsageEvent, error], format usageexport.Format) error {
	var written atomic.Int64
	defer c.progress(func() string { return fmt.Sprintf("%d events written", written.Load()) })()
	out := usageexport.NewWriter(c.stdout, format)
	for e, err := range events {
		if err == nil {
			err = out.Write(&e)
		}
		if err != nil {
			_ = out.Flush() // the events so far are right
			return err
		}
		written.Add(1)
	}
	return out.Flush()
}

func (c *command) usageTotals() *cobra.Command {
	var flags dataFlags
	var filter usageFlags
	cmd := &cobra.Command{
		Use:   "totals",
		Short: "Count verifies by outcome",
		Long:  "Count verifies by outcome, in whole hours. The counts are exact.",
		Args:  noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			q, err := filter.query(cmd)
			if err != nil {
				return err
			}
			return c.onService(cmd, func(ctx context.Context, svc *keyfold.Service) error {
				if err := filter.findUser(ctx, svc, &q.UserID); err != nil {
					return err
				}
				totals, err := svc.UsageTotals(ctx, q)
				if err != nil {
					return err
				}
				if flags.asJSON {
					return c.printJSON(totals)
				}
				t := newTable("usage", "OUTCOME!", "VERIFIES!")
				for _, code := range outcomes() {
					if n := totals.Count[code]; n > 0 {
						t.add(code.String(), strconv.FormatInt(n, 10))
					}
				}
				return t.print(c)
			})
		},
	}
	filter.add(cmd, fromADay)
	flags.add(cmd)
	return cmd
}

// outcomes returns all outcomes of a verify.
func outcomes() []keyfold.Outcome {
	var codes []keyfold.Outcome
	for code := keyfold.OutcomeAllowed; ; code++ {
		if _, err := keyfold.ParseOutcome(code.String()); err != nil {
			return codes
		}
		codes = append(codes, code)
	}
}

func (c *command) usageReport() *cobra.Command {
	var flags dataFlags
	var filter usageFlags
	var by string
	cmd := &cobra.Command{
		Use:   "report",
		Short: "Count verifies by outcome, for each hour or day",
		Long: `Count verifies by outcome, for each hour or day in UTC. A report covers at most
31 days by hour and 366 days by day. The counts are exact.`,
		Example: `  keyfold usage report --by day --owner cust_42`,
		Args:    noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			q, err := filter.query(cmd)
			if err != nil {
				return err
			}
			report := keyfold.UsageReportQuery{KeyID: q.KeyID, OwnerID: q.OwnerID, From: q.From, To: q.To, Outcomes: q.Outcomes}
			switch by {
			case "hour":
			case "day":
				report.By = keyfold.UsageByDay
			default:
				return usage("--by must be hour or day")
			}
			return c.onService(cmd, func(ctx context.Context, svc *keyfold.Service) error {
				if err := filter.findUser(ctx, svc, &report.UserID); err != nil {
					return err
				}
				counted, err := svc.UsageReport(ctx, report)
				if err != nil {
					return err
				}
				if flags.asJSON {
					return c.printJSON(counted)
				}
				return reportTable(&counted, strings.ToUpper(by)).print(c)
			})
		},
	}
	cmd.Flags().StringVar(&by, "by", "hour", "`unit` of the report: hour or day")
	filter.add(cmd, "only from this `time` on (default 24 hours before --to; by day, 30 days)")
	flags.add(cmd)
	return cmd
}

// reportTable has a column for each outcome that occurred.
func reportTable(report *keyfold.UsageReport, unit string) *table {
	total := map[keyfold.Outcome]int64{}
	for _, interval := range report.Intervals {
		for code, n := range interval.Count {
			total[code] += n
		}
	}
	heads := []string{unit + "!", "ALLOWED"}
	for _, code := range outcomes()[1:] {
		heads = append(heads, strings.ToUpper(code.String())+"?")
	}
	t := newTable("usage", heads...)
	row := func(name string, count map[keyfold.Outcome]int64) {
		cells := []string{name}
		for _, code := range outcomes() {
			n := ""
			if count[code] > 0 {
				n = strconv.FormatInt(count[code], 10)
			}
			cells = append(cells, n)
		}
		t.add(cells...)
	}
	for _, interval := range report.Intervals {
		row(shortTime(interval.StartAt), interval.Count)
	}
	row("total", total)
	return t
}
