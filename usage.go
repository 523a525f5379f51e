package keyfold

import "time"

// UsageEvent is one verify. Events are kept for verifies whose secret was
// right, and for a bounded sample of the others; counts are exact for all.
type UsageEvent struct {
	At        time.Time
	Seq       int64  // orders events of one millisecond; no other meaning
	KeyID     string // empty for a sampled refusal that no key can be held to
	Code      Code   // what was decided
	Route     string // as given in Request.Route: "GET /reports"
	IP        string // as given in Request.IP
	RequestID string // empty unless Options.RecordRequestID
	UserAgent string // empty unless Options.RecordUserAgent
}
