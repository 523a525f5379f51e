package keyfold

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync/atomic"
	"time"

	"github.com/keyfold/keyfold/internal/clock"
)

// A pepper with a typo would make keys that no other process accepts, for good:
// each rehashed key would be lost. So the database holds a check value for each
// pepper id. The first process that hashes under that id writes it, and a process
// with another value fails its check.
type pepperChecks struct {
	values map[string]string             // of this process, by the id of the pepper
	sign   string                        // the id of the pepper that new keys are hashed with
	agreed atomic.Pointer[clock.Instant] // when each pepper was last found to agree
}

// newPepperChecks must be given the options while they still have the peppers.
func newPepperChecks(o *Options) *pepperChecks {
	p := &pepperChecks{values: make(map[string]string, len(o.Peppers)), sign: o.CurrentPepper}
	for id, pepper := range o.Peppers {
		p.values[id] = pepperCheck(id, pepper)
	}
	return p
}

// pepperRecheck is how long an agreement is relied on. A check value does not
// change, unless it is removed by hand or another database is restored.
const pepperRecheck = time.Minute

// pepperSetting is the name of the setting that holds the check value of a pepper.
func pepperSetting(id string) string { return "pepper." + id }

// pepperCheck returns the check value of a pepper. It says no more about the
// pepper than the hash of a key does, because it is hashed in the same way. The
// label is shorter than what keys are hashed as, so it is the hash of none.
func pepperCheck(id string, pepper []byte) string {
	mac := hmac.New(sha256.New, pepper)
	mac.Write([]byte("keyfold pepper\x00" + id))
	return hex.EncodeToString(mac.Sum(nil))
}

// check compares all peppers. A pepper that this process only verifies with has no
// check value until another process hashes with it, so it is looked for each time.
func (p *pepperChecks) check(ctx context.Context, store Store, now clock.Instant) error {
	if at := p.agreed.Load(); len(p.values) == 0 || at != nil && at.Age(now) < pepperRecheck {
		return nil
	}
	complete := true
	for _, id := range slices.Sorted(maps.Keys(p.values)) {
		value := p.values[id]
		stored, err := store.Setting(ctx, pepperSetting(id))
		if errors.Is(err, ErrNotFound) {
			if id != p.sign {
				complete = false
				continue
			}
			stored, err = store.AddSetting(ctx, pepperSetting(id), value)
		}
		if err != nil {
			return err
		}
		if !hmac.Equal([]byte(stored), []byte(value)) {
			p.agreed.Store(nil)
			return fmt.Errorf("%w: the pepper %q has another value in this process than in the process that used it first",
				ErrCheckFailed, id)
		}
	}
	if complete {
		p.agreed.Store(&now)
	}
	return nil
}
