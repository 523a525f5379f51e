package httpadapter

import (
	"sync"
	"time"

	"github.com/keyfold/keyfold"
)

// InFlight limits how many requests of one key may be in progress at the same time in
// this process. It is for handlers that hold something scarce until they return, such
// as a connection, a large buffer or a slow upstream. Requests above the limit are
// answered with 429 at once; they do not wait.
//
// As an option of a [Guard], InFlight counts the requests of a key in all middlewares of
// the Guard together. As an option of one middleware, it counts those of the middleware.
// A request that passes through nested middlewares counts once. A request that is
// refused has been verified, and the usage log has it as allowed.
//
// InFlight panics if requests is less than 1.
func InFlight(requests int) Option {
	if requests < 1 {
		panic("keyfold/httpadapter: InFlight must permit at least 1 request")
	}
	return func(c *config) { c.inFlight = &inFlight{limit: requests} }
}

// inFlight counts the requests that are in progress.
type inFlight struct {
	limit int

	counts struct {
		sync.Mutex
		byKey map[string]int // no entry for a key without requests
	}
}

// enter counts a request of the key, or reports false if there are too many.
func (f *inFlight) enter(keyID string) bool {
	f.counts.Lock()
	defer f.counts.Unlock()
	n := f.counts.byKey[keyID]
	if n >= f.limit {
		return false
	}
	if f.counts.byKey == nil {
		f.counts.byKey = map[string]int{}
	}
	f.counts.byKey[keyID] = n + 1
	return true
}

// leave takes back what enter counted.
func (f *inFlight) leave(keyID string) {
	f.counts.Lock()
	defer f.counts.Unlock()
	if f.counts.byKey[keyID]--; f.counts.byKey[keyID] == 0 {
		delete(f.counts.byKey, keyID)
	}
}

// tooManyInFlight is the [keyfold.ErrRateLimited] for a key with too many requests in
// progress.
type tooManyInFlight struct{}

func (tooManyInFlight) Error() string {
	return "keyfold: too many requests of this key are in progress"
}
func (tooManyInFlight) Unwrap() error             { return keyfold.ErrRateLimited }
func (tooManyInFlight) RetryAfter() time.Duration { return shortestRetry }
