package faulttest_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keyfold/keyfold"
)

// promises are the guarantees that a run must keep.
type promises struct {
	heard time.Duration // a verify is refused if it begins this long after the response to the revocation
	loss  time.Duration // a killed process may lose the uses of this time before its end, unless it stores them first
}

// stored is the state of a key in the database after a run.
type stored struct {
	keyfold.Key
	hours int64 // the sum of the hourly counts
}

// remains is the content of the database after a run, by ID.
type remains struct {
	keys  map[string]stored
	users map[string]keyfold.User
}

// verdicts is the result of a check.
type verdicts struct {
	wrongAllows, wrongRefusals, lostChanges, wrongUses []string

	latest         time.Duration // the longest time from the response to a key's end until an allowed verify began
	uses, lostUses int64
}

func (v *verdicts) violations() []string {
	return slices.Concat(v.wrongAllows, v.wrongRefusals, v.lostChanges, v.wrongUses)
}

// check compares the responses to clients with each other and with the database.
func check(h *history, r remains, p promises) *verdicts {
	v := &verdicts{}
	for _, k := range h.keys {
		v.checkKey(k, r)
	}
	for _, u := range h.users {
		if got, ok := r.users[u.id]; !ok {
			v.lost("user %s is gone", u.id)
		} else if u.end.acked != never && got.DisabledAt.IsZero() {
			v.lost("user %s was disabled and is not", u.id)
		}
	}
	counts := map[*key]*count{}
	for _, k := range h.keys {
		counts[k] = &count{}
	}
	for _, verify := range h.verifies {
		v.checkVerify(verify, p)
		counts[verify.key].add(verify, p)
	}
	for k, c := range counts {
		got := r.keys[k.id]
		v.uses += got.Uses
		v.lostUses += max(0, c.answered-got.Uses)
		if got.Uses < c.answered-c.mayBeLost || got.Uses > c.answered+c.unsure || got.hours != got.Uses {
			v.wrongUses = append(v.wrongUses, fmt.Sprintf("key %s has %d uses and %d in hours; %d verifies were answered, of which %d may be lost, and %d more may count",
				k.id, got.Uses, got.hours, c.answered, c.mayBeLost, c.unsure))
		}
	}
	return v
}

func (v *verdicts) lost(format string, args ...any) {
	v.lostChanges = append(v.lostChanges, fmt.Sprintf(format, args...))
}

func (v *verdicts) checkKey(k *key, r remains) {
	got, ok := r.keys[k.id]
	if !ok {
		v.lost("key %s was created and is not there", k.id)
		return
	}
	if k.end.revoke && k.end.acked != never && got.RevokedAt.IsZero() {
		v.lost("key %s was revoked and is not", k.id)
	}
	if k.end.asked == never && !got.RevokedAt.IsZero() {
		v.lost("key %s was revoked without a request", k.id)
	}
	if got.RotatedFrom != k.from || got.RotatedTo != k.to && !k.maybeNext {
		v.lost("key %s stands between %q and %q, want %q and %q", k.id, got.RotatedFrom, got.RotatedTo, k.from, k.to)
	}
	if got.RotatedTo == "" && !slices.ContainsFunc(k.expires, got.ExpiresAt.Equal) {
		v.lost("key %s ends at %v, want one of %v", k.id, got.ExpiresAt, k.expires)
	}
}

func (v *verdicts) checkVerify(verify verify, p promises) {
	end := verify.key.stopped()
	switch {
	case verify.verdict == allowed && end.acked != never && verify.began > end.acked:
		late := verify.began - end.acked
		v.latest = max(v.latest, late)
		if late > p.heard {
			v.wrongAllows = append(v.wrongAllows, fmt.Sprintf("key %s was allowed by a verify that began %v after its end was answered for", verify.key.id, late))
		}
	case verify.verdict == refused && verify.ended < end.asked:
		v.wrongRefusals = append(v.wrongRefusals, fmt.Sprintf("key %s was refused at %v although it had not been stopped", verify.key.id, verify.ended))
	}
}

// count is the number of uses of a key, according to the responses to clients.
type count struct {
	answered  int64 // verifies that were allowed
	mayBeLost int64 // allowed verifies that the process may have lost
	unsure    int64 // verifies without a response, which may have been counted
}

func (c *count) add(v verify, p promises) {
	switch {
	case v.verdict == allowed:
		c.answered++
		if !v.life.sync && v.life.killed != never && v.ended >= v.life.killed-p.loss {
			c.mayBeLost++
		}
	case v.verdict == unanswered, v.verdict == unavailable && v.life.sync:
		c.unsure++
	}
}

// look reads the keys and the users of a history from the database.
func look(ctx context.Context, store keyfold.Store, h *history) (remains, error) {
	r := remains{keys: map[string]stored{}, users: map[string]keyfold.User{}}
	now := time.Now()
	for _, k := range h.keys {
		record, err := store.Key(ctx, k.id)
		if errors.Is(err, keyfold.ErrNotFound) {
			continue
		}
		if err != nil {
			return r, err
		}
		got := stored{Key: record.Key}
		hours, err := store.UsageHours(ctx, keyfold.UsageScan{
			KeyID: k.id, From: now.Add(-24 * time.Hour), To: now.Add(24 * time.Hour), Outcomes: []keyfold.Outcome{keyfold.OutcomeAllowed},
		})
		if err != nil {
			return r, err
		}
		for _, hour := range hours {
			got.hours += hour.Count
		}
		r.keys[k.id] = got
	}
	for _, u := range h.users {
		record, err := store.User(ctx, u.id)
		if err == nil {
			r.users[u.id] = record.User
		} else if !errors.Is(err, keyfold.ErrNotFound) {
			return r, err
		}
	}
	return r, nil
}

// honest returns a short history and the database that matches it. One key was revoked
// at 2 s. The user of the other key was disabled at 3 s. Each key was used once before,
// the second key by a process that was killed at 10 s.
func honest() (*history, remains) {
	ends := time.Now().Add(time.Hour)
	user := &subject{id: "u", end: end{asked: 2900 * time.Millisecond, acked: 3 * time.Second}}
	revoked := &key{id: "a", end: end{asked: 1900 * time.Millisecond, acked: 2 * time.Second, revoke: true}, expires: []time.Time{ends}}
	users := &key{id: "b", user: user, end: alive(), expires: []time.Time{ends}}
	calm, killed := &life{killed: never}, &life{killed: 10 * time.Second}
	h := &history{keys: []*key{revoked, users}, users: []*subject{user}, verifies: []verify{
		{revoked, time.Second, time.Second, allowed, calm},
		{revoked, 4 * time.Second, 4 * time.Second, refused, calm},
		{users, time.Second, time.Second, allowed, killed},
		{users, 5 * time.Second, 5 * time.Second, refused, killed},
	}}
	r := remains{users: map[string]keyfold.User{"u": {DisabledAt: time.Now()}}, keys: map[string]stored{
		"a": {keyfold.Key{RevokedAt: time.Now(), ExpiresAt: ends, Uses: 1}, 1},
		"b": {keyfold.Key{ExpiresAt: ends, Uses: 1}, 1},
	}}
	return h, r
}

// TestCheckFindsPlantedFaults shows that the check of a run can fail.
func TestCheckFindsPlantedFaults(t *testing.T) {
	t.Parallel()
	p := promises{heard: 1200 * time.Millisecond, loss: time.Second}
	edit := func(r remains, id string, change func(*stored)) {
		s := r.keys[id]
		change(&s)
		r.keys[id] = s
	}
	use := func(h *history, k int, at moment, v verdict) {
		h.verifies = append(h.verifies, verify{h.keys[k], at, at, v, h.verifies[2*k].life})
	}
	for _, test := range []struct {
		name  string
		plant func(*history, remains)
		want  string // in the one violation; empty for none
	}{
		{"nothing", func(*history, remains) {}, ""},
		{"an allow within the bound", func(h *history, r remains) {
			use(h, 0, 3200*time.Millisecond, allowed)
			edit(r, "a", func(s *stored) { s.Uses, s.hours = 2, 2 })
		}, ""},
		{"an allow beyond the bound", func(h *history, r remains) {
			use(h, 0, 3201*time.Millisecond, allowed)
			edit(r, "a", func(s *stored) { s.Uses, s.hours = 2, 2 })
		}, "was allowed by a verify that began 1.201s after"},
		{"an allow after the user was disabled", func(h *history, r remains) {
			use(h, 1, 5*time.Second, allowed)
			edit(r, "b", func(s *stored) { s.Uses, s.hours = 2, 2 })
		}, "was allowed"},
		{"a refusal of a good key", func(h *history, _ remains) { use(h, 0, time.Second, refused) }, "was refused"},
		{"a renewal that is gone", func(_ *history, r remains) {
			edit(r, "b", func(s *stored) { s.ExpiresAt = s.ExpiresAt.Add(time.Second) })
		}, "ends at"},
		{"a revocation that is gone", func(_ *history, r remains) { edit(r, "a", func(s *stored) { s.RevokedAt = time.Time{} }) }, "was revoked and is not"},
		{"a revocation without a request", func(_ *history, r remains) { edit(r, "b", func(s *stored) { s.RevokedAt = time.Now() }) }, "without a request"},
		{"a user who is enabled again", func(_ *history, r remains) { r.users["u"] = keyfold.User{} }, "was disabled and is not"},
		{"a user who is gone", func(_ *history, r remains) { delete(r.users, "u") }, "user u is gone"},
		{"a rotation that is gone", func(h *history, _ remains) { h.keys[1].to = "c" }, "stands between"},
		{"a renewal that may have been made", func(h *history, r remains) {
			h.keys[1].expires = append(h.keys[1].expires, time.Unix(1, 0))
			edit(r, "b", func(s *stored) { s.ExpiresAt = time.Unix(1, 0) })
		}, ""},
		{"a use that is gone", func(_ *history, r remains) { edit(r, "a", func(s *stored) { s.Uses, s.hours = 0, 0 }) }, "has 0 uses"},
		{"a use that counts twice", func(_ *history, r remains) { edit(r, "a", func(s *stored) { s.Uses, s.hours = 2, 2 }) }, "has 2 uses"},
		{"an hour that is short of a use", func(_ *history, r remains) { edit(r, "a", func(s *stored) { s.hours = 0 }) }, "0 in hours"},
		{"a use that a killed process lost", func(h *history, _ remains) {
			h.keys[1].user = nil
			use(h, 1, 9*time.Second, allowed)
			h.verifies = slices.Delete(h.verifies, 3, 4)
		}, ""},
		{"an old use that a killed process lost", func(h *history, _ remains) {
			h.keys[1].user = nil
			use(h, 1, 8999*time.Millisecond, allowed)
			h.verifies = slices.Delete(h.verifies, 3, 4)
		}, "has 1 uses"},
		{"a use that a killed process had to store first", func(h *history, _ remains) {
			h.keys[1].user = nil
			use(h, 1, 9*time.Second, allowed)
			h.verifies = slices.Delete(h.verifies, 3, 4)
			h.verifies[2].life.sync = true
		}, "has 1 uses"},
		{"a use without an answer", func(h *history, r remains) {
			use(h, 0, time.Second, unanswered)
			edit(r, "a", func(s *stored) { s.Uses, s.hours = 2, 2 })
		}, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			h, r := honest()
			test.plant(h, r)
			got := check(h, r, p).violations()
			if test.want == "" && len(got) == 0 {
				return
			}
			if len(got) != 1 || test.want == "" || !strings.Contains(got[0], test.want) {
				t.Errorf("%q, want one violation with %q, or none if that is empty", got, test.want)
			}
		})
	}
	t.Run("a created key that is gone", func(t *testing.T) {
		t.Parallel()
		h, r := honest()
		delete(r.keys, "b")
		if got := check(h, r, p); len(got.lostChanges) != 1 || len(got.wrongUses) != 1 {
			t.Errorf("%q, want a lost change and a lost use", got.violations())
		}
	})
}
