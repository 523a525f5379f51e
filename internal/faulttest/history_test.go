package faulttest_test

import (
	"math"
	"sync"
	"time"
)

// moment is the time since the start of a run, measured with a monotonic clock.
type moment = time.Duration

// never is the moment of an event that has not happened.
const never = moment(math.MaxInt64)

// end is a change after which a key or a user never works again.
type end struct {
	asked  moment // when the first request for it was sent
	acked  moment // when a response confirmed the change
	revoke bool   // by a revocation, of a key, or the disabling of a user
}

func alive() end { return end{asked: never, acked: never} }

// subject is a user, according to the responses to clients.
type subject struct {
	id string

	mu  sync.Mutex // held while it is changed
	end end
}

// key is a key, according to the requests and the responses of clients.
type key struct {
	id, token string
	user      *subject // nil if the key has no user

	mu        sync.Mutex // held while it is changed
	end       end
	expires   []time.Time // one of them is its end; more than one while a renewal may or may not have been made
	from, to  string      // the keys before and after it, as told
	maybeNext bool        // a rotation may or may not have been made
}

// stopped returns the end of the key or the end of its user, whichever came first.
func (k *key) stopped() end {
	e := k.end
	if k.user != nil {
		e.asked, e.acked = min(e.asked, k.user.end.asked), min(e.acked, k.user.end.acked)
	}
	return e
}

// verdict is the response to a verify.
type verdict uint8

const (
	allowed     verdict = iota
	refused             // 401
	unavailable         // 503
	unanswered          // the connection failed
)

// verify is a verify that a client has requested.
type verify struct {
	key          *key
	began, ended moment
	verdict      verdict
	life         *life
}

// life is the time from the start to the end of a process.
type life struct {
	sync   bool   // the process stores a use before it responds
	killed moment // never if the process was not killed
}

// history contains all requests of a run and their results.
type history struct {
	keys     []*key
	users    []*subject
	verifies []verify
	broken   []string      // answers that no client should get
	gap      time.Duration // the longest time in which the machine did not run the test
}
