package keyfold

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"
)

// outageInterval is the least time between two lines about verifies that ended
// with an [ErrUnavailable].
const outageInterval = 10 * time.Second

// outages logs why verifies are refused with an [ErrUnavailable]. A middleware
// answers them with a bare 503, so without the log an administrator would not
// learn the reason.
type outages struct {
	next   atomic.Int64 // unix milliseconds: before it, nothing is logged
	untold atomic.Int64 // verifies since the last line
}

// report logs the error of a verify, unless its caller went away or a line was
// logged a moment ago.
func (o *outages) report(ctx context.Context, log *slog.Logger, now int64, err error) {
	if ctx.Err() != nil {
		return
	}
	next := o.next.Load()
	if now < next || !o.next.CompareAndSwap(next, now+outageInterval.Milliseconds()) {
		o.untold.Add(1)
		return
	}
	log.Warn("keyfold: a request was refused because its key could not be checked",
		slog.Any("error", err), slog.Int64("omitted", o.untold.Swap(0)))
}
