package storetest

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"time"

	"github.com/keyfold/keyfold"
)

func throttleCases() []testCase {
	return []testCase{
		{name: "a database has one ID, also in a transaction", run: databaseID},
		{name: "a value in every column of a throttle is returned, even after it has expired", run: everyThrottleColumn},
		{name: "an unknown throttle returns ErrNotFound", run: unknownThrottle},
		{name: "names of throttles are compared byte by byte", run: throttlesAreOpaque},
		{name: "each attempt is counted according to the rule", run: attemptsCount},
		{name: "an expired throttle has no effect", run: expiredThrottle},
		{name: "a bucket refills one attempt at a time", run: bucketDrips},
		{name: "if one throttle blocks, no attempt is counted, and the throttle that blocks longest is returned", run: blockedAttempt},
		{name: "a block ends at its end time, or when its throttle expires", run: blockEnds},
		{name: "each of a hundred concurrent reservations is counted", run: racingAttempts},
		{name: "concurrent reservations of several names in any order are all counted", run: racingAttemptsOnNames},
		{name: "no concurrent reservation succeeds after a name is blocked", run: racingAttemptsAreBlocked},
		{name: "an attempt result clears, refunds and trusts only the throttles that it names", run: attemptResult},
		{name: "an attempt result skips missing throttles, but creates the trusted ones", run: attemptResultOfAbsent},
		{name: "concurrent refunds are all counted", run: racingRefunds},
		{name: "an unlock applies its result and is audited", run: unlockUser},
		{name: "an unlock of an unknown user changes nothing", run: unlockUnknownUser},
		{name: "an empty reservation and an empty result change nothing", run: emptyAttempt},
		{name: "throttles write neither change rows nor audit rows", run: throttlesWriteNoRows, alone: true},
		{name: "only expired throttles are pruned", run: pruneThrottlesBound},
		{name: "pruning throttles respects the limit and reports whether more remain", run: pruneThrottlesInSteps},
	}
}

func databaseID(t *trial) {
	id, err := t.store.DatabaseID(t.ctx)
	t.wantNoError("DatabaseID", err)
	if len(id) < 16 {
		t.Errorf("DatabaseID: got %d characters, want at least 16", len(id))
	}
	again, err := t.store.DatabaseID(t.ctx)
	t.wantNoError("DatabaseID", err)
	t.wantEqual("DatabaseID", again, id)
	if !t.hasTx() {
		return
	}
	t.wantNoError("InTx", t.store.InTx(t.ctx, func(tx keyfold.Store) error {
		again, err := tx.DatabaseID(t.ctx)
		t.wantEqual("DatabaseID within a transaction", again, id)
		return err
	}))
}

// lax is a rule that never blocks in a case.
var lax = keyfold.ThrottleRule{Burst: 1 << 40, InitialDelay: time.Second, MaxDelay: time.Minute, ResetAfter: time.Hour}

// strict is a rule that blocks after the first attempt.
var strict = keyfold.ThrottleRule{Burst: 2, InitialDelay: 10 * time.Second, MaxDelay: time.Minute, ResetAfter: time.Hour}

// reservations returns reservations of names under one rule.
func reservations(rule keyfold.ThrottleRule, names ...string) []keyfold.ThrottleReservation {
	reserved := make([]keyfold.ThrottleReservation, len(names))
	for i, name := range names {
		reserved[i] = keyfold.ThrottleReservation{Name: name, Rule: rule}
	}
	return reserved
}

// wantThrottle returns a throttle, which must exist.
func (t *trial) wantThrottle(name string) keyfold.Throttle {
	t.Helper()
	row, err := t.store.Throttle(t.ctx, name)
	t.wantNoError("Throttle", err)
	return row
}

// wantThrottles checks that the throttles exist unchanged.
func (t *trial) wantThrottles(what string, rows ...keyfold.Throttle) {
	t.Helper()
	for _, row := range rows {
		t.wantEqual(what+": Throttle", t.wantThrottle(row.Name), row)
	}
}

// wantNoThrottle checks that a name has no throttle.
func (t *trial) wantNoThrottle(name string) {
	t.Helper()
	_, err := t.store.Throttle(t.ctx, name)
	t.wantError("Throttle", err, keyfold.ErrNotFound)
}

// wantReserved counts an attempt, which must not be blocked.
func (t *trial) wantReserved(rule keyfold.ThrottleRule, at time.Time, names ...string) {
	t.Helper()
	blocking, err := t.store.ReserveAttempt(t.ctx, reservations(rule, names...), at)
	t.wantNoError("ReserveAttempt", err)
	t.wantEqual(fmt.Sprintf("ReserveAttempt of %q", names), blocking, keyfold.Throttle{})
}

// wantBlocked checks that an attempt is blocked by a throttle.
func (t *trial) wantBlocked(rule keyfold.ThrottleRule, at time.Time, want keyfold.Throttle, names ...string) {
	t.Helper()
	blocking, err := t.store.ReserveAttempt(t.ctx, reservations(rule, names...), at)
	t.wantNoError("ReserveAttempt", err)
	t.wantEqual(fmt.Sprintf("ReserveAttempt of %q", names), blocking, want)
}

func everyThrottleColumn(t *trial) {
	at := time.UnixMilli(1_767_225_599_999).UTC() // long ago, so that the throttle has expired
	row := keyfold.Throttle{Name: "name '\\ " + t.id(), Attempts: 2, BlockedUntil: at.Add(10 * time.Second), ExpiresAt: at.Add(59 * time.Minute)}
	for _, field := range zeroFields("Throttle", reflect.ValueOf(row)) {
		t.Errorf("the suite's own throttle has nothing in %s: give it a value", field)
	}
	t.wantReserved(strict, at.Add(-time.Minute), row.Name)
	t.wantThrottles("after one attempt", keyfold.Throttle{Name: row.Name, Attempts: 1, ExpiresAt: at.Add(59 * time.Minute)})
	t.wantReserved(strict, at, row.Name)
	t.wantThrottles("after two attempts", row)
}

func unknownThrottle(t *trial) {
	t.wantReserved(lax, t.now(), t.id())
	for _, name := range []string{t.id(), "", " ", "%"} {
		t.wantNoThrottle(name)
	}
}

func throttlesAreOpaque(t *trial) {
	names, at := variants(), t.now()
	for i, name := range names {
		for range i + 1 {
			t.wantReserved(lax, at, name)
		}
	}
	for i, name := range names {
		t.wantThrottles("one of many", keyfold.Throttle{Name: name, Attempts: int64(i + 1), ExpiresAt: at.Add(lax.ResetAfter)})
	}
	t.wantNoError("RecordAttemptResult", t.store.RecordAttemptResult(t.ctx, keyfold.AttemptResult{Clear: names[:1], Refund: reservations(lax, names[1])}))
	t.wantNoThrottle(names[0])
	for i, name := range names[2:] {
		t.wantThrottles("one of many", keyfold.Throttle{Name: name, Attempts: int64(i + 3), ExpiresAt: at.Add(lax.ResetAfter)})
	}
}

func attemptsCount(t *trial) {
	rule := keyfold.ThrottleRule{Burst: 3, InitialDelay: 20 * time.Second, MaxDelay: time.Minute, ResetAfter: 2 * time.Hour}
	name, at := t.id(), t.now()
	end := at.Add(rule.ResetAfter) // a day begins with the first attempt
	for i, wait := range []time.Duration{0, 0, 20 * time.Second, 40 * time.Second, time.Minute, time.Minute} {
		row := keyfold.Throttle{Name: name, Attempts: int64(i + 1), ExpiresAt: end}
		if wait > 0 {
			row.BlockedUntil = at.Add(wait)
		}
		t.wantReserved(rule, at, name)
		t.wantThrottles(fmt.Sprint("after attempt ", i+1), row)
		if wait > 0 {
			t.wantBlocked(rule, at, row, name)
			t.wantThrottles(fmt.Sprint("blocked after attempt ", i+1), row)
		}
		at = at.Add(wait)
	}
}

func expiredThrottle(t *trial) {
	for _, delay := range []time.Duration{0, time.Millisecond, 1000 * time.Hour} {
		name, at := t.id(), t.now()
		t.wantReserved(strict, at, name)
		t.wantReserved(strict, at, name)
		at = at.Add(strict.ResetAfter + delay)
		t.wantReserved(strict, at, name)
		t.wantThrottles("after a new start", keyfold.Throttle{Name: name, Attempts: 1, ExpiresAt: at.Add(strict.ResetAfter)})
	}
	name, at := t.id(), t.now()
	t.wantReserved(lax, at, name)
	end := at.Add(lax.ResetAfter)
	t.wantReserved(lax, end.Add(-time.Millisecond), name)
	t.wantThrottles("just before it expires", keyfold.Throttle{Name: name, Attempts: 2, ExpiresAt: end})
}

func bucketDrips(t *trial) {
	rule := keyfold.ThrottleRule{Burst: 3, RefillInterval: time.Minute}
	name, at := t.id(), t.now()
	row := func(attempts int64, full time.Duration) keyfold.Throttle {
		full0 := at.Add(full)
		return keyfold.Throttle{Name: name, Attempts: attempts, BlockedUntil: full0.Add(-2 * rule.RefillInterval), ExpiresAt: full0}
	}
	for i := range 3 {
		t.wantReserved(rule, at, name)
		t.wantThrottles("of a full bucket", row(int64(i+1), time.Duration(i+1)*rule.RefillInterval))
	}
	empty := row(3, 3*rule.RefillInterval)
	t.wantBlocked(rule, at, empty, name)
	t.wantBlocked(rule, at.Add(rule.RefillInterval-time.Millisecond), empty, name)
	t.wantReserved(rule, at.Add(rule.RefillInterval), name)
	t.wantThrottles("when one attempt came back", row(4, 4*rule.RefillInterval))
	t.wantBlocked(rule, at.Add(rule.RefillInterval), row(4, 4*rule.RefillInterval), name)
	t.wantNoError("RecordAttemptResult", t.store.RecordAttemptResult(t.ctx, keyfold.AttemptResult{Refund: reservations(rule, name)}))
	refunded := row(3, 3*rule.RefillInterval)
	refunded.BlockedUntil = time.Time{}
	t.wantThrottles("after a refund", refunded)
	t.wantReserved(rule, at.Add(rule.RefillInterval), name)
	at = at.Add(4 * rule.RefillInterval)
	t.wantReserved(rule, at, name)
	t.wantThrottles("when it is full again", row(1, rule.RefillInterval))
}

func blockedAttempt(t *trial) {
	free, soon, last, fresh := "free "+t.id(), "soon "+t.id(), "last "+t.id(), "fresh "+t.id()
	at := t.now()
	t.wantReserved(strict, at, free)
	for range 2 {
		t.wantReserved(strict, at, soon)
	}
	for range 2 {
		t.wantReserved(strict, at.Add(time.Second), last)
	}
	rows := []keyfold.Throttle{t.wantThrottle(free), t.wantThrottle(soon), t.wantThrottle(last)}
	at = at.Add(2 * time.Second)
	for _, row := range []struct {
		names    []string
		blocking keyfold.Throttle
	}{
		{[]string{soon}, rows[1]},
		{[]string{free, soon}, rows[1]},
		{[]string{soon, fresh}, rows[1]},
		{[]string{fresh, last, free}, rows[2]},
		{[]string{soon, last}, rows[2]},
		{[]string{last, free, soon, fresh}, rows[2]},
	} {
		t.wantBlocked(strict, at, row.blocking, row.names...)
		t.wantThrottles("after a blocked attempt", rows...)
		t.wantNoThrottle(fresh)
	}
	t.wantReserved(strict, at, free, fresh)
	t.wantThrottles("of two that are not blocked",
		keyfold.Throttle{Name: free, Attempts: 2, BlockedUntil: at.Add(strict.InitialDelay), ExpiresAt: rows[0].ExpiresAt},
		keyfold.Throttle{Name: fresh, Attempts: 1, ExpiresAt: at.Add(strict.ResetAfter)})
}

func blockEnds(t *trial) {
	name, at := t.id(), t.now()
	t.wantReserved(strict, at, name)
	t.wantReserved(strict, at, name)
	row := t.wantThrottle(name)
	end := at.Add(strict.InitialDelay)
	t.wantBlocked(strict, end.Add(-time.Millisecond), row, name)
	t.wantReserved(strict, end, name)
	t.wantThrottles("when the block has ended",
		keyfold.Throttle{Name: name, Attempts: 3, BlockedUntil: end.Add(2 * strict.InitialDelay), ExpiresAt: row.ExpiresAt})

	// No rule creates a block that ends after its throttle, but a database may contain one.
	short := keyfold.ThrottleRule{Burst: 1, InitialDelay: time.Hour, MaxDelay: time.Hour, ResetAfter: time.Minute}
	name = t.id()
	t.wantReserved(short, at, name)
	t.wantBlocked(short, at.Add(short.ResetAfter-time.Millisecond), t.wantThrottle(name), name)
	t.wantReserved(lax, at.Add(short.ResetAfter), name)
	t.wantThrottles("when the throttle has ended",
		keyfold.Throttle{Name: name, Attempts: 1, ExpiresAt: at.Add(short.ResetAfter + lax.ResetAfter)})
}

// reserve counts an attempt that must not be blocked. It retries after ErrRetry.
func (t *trial) reserve(at time.Time, names ...string) error {
	return again(func() error {
		blocking, err := t.store.ReserveAttempt(t.ctx, reservations(lax, names...), at)
		if err == nil && blocking != (keyfold.Throttle{}) {
			err = fmt.Errorf("blocked by %+v", blocking)
		}
		return err
	})
}

func racingAttempts(t *trial) {
	racers := t.scale(100)
	name, at := t.id(), t.now()
	errs := race(racers, func(int) error { return t.reserve(at, name) })
	t.wantNoError("racing reservations", errors.Join(errs...))
	t.wantThrottles("after racing reservations", keyfold.Throttle{Name: name, Attempts: int64(racers), ExpiresAt: at.Add(lax.ResetAfter)})
}

func racingAttemptsOnNames(t *trial) {
	const racers, rounds = 8, 5
	names, at := []string{"a " + t.id(), "b " + t.id(), "c " + t.id()}, t.now()
	backwards := slices.Clone(names)
	slices.Reverse(backwards)
	errs := race(racers, func(i int) error {
		for range rounds {
			order := names
			if i%2 == 1 {
				order = backwards
			}
			if err := t.reserve(at, order...); err != nil {
				return err
			}
		}
		return nil
	})
	t.wantNoError("racing reservations", errors.Join(errs...))
	for _, name := range names {
		t.wantThrottles("after racing reservations", keyfold.Throttle{Name: name, Attempts: racers * rounds, ExpiresAt: at.Add(lax.ResetAfter)})
	}
}

func racingAttemptsAreBlocked(t *trial) {
	const racers = 20
	name, at := t.id(), t.now()
	blocking := make([]keyfold.Throttle, racers)
	errs := race(racers, func(i int) error {
		return again(func() (err error) {
			blocking[i], err = t.store.ReserveAttempt(t.ctx, reservations(strict, name), at)
			return err
		})
	})
	t.wantNoError("racing reservations", errors.Join(errs...))
	passed := 0
	for _, row := range blocking {
		if row == (keyfold.Throttle{}) {
			passed++
			continue
		}
		t.wantEqual("the end of a racing reservation's block", row.BlockedUntil, at.Add(strict.InitialDelay))
	}
	if passed != int(strict.Burst) {
		t.Errorf("%d of %d racing reservations passed, want %d", passed, racers, strict.Burst)
	}
	t.wantThrottles("after racing reservations", keyfold.Throttle{
		Name: name, Attempts: strict.Burst, BlockedUntil: at.Add(strict.InitialDelay), ExpiresAt: at.Add(strict.ResetAfter),
	})
}

func attemptResult(t *trial) {
	at := t.now()
	row := func(kind string, attempts int64) keyfold.Throttle {
		row := keyfold.Throttle{Name: kind + " " + t.id(), Attempts: attempts, ExpiresAt: at.Add(strict.ResetAfter - time.Duration(attempts-1)*time.Minute)}
		for n := range attempts {
			t.wantReserved(strict, at.Add(-time.Duration(attempts-n-1)*time.Minute), row.Name)
		}
		if attempts >= strict.Burst {
			row.BlockedUntil = at.Add(strict.InitialDelay << (attempts - strict.Burst))
		}
		t.wantThrottles("as it was", row)
		return row
	}
	kept, forget, refund, blocked, good := row("kept", 1), row("forget", 3), row("refund", 2), row("blocked", 4), row("good", 2)
	fresh := "fresh " + t.id()
	until := at.Add(90*24*time.Hour + time.Millisecond)
	t.wantNoError("RecordAttemptResult", t.store.RecordAttemptResult(t.ctx, keyfold.AttemptResult{
		Clear: []string{forget.Name}, Refund: reservations(strict, refund.Name, blocked.Name), Trusted: []string{good.Name, fresh}, TrustedUntil: until,
	}))
	t.wantNoThrottle(forget.Name)
	// A counted attempt was not blocked, so an attempt after its refund is not blocked
	// either.
	refund.Attempts, refund.BlockedUntil = 1, time.Time{}
	blocked.Attempts, blocked.BlockedUntil = 3, time.Time{}
	t.wantThrottles("after the result", kept, refund, blocked,
		keyfold.Throttle{Name: good.Name, ExpiresAt: until}, keyfold.Throttle{Name: fresh, ExpiresAt: until})
	t.wantReserved(strict, at, refund.Name, good.Name)
	t.wantThrottles("a good one after an attempt", keyfold.Throttle{Name: good.Name, Attempts: 1, ExpiresAt: at.Add(strict.ResetAfter)})
}

func attemptResultOfAbsent(t *trial) {
	forget, refund, good := "forget "+t.id(), "refund "+t.id(), "good "+t.id()
	until := t.now()
	t.wantNoError("RecordAttemptResult", t.store.RecordAttemptResult(t.ctx, keyfold.AttemptResult{
		Clear: []string{forget}, Refund: reservations(strict, refund), Trusted: []string{good}, TrustedUntil: until,
	}))
	t.wantNoThrottle(forget)
	t.wantNoThrottle(refund)
	t.wantThrottles("the good one", keyfold.Throttle{Name: good, ExpiresAt: until})
	// The number of attempts is never negative.
	t.wantNoError("RecordAttemptResult", t.store.RecordAttemptResult(t.ctx, keyfold.AttemptResult{Refund: reservations(strict, good)}))
	t.wantThrottles("the good one", keyfold.Throttle{Name: good, ExpiresAt: until})
}

func racingRefunds(t *trial) {
	const racers, each = 10, 4
	a, b, at := "a "+t.id(), "b "+t.id(), t.now()
	errs := race(racers, func(i int) error {
		for range each {
			if err := t.reserve(at, a, b); err != nil {
				return err
			}
			if i%2 == 0 {
				continue // one that fails
			}
			err := again(func() error {
				return t.store.RecordAttemptResult(t.ctx, keyfold.AttemptResult{Refund: reservations(lax, b, a)})
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
	t.wantNoError("racing reservations and refunds", errors.Join(errs...))
	for _, name := range []string{a, b} {
		t.wantThrottles("after racing refunds", keyfold.Throttle{Name: name, Attempts: racers / 2 * each, ExpiresAt: at.Add(lax.ResetAfter)})
	}
}

func unlockUser(t *trial) {
	user, at := t.addUser(), t.now()
	forget, refund, good := "forget "+t.id(), "refund "+t.id(), "good "+t.id()
	t.wantReserved(strict, at, forget, refund)
	m := t.mutation(t.action(), user.ID)
	cursor := t.cursor()
	t.wantNoError("UnlockUser", t.store.UnlockUser(t.ctx, user.ID, keyfold.AttemptResult{
		Clear: []string{forget}, Refund: reservations(strict, refund), Trusted: []string{good}, TrustedUntil: at,
	}, m))
	t.wantNoThrottle(forget)
	t.wantThrottles("after the unlock", keyfold.Throttle{Name: refund, ExpiresAt: at.Add(strict.ResetAfter)}, keyfold.Throttle{Name: good, ExpiresAt: at})
	t.wantRows(cursor, m, user.ID)
	t.wantUser("the user", user)
}

func unlockUnknownUser(t *trial) {
	name, at := t.id(), t.now()
	t.wantReserved(strict, at, name)
	row := t.wantThrottle(name)
	m := t.mutation(t.action(), t.id())
	cursor := t.cursor()
	err := t.store.UnlockUser(t.ctx, m.Target, keyfold.AttemptResult{Clear: []string{name}}, m)
	t.wantError("UnlockUser", err, keyfold.ErrNotFound)
	t.wantThrottles("of a user who does not exist", row)
	t.wantNoRows(cursor, m)
}

func emptyAttempt(t *trial) {
	name, at := t.id(), t.now()
	t.wantReserved(strict, at, name)
	t.wantReserved(strict, at)
	t.wantNoError("RecordAttemptResult", t.store.RecordAttemptResult(t.ctx, keyfold.AttemptResult{TrustedUntil: at}))
	t.wantThrottles("a throttle without a user", keyfold.Throttle{Name: name, Attempts: 1, ExpiresAt: at.Add(strict.ResetAfter)})
}

func throttlesWriteNoRows(t *trial) {
	cursor := t.cursor()
	t.wantReserved(strict, t.now(), "a", "b", "c")
	t.wantNoError("RecordAttemptResult", t.store.RecordAttemptResult(t.ctx, keyfold.AttemptResult{
		Clear: []string{"a"}, Refund: reservations(strict, "b"), Trusted: []string{"d"}, TrustedUntil: t.now(),
	}))
	if deleted, _, err := t.store.PruneThrottles(t.ctx, t.now(), 10); err != nil || deleted != 1 {
		t.Errorf("PruneThrottles deleted %d rows with error %v, want 1 and none", deleted, err)
	}
	changes, _, err := t.store.Changes(t.ctx, cursor)
	t.wantNoError("Changes", err)
	if entries := t.entries(keyfold.AuditScan{Limit: 10}, nil); len(changes) != 0 || len(entries) != 0 {
		t.Errorf("throttles wrote %d change rows and %d audit rows, want none", len(changes), len(entries))
	}
}

// throttlesUntil stores throttles that expire at the given times.
func (t *trial) throttlesUntil(expire ...time.Time) []string {
	t.Helper()
	names := make([]string, len(expire))
	for i, at := range expire {
		names[i] = t.id()
		t.wantNoError("RecordAttemptResult", t.store.RecordAttemptResult(t.ctx, keyfold.AttemptResult{Trusted: names[i : i+1], TrustedUntil: at}))
	}
	return names
}

func pruneThrottlesBound(t *trial) {
	at := time.UnixMilli(1_000_000_000_000).UTC() // long before the throttles of other cases
	ms := time.Millisecond
	names := t.throttlesUntil(at.Add(ms), at.Add(-time.Hour), at, at.Add(time.Hour), at.Add(-ms))
	for i, want := range []int{3, 0} {
		deleted, _, err := t.store.PruneThrottles(t.ctx, at, 100)
		t.wantNoError("PruneThrottles", err)
		if deleted != want {
			t.Errorf("call %d of PruneThrottles said that it deleted %d rows, want %d", i+1, deleted, want)
		}
	}
	for i, name := range names {
		if i == 0 || i == 3 {
			t.wantThrottle(name)
			continue
		}
		t.wantNoThrottle(name)
	}
}

func pruneThrottlesInSteps(t *trial) {
	const rows, limit = 12, 5
	at := time.UnixMilli(900_000_000_000).UTC()
	t.throttlesUntil(slices.Repeat([]time.Time{at}, rows)...)
	t.wantSteps("PruneThrottles", rows, limit, func() (int, bool, error) { return t.store.PruneThrottles(t.ctx, at, limit) })
}
