package storetest

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"time"

	"github.com/keyfold/keyfold"
)

func contextCases() []testCase {
	return []testCase{
		{name: "every method returns an error once its context is done, and changes nothing", run: doneContexts},
		{name: "a method fails when its deadline has passed", run: passedDeadline},
		{name: "a transaction whose context ends before the commit is rolled back", run: canceledTransaction, tx: true},
		{name: "a method that waits for a lock returns when its context is done", run: lockWaitEnds, tx: true},
		{name: "Ping of a working store succeeds", run: pings},
		{name: "after Close every method returns an error, and Close may be called again", run: closedStore, alone: true},
	}
}

// call is a call of one method with arguments that are valid.
type call struct {
	name string
	do   func(ctx context.Context) error
}

// subjects are the records that calls read and change. The fields fresh, newcomer,
// newToken and newSetting are not stored.
type subjects struct {
	live, disabled, fresh keyfold.KeyRecord
	user, off, newcomer   keyfold.UserRecord
	token, newToken       keyfold.OneTimeTokenRecord // of user
	throttle              keyfold.Throttle
	setting, newSetting   string
}

func (t *trial) subjects() subjects {
	t.Helper()
	s := subjects{live: t.create(), disabled: t.create(), fresh: t.record()}
	t.set(s.disabled.ID, keyfold.DisableChange)
	s.disabled = t.wantKey(s.disabled.ID)
	s.user, s.off, s.newcomer = t.activeUser(), t.addFullUser(), t.newUser()
	s.token, s.newToken = t.addToken(s.user, keyfold.PurposeResetPassword), t.token(s.user, keyfold.PurposeResetPassword)
	name := t.id()
	t.wantReserved(lax, t.now(), name)
	s.throttle = t.wantThrottle(name)
	s.setting, s.newSetting = t.id(), t.id()
	t.addSetting(s.setting, "value")
	return s
}

// wantUnchanged checks that the subjects have not changed.
func (t *trial) wantUnchanged(s subjects) {
	t.Helper()
	t.wantEqual("the key that was to change", t.wantKey(s.live.ID), s.live)
	t.wantEqual("the key that was to be enabled", t.wantKey(s.disabled.ID), s.disabled)
	t.wantNoKey(s.fresh.ID)
	t.wantUses("after the calls", s.live.ID, 0)
	t.wantUser("the user who was to change", s.user)
	t.wantUser("the user who was to be enabled", s.off)
	t.wantNoUser(s.newcomer)
	t.wantToken(s.token)
	t.wantNoToken(s.newToken)
	t.wantThrottles("the throttle that was to change", s.throttle)
	t.wantEqual("the setting that was to change", t.wantSetting(s.setting), "value")
	t.wantNoSetting(s.newSetting)
}

// calls returns a call of every method of a store except Close, and of Probe if the store
// is a [keyfold.ProbingStore]. Each call would succeed on its own.
func (t *trial) calls(on subjects, m keyfold.Mutation) []call {
	s, live, disabled, fresh := t.store, on.live, on.disabled, on.fresh
	rotation := t.rotation(live)
	batch := t.used(live.ID)
	scan := keyfold.UsageScan{From: t.clock.Add(-time.Hour), To: t.clock, Limit: 1}
	secret := keyfold.SecretHash{Alg: "kf2h", PepperID: "another"}
	calls := []call{
		{"CreateKey", func(ctx context.Context) error { return s.CreateKey(ctx, fresh, m) }},
		{"Key", func(ctx context.Context) error { _, err := s.Key(ctx, live.ID); return err }},
		{"VerifyKey", func(ctx context.Context) error { _, err := s.VerifyKey(ctx, live.ID); return err }},
		{"Keys", func(ctx context.Context) error { _, err := s.Keys(ctx, keyfold.KeyScan{Limit: 1}); return err }},
		{"UpdateKey", func(ctx context.Context) error { return s.UpdateKey(ctx, live, m) }},
		{"RenewKey", func(ctx context.Context) error { return s.RenewKey(ctx, live.ID, live.Version, time.Time{}, m) }},
		{"RotateKey", func(ctx context.Context) error { return s.RotateKey(ctx, rotation, m) }},
		{"SetKeyState", func(ctx context.Context) error {
			_, err := s.SetKeyState(ctx, []string{disabled.ID}, keyfold.EnableChange, "", m)
			return err
		}},
		{"DeleteKey", func(ctx context.Context) error { return s.DeleteKey(ctx, live.ID, m) }},
		{"RehashKey", func(ctx context.Context) error { return s.RehashKey(ctx, live.ID, live.Secret, secret) }},
		{"CreateUser", func(ctx context.Context) error { return s.CreateUser(ctx, on.newcomer, m) }},
		{"User", func(ctx context.Context) error { _, err := s.User(ctx, on.user.ID); return err }},
		{"UserByUsername", func(ctx context.Context) error { _, err := s.UserByUsername(ctx, on.user.UsernameKey); return err }},
		{"UserByEmail", func(ctx context.Context) error { _, err := s.UserByEmail(ctx, on.user.EmailKey); return err }},
		{"Users", func(ctx context.Context) error { _, err := s.Users(ctx, keyfold.UserScan{Limit: 1}); return err }},
		{"UpdateUser", func(ctx context.Context) error { return s.UpdateUser(ctx, on.user, m) }},
		{"RehashPassword", func(ctx context.Context) error {
			return s.RehashPassword(ctx, on.user.ID, on.user.PasswordHash, "rehashed")
		}},
		{"OneTimeToken", func(ctx context.Context) error { _, err := s.OneTimeToken(ctx, on.token.Sum); return err }},
		{"UseOneTimeToken", func(ctx context.Context) error { _, err := s.UseOneTimeToken(ctx, use(on.token), m); return err }},
		{"CreateOneTimeToken", func(ctx context.Context) error { return s.CreateOneTimeToken(ctx, on.newToken, m) }},
		{"SetPassword", func(ctx context.Context) error { return s.SetPassword(ctx, on.user.ID, "hash", keyfold.AnyPassword, m) }},
		{"SetUserState", func(ctx context.Context) error {
			_, err := s.SetUserState(ctx, on.off.ID, keyfold.EnableChange, "", m)
			return err
		}},
		{"DeleteUser", func(ctx context.Context) error { return s.DeleteUser(ctx, on.user.ID, m) }},
		{"PruneOneTimeTokens", func(ctx context.Context) error {
			_, _, err := s.PruneOneTimeTokens(ctx, on.token.ExpiresAt, 10)
			return err
		}},
		{"DatabaseID", func(ctx context.Context) error { _, err := s.DatabaseID(ctx); return err }},
		{"Throttle", func(ctx context.Context) error { _, err := s.Throttle(ctx, on.throttle.Name); return err }},
		{"ReserveAttempt", func(ctx context.Context) error {
			_, err := s.ReserveAttempt(ctx, reservations(lax, on.throttle.Name), m.At)
			return err
		}},
		{"RecordAttemptResult", func(ctx context.Context) error {
			return s.RecordAttemptResult(ctx, keyfold.AttemptResult{Refund: reservations(lax, on.throttle.Name)})
		}},
		{"UnlockUser", func(ctx context.Context) error {
			return s.UnlockUser(ctx, on.user.ID, keyfold.AttemptResult{Clear: []string{on.throttle.Name}}, m)
		}},
		{"PruneThrottles", func(ctx context.Context) error {
			_, _, err := s.PruneThrottles(ctx, on.throttle.ExpiresAt, 10)
			return err
		}},
		{"RecordUsage", func(ctx context.Context) error { _, err := s.RecordUsage(ctx, batch); return err }},
		{"UsageEvents", func(ctx context.Context) error { _, err := s.UsageEvents(ctx, scan); return err }},
		{"UsageHours", func(ctx context.Context) error { _, err := s.UsageHours(ctx, scan); return err }},
		{"PruneUsage", func(ctx context.Context) error { _, _, err := s.PruneUsage(ctx, t.clock, 10); return err }},
		{"PruneHours", func(ctx context.Context) error { _, _, err := s.PruneHours(ctx, t.clock, 10); return err }},
		{"Changes", func(ctx context.Context) error { _, _, err := s.Changes(ctx, ""); return err }},
		{"PruneChanges", func(ctx context.Context) error { _, _, err := s.PruneChanges(ctx, t.clock, 10); return err }},
		{"Audit", func(ctx context.Context) error { _, err := s.Audit(ctx, keyfold.AuditScan{Limit: 1}); return err }},
		{"InTx", func(ctx context.Context) error {
			return s.InTx(ctx, func(tx keyfold.Store) error { return tx.CreateKey(ctx, fresh, m) })
		}},
		{"Ping", func(ctx context.Context) error { return s.Ping(ctx) }},
		{"Check", func(ctx context.Context) error { return s.Check(ctx) }},
		{"Setting", func(ctx context.Context) error { _, err := s.Setting(ctx, on.setting); return err }},
		{"AddSetting", func(ctx context.Context) error { _, err := s.AddSetting(ctx, on.newSetting, "new"); return err }},
		{"SetSetting", func(ctx context.Context) error { return s.SetSetting(ctx, on.setting, "changed", m) }},
	}
	if store, ok := s.(keyfold.ProbingStore); ok {
		calls = append(calls, call{"Probe", store.Probe})
	}
	return calls
}

// wantAllMethods checks that there is a call of every method of a store.
func (t *trial) wantAllMethods(calls []call) {
	t.Helper()
	for method := range reflect.TypeFor[keyfold.Store]().Methods() {
		if method.Name != "Close" && !slices.ContainsFunc(calls, func(c call) bool { return c.name == method.Name }) {
			t.Errorf("the list of calls in the suite must contain %s", method.Name)
		}
	}
}

// wantAllRefused checks that every call with this context fails and changes nothing.
func (t *trial) wantAllRefused(ctx context.Context) {
	t.Helper()
	on := t.subjects()
	m := t.mutation(t.action(), on.live.ID)
	cursor := t.cursor()
	calls := t.calls(on, m)
	t.wantAllMethods(calls)
	for _, call := range calls {
		if err := call.do(ctx); err == nil {
			t.Errorf("%s: got no error, want one", call.name)
		}
	}
	t.wantUnchanged(on)
	t.wantNoRows(cursor, m)
}

func doneContexts(t *trial) {
	ctx, cancel := context.WithCancel(t.ctx)
	cancel()
	t.wantAllRefused(ctx)
}

func passedDeadline(t *trial) {
	ctx, cancel := context.WithDeadline(t.ctx, time.Now().Add(-time.Second))
	defer cancel()
	t.wantAllRefused(ctx)
}

func canceledTransaction(t *trial) {
	key := t.record()
	m := t.mutation(t.action(), key.ID)
	cursor := t.cursor()
	ctx, cancel := context.WithCancel(t.ctx)
	defer cancel()
	err := t.store.InTx(ctx, func(tx keyfold.Store) error {
		err := tx.CreateKey(ctx, key, m)
		cancel()
		return err
	})
	if err == nil {
		t.Errorf("InTx whose context was cancelled inside: got no error")
	}
	t.wantNoKey(key.ID)
	t.wantNoRows(cursor, m)
	t.create()
}

func lockWaitEnds(t *trial) {
	key := t.create()
	m := t.mutation(t.action(), key.ID)
	var waited error
	t.wantNoError("InTx", t.store.InTx(t.ctx, func(tx keyfold.Store) error {
		if err := tx.RenewKey(t.ctx, key.ID, key.Version, time.Time{}, t.mutation("key.renew", key.ID)); err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(t.ctx, 100*time.Millisecond)
		defer cancel()
		result := make(chan error, 1)
		go func() {
			_, err := t.store.SetKeyState(ctx, []string{key.ID}, keyfold.DisableChange, "", m)
			result <- err
		}()
		select {
		case waited = <-result:
			return nil
		case <-time.After(t.patience):
			return fmt.Errorf("a method waited %v for a lock with a context of 100 ms", t.patience)
		}
	}))
	// A store without locks may have made the whole change.
	if disabled := !t.wantKey(key.ID).DisabledAt.IsZero(); disabled != (waited == nil) {
		t.Errorf("SetKeyState during a transaction returned %v, and the key is disabled: %t", waited, disabled)
	}
	if entries := t.audited(m); waited != nil && len(entries) != 0 {
		t.Errorf("SetKeyState that gave up wrote %d audit rows, want none", len(entries))
	}
}

func pings(t *trial) {
	for range 2 {
		t.wantNoError("Ping", t.store.Ping(t.ctx))
	}
	t.wantNoError("Ping inside a transaction", t.inTx(func(tx keyfold.Store) error { return tx.Ping(t.ctx) }))
}

func closedStore(t *trial) {
	on := t.subjects()
	calls := t.calls(on, t.mutation("test", on.live.ID))
	t.wantNoError("Close", t.store.Close())
	t.wantNoError("Close again", t.store.Close())
	for _, call := range calls {
		if err := call.do(t.ctx); err == nil {
			t.Errorf("%s after Close: got no error, want one", call.name)
		}
	}
}
