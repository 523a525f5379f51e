package keyfold

import (
	"context"
	"time"
)

// checked is a Store that changes nothing unless the check of the database has
// passed: a process that does not understand the database must not write to it
// either. Reads pass, except the one of a verify, which [Service.Verify] checks.
type checked struct {
	Store
	checker *checker
	changes *changesState // nil in a transaction, whose end tells more
	bound   bool          // the Store is bound to a transaction
}

func (c checked) mayDecide(ctx context.Context) error {
	if c.bound {
		return c.checker.mayDecide(ctx, c.Store)
	}
	return c.checker.mayDecide(ctx, nil)
}

// change calls fn if the check has passed.
func (c checked) change(ctx context.Context, fn func() error) error {
	if err := c.mayDecide(ctx); err != nil {
		return err
	}
	err := fn()
	c.note(ctx, err)
	return err
}

func (c checked) note(ctx context.Context, err error) {
	if c.changes != nil {
		c.changes.note(ctx, err)
	}
}

// changed is change for a method that returns a value too.
func changed[T any](ctx context.Context, c checked, fn func() (T, error)) (T, error) {
	if err := c.mayDecide(ctx); err != nil {
		var none T
		return none, err
	}
	value, err := fn()
	c.note(ctx, err)
	return value, err
}

func (c checked) InTx(ctx context.Context, fn func(Store) error) error {
	if err := c.mayDecide(ctx); err != nil {
		return err
	}
	err := c.Store.InTx(ctx, fn)
	if c.changes != nil {
		c.changes.noteTx(ctx, err)
	}
	return err
}

func (c checked) CreateKey(ctx context.Context, key KeyRecord, m Mutation) error {
	return c.change(ctx, func() error { return c.Store.CreateKey(ctx, key, m) })
}

func (c checked) UpdateKey(ctx context.Context, key KeyRecord, m Mutation) error {
	return c.change(ctx, func() error { return c.Store.UpdateKey(ctx, key, m) })
}

func (c checked) RenewKey(ctx context.Context, id string, version int64, expiresAt time.Time, m Mutation) error {
	return c.change(ctx, func() error { return c.Store.RenewKey(ctx, id, version, expiresAt, m) })
}

func (c checked) RotateKey(ctx context.Context, r Rotation, m Mutation) error {
	return c.change(ctx, func() error { return c.Store.RotateKey(ctx, r, m) })
}

func (c checked) SetKeyState(ctx context.Context, ids []string, change StateChange, reason string, m Mutation) ([]string, error) {
	return changed(ctx, c, func() ([]string, error) { return c.Store.SetKeyState(ctx, ids, change, reason, m) })
}

func (c checked) DeleteKey(ctx context.Context, id string, m Mutation) error {
	return c.change(ctx, func() error { return c.Store.DeleteKey(ctx, id, m) })
}

func (c checked) RehashKey(ctx context.Context, id string, old, new SecretHash) error {
	return c.change(ctx, func() error { return c.Store.RehashKey(ctx, id, old, new) })
}

func (c checked) CreateUser(ctx context.Context, user UserRecord, m Mutation) error {
	return c.change(ctx, func() error { return c.Store.CreateUser(ctx, user, m) })
}

func (c checked) UpdateUser(ctx context.Context, user UserRecord, m Mutation) error {
	return c.change(ctx, func() error { return c.Store.UpdateUser(ctx, user, m) })
}

func (c checked) SetPassword(ctx context.Context, id, hash string, m Mutation) error {
	return c.change(ctx, func() error { return c.Store.SetPassword(ctx, id, hash, m) })
}

func (c checked) RehashPassword(ctx context.Context, id, old, new string) error {
	return c.change(ctx, func() error { return c.Store.RehashPassword(ctx, id, old, new) })
}

func (c checked) SetUserState(ctx context.Context, id string, change StateChange, reason string, m Mutation) (bool, error) {
	return changed(ctx, c, func() (bool, error) { return c.Store.SetUserState(ctx, id, change, reason, m) })
}

func (c checked) DeleteUser(ctx context.Context, id string, m Mutation) error {
	return c.change(ctx, func() error { return c.Store.DeleteUser(ctx, id, m) })
}

func (c checked) CreateOneTimeToken(ctx context.Context, token OneTimeTokenRecord, m Mutation) error {
	return c.change(ctx, func() error { return c.Store.CreateOneTimeToken(ctx, token, m) })
}

func (c checked) UseOneTimeToken(ctx context.Context, use OneTimeTokenUse, m Mutation) (UserRecord, error) {
	return changed(ctx, c, func() (UserRecord, error) { return c.Store.UseOneTimeToken(ctx, use, m) })
}

func (c checked) PruneOneTimeTokens(ctx context.Context, at time.Time, limit int) (int, error) {
	return changed(ctx, c, func() (int, error) { return c.Store.PruneOneTimeTokens(ctx, at, limit) })
}

func (c checked) ReserveAttempt(ctx context.Context, names []ThrottleReservation, at time.Time) (Throttle, error) {
	return changed(ctx, c, func() (Throttle, error) { return c.Store.ReserveAttempt(ctx, names, at) })
}

func (c checked) RecordAttemptResult(ctx context.Context, s AttemptResult) error {
	return c.change(ctx, func() error { return c.Store.RecordAttemptResult(ctx, s) })
}

func (c checked) UnlockUser(ctx context.Context, id string, s AttemptResult, m Mutation) error {
	return c.change(ctx, func() error { return c.Store.UnlockUser(ctx, id, s, m) })
}

func (c checked) PruneThrottles(ctx context.Context, at time.Time, limit int) (int, error) {
	return changed(ctx, c, func() (int, error) { return c.Store.PruneThrottles(ctx, at, limit) })
}

func (c checked) RecordUsage(ctx context.Context, batch UsageBatch) (UsageResult, error) {
	if err := c.mayDecide(ctx); err != nil {
		return UsageResult{}, err
	}
	return c.Store.RecordUsage(ctx, batch) // the recorder knows whether it fails
}

func (c checked) PruneUsage(ctx context.Context, before time.Time, limit int) (deleted int, more bool, err error) {
	if err := c.mayDecide(ctx); err != nil {
		return 0, false, err
	}
	return c.Store.PruneUsage(ctx, before, limit)
}

func (c checked) PruneHours(ctx context.Context, before time.Time, limit int) (deleted int, more bool, err error) {
	if err := c.mayDecide(ctx); err != nil {
		return 0, false, err
	}
	return c.Store.PruneHours(ctx, before, limit)
}

func (c checked) PruneChanges(ctx context.Context, before time.Time, limit int) (int, error) {
	return changed(ctx, c, func() (int, error) { return c.Store.PruneChanges(ctx, before, limit) })
}

func (c checked) SetSetting(ctx context.Context, name, value string, m Mutation) error {
	return c.change(ctx, func() error { return c.Store.SetSetting(ctx, name, value, m) })
}
