package faulttest_test

import (
	"math"
	"sync"
	"time"
)

// moment is a time of a run, counted from its start by a clock that never jumps.
type moment = time.Duration

// never is the moment of what has not happened.
const never = moment(math.MaxInt64)

// end is what stops a key or a user for good.
type end struct {
	asked  moment // when the first request for it was sent
	acked  moment // when one was answered for
	revoke bool   // by a revocation, of a key, or the disabling of a user
}

func alive() end { return end{asked: never, acked: never} }

// subject is a user, as the clients know it.
type subject struct {
	id string

	mu  sync.Mutex // held while it is changed
	end end
}

// key is a key as the clients know it: what they asked for and were told.
type key struct {
	id, token string
	user      *subject // nil for none

	mu        sync.Mutex // held while it is changed
	end       end
	expires   []time.Time // one of them is its end; more than one while a renewal may or may not have been made
	from, to  string      // the keys before and after it, as told
	maybeNext bool        // a rotation may or may not have been made
}

// stopped returns the end of a key or of its user, whichever came first.
func (k *key) stopped() end {
	e := k.end
	if k.user != nil {
		e.asked, e.acked = min(e.asked, k.user.end.asked), min(e.acked, k.user.end.acked)
	}
	return e
}

// verdict is how a verify was answered.
type verdict uint8

const (
	allowed     verdict = iota
	refused             // 401
	unavailable         // 503
	unanswered          // the connection failed
)

// verify is one that a client has made.
type verify struct {
	key          *key
	began, ended moment
	verdict      verdict
	life         *life
}

// life is one process, from its start to its end.
type life struct {
	sync   bool   // it stores a use before it answers
	killed moment // never, if it was stopped in order
}

// history is what the clients of a run did.
type history struct {
	keys     []*key
	users    []*subject
	verifies []verify
	broken   []string      // answers that no client should get
	gap      time.Duration // how long nothing ran at all, at most
}
