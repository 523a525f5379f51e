package sqlstore

import (
	"context"
	"errors"
	"math"
	"time"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/query/model"
	"github.com/keyfold/keyfold/store/internal/column"
)

// CreateUser implements keyfold.UserStore.
func (s *Store) CreateUser(ctx context.Context, user keyfold.UserRecord, m keyfold.Mutation) error {
	return s.write(ctx, "create user", writeDeadline, func(ctx context.Context, session *Session) error {
		err := session.Querier.AddUser(ctx, user.ID, user.Username, user.UsernameKey, user.Email, user.EmailKey,
			column.Optional(user.EmailVerifiedAt), user.PasswordHash, user.PasswordVersion, column.Optional(user.PasswordChangedAt),
			user.CreatedAt.UnixMilli(), user.UpdatedAt.UnixMilli(), column.Optional(user.DisabledAt), user.DisabledReason,
			user.Version)
		if err != nil {
			return err
		}
		return recordMutation(ctx, session.Querier, user.ID, m)
	})
}

// User implements keyfold.UserStore.
func (s *Store) User(ctx context.Context, id string) (keyfold.UserRecord, error) {
	return s.oneUser(ctx, func(q Querier) (model.User, error) { return q.UserRow(ctx, id) })
}

// UserByUsername implements keyfold.UserStore.
func (s *Store) UserByUsername(ctx context.Context, usernameKey string) (keyfold.UserRecord, error) {
	return s.oneUser(ctx, func(q Querier) (model.User, error) { return q.UserByUsername(ctx, usernameKey) })
}

// UserByEmail implements keyfold.UserStore.
func (s *Store) UserByEmail(ctx context.Context, emailKey string) (keyfold.UserRecord, error) {
	return s.oneUser(ctx, func(q Querier) (model.User, error) { return q.UserByEmail(ctx, emailKey) })
}

func (s *Store) oneUser(ctx context.Context, row func(Querier) (model.User, error)) (keyfold.UserRecord, error) {
	var record keyfold.UserRecord
	err := s.read(ctx, "read user", func(session *Session) error {
		found, err := row(session.Querier)
		if err != nil {
			return err
		}
		record = userRecord(&found)
		return nil
	})
	return record, err
}

// Users implements keyfold.UserStore.
func (s *Store) Users(ctx context.Context, scan keyfold.UserScan) ([]keyfold.UserRecord, error) {
	before := int64(math.MaxInt64)
	if scan.After != (keyfold.Position{}) {
		before = scan.After.At.UnixMilli()
	}
	var records []keyfold.UserRecord
	err := s.read(ctx, "list users", func(session *Session) error {
		rows, err := session.Querier.UsersAll(ctx, before, before, scan.After.ID, int64(scan.Limit))
		if err != nil {
			return err
		}
		records = make([]keyfold.UserRecord, len(rows))
		for i := range rows {
			records[i] = userRecord(&rows[i])
		}
		return nil
	})
	return records, err
}

// UpdateUser implements keyfold.UserStore.
func (s *Store) UpdateUser(ctx context.Context, user keyfold.UserRecord, m keyfold.Mutation) error {
	return s.changeUser(ctx, "update user", user.ID, m, func(ctx context.Context, q Querier) error {
		// The version is compared before the update, because ErrStale takes precedence
		// over a name that another user has.
		row, err := q.UserRow(ctx, user.ID)
		if err != nil {
			return err
		}
		if row.Version != user.Version {
			return keyfold.ErrStale
		}
		n, err := q.UpdateUser(ctx, user.Username, user.UsernameKey, user.Email, user.EmailKey,
			column.Optional(user.EmailVerifiedAt), user.UpdatedAt.UnixMilli(), user.ID, user.Version)
		if err != nil {
			return err
		}
		if n == 0 {
			return keyfold.ErrStale // the user was changed or deleted since it was read
		}
		return nil
	})
}

// changeUser runs a change of one user and records the mutation. change returns
// ErrNotFound or sql.ErrNoRows if the user does not exist.
func (s *Store) changeUser(ctx context.Context, operation, id string, m keyfold.Mutation, change func(context.Context, Querier) error) error {
	return s.write(ctx, operation, writeDeadline, func(ctx context.Context, session *Session) error {
		if err := change(ctx, session.Querier); err != nil {
			return err
		}
		return recordMutation(ctx, session.Querier, id, m)
	})
}

// SetPassword implements keyfold.UserStore.
func (s *Store) SetPassword(ctx context.Context, id, hash string, version int64, m keyfold.Mutation) error {
	return s.changeUser(ctx, "set password", id, m, func(ctx context.Context, q Querier) error {
		at := m.At.UnixMilli()
		if version == keyfold.AnyPassword {
			return mustChange(q.SetPassword(ctx, hash, &at, at, id))
		}
		n, err := q.ChangePassword(ctx, hash, &at, at, id, version)
		if err != nil || n > 0 {
			return err
		}
		if _, err := q.UserRow(ctx, id); err != nil {
			return err
		}
		return keyfold.ErrStale
	})
}

// mustChange returns ErrNotFound if a statement changed no row.
func mustChange(n int64, err error) error {
	if err == nil && n == 0 {
		return keyfold.ErrNotFound
	}
	return err
}

// RehashPassword implements keyfold.UserStore.
func (s *Store) RehashPassword(ctx context.Context, id, old, new string) error {
	return s.writeIn(ctx, laneWork, "rehash password", writeDeadline, func(ctx context.Context, session *Session) error {
		return session.Querier.RehashPassword(ctx, new, id, old)
	})
}

// SetUserState implements keyfold.UserStore.
func (s *Store) SetUserState(ctx context.Context, id string, change keyfold.StateChange, reason string, m keyfold.Mutation) (changed bool, err error) {
	err = s.write(ctx, "set state of user", writeDeadline, func(ctx context.Context, session *Session) error {
		q, at := session.Querier, m.At.UnixMilli()
		var n int64
		var err error
		switch change {
		case keyfold.DisableChange:
			n, err = q.DisableUser(ctx, &at, reason, at, id)
		case keyfold.EnableChange:
			n, err = q.EnableUser(ctx, at, id)
		default:
			err = errors.New("unknown state change")
		}
		if changed = n > 0; err != nil {
			return err
		}
		if !changed {
			_, err = q.UserRow(ctx, id)
			return err
		}
		return recordMutation(ctx, q, id, m)
	})
	return changed && err == nil, err
}

// DeleteUser implements keyfold.UserStore. It deletes the user row first. A concurrent
// call that adds a key to the user waits for the row lock and then finds no user.
func (s *Store) DeleteUser(ctx context.Context, id string, m keyfold.Mutation) error {
	return s.write(ctx, "delete user", usageDeadline, func(ctx context.Context, session *Session) error {
		q := session.Querier
		if err := mustChange(q.DeleteUser(ctx, id)); err != nil {
			return err
		}
		keyIDs, err := q.KeyIDsByUser(ctx, id)
		if err != nil {
			return err
		}
		for _, step := range []func(context.Context, string) error{q.DeleteOneTimesOfUser, q.DeleteTotalsOfUser, q.DeleteKeysOfUser} {
			if err := step(ctx, id); err != nil {
				return err
			}
		}
		keyDeletion := m
		keyDeletion.Action, keyDeletion.Before, keyDeletion.After = "key.delete", "", ""
		for _, keyDeletion.Target = range keyIDs {
			if err := addAudit(ctx, q, keyDeletion); err != nil {
				return err
			}
		}
		return recordMutation(ctx, q, id, m)
	})
}

// holdUser locks the row of a user, so that the user cannot be deleted before the
// transaction ends. It returns ErrNotFound if the user does not exist, and nil for an
// empty ID.
func holdUser(ctx context.Context, q Querier, id string) error {
	if id == "" {
		return nil
	}
	return mustChange(q.HoldUser(ctx, id))
}

// CreateOneTimeToken implements keyfold.OneTimeTokenStore.
func (s *Store) CreateOneTimeToken(ctx context.Context, token keyfold.OneTimeTokenRecord, m keyfold.Mutation) error {
	return s.write(ctx, "create one-time token", writeDeadline, func(ctx context.Context, session *Session) error {
		q := session.Querier
		if err := holdUser(ctx, q, token.UserID); err != nil {
			return err
		}
		if err := q.DeleteOneTimesFor(ctx, token.UserID, int64(token.Purpose)); err != nil {
			return err
		}
		err := q.AddOneTime(ctx, token.Sum[:], int64(token.Purpose), token.UserID, token.PasswordVersion, token.EmailKey,
			token.NewEmail, token.NewEmailKey, token.CreatedAt.UnixMilli(), token.ExpiresAt.UnixMilli())
		if err != nil {
			return err
		}
		return recordMutation(ctx, q, token.UserID, m)
	})
}

// OneTimeToken implements keyfold.OneTimeTokenStore.
func (s *Store) OneTimeToken(ctx context.Context, sum [32]byte) (keyfold.OneTimeTokenRecord, error) {
	var record keyfold.OneTimeTokenRecord
	err := s.read(ctx, "read one-time token", func(session *Session) error {
		row, err := session.Querier.OneTimeRow(ctx, sum[:])
		if err != nil {
			return err
		}
		record = oneTimeTokenRecord(&row)
		return nil
	})
	if err != nil {
		return keyfold.OneTimeTokenRecord{}, err
	}
	return record, nil
}

// UseOneTimeToken implements keyfold.OneTimeTokenStore.
func (s *Store) UseOneTimeToken(ctx context.Context, use keyfold.OneTimeTokenUse, m keyfold.Mutation) (keyfold.UserRecord, error) {
	var record keyfold.UserRecord
	err := s.write(ctx, "use one-time token", writeDeadline, func(ctx context.Context, session *Session) error {
		q := session.Querier
		token, err := takeOneTime(ctx, q, use, m.At)
		if err != nil {
			return err
		}
		user, err := q.UserRow(ctx, token.UserID)
		if err != nil {
			return err
		}
		if user.DisabledAt != nil || user.PasswordVersion != token.PasswordVersion || user.EmailKey != token.EmailKey {
			return keyfold.ErrNotFound
		}
		if err := applyOneTime(ctx, q, use, token, &user, m); err != nil {
			return err
		}
		if user, err = q.UserRow(ctx, user.ID); err != nil {
			return err
		}
		record = userRecord(&user)
		m.Target = user.ID
		return recordMutation(ctx, q, user.ID, m)
	})
	if err != nil {
		return keyfold.UserRecord{}, err
	}
	return record, nil
}

// takeOneTime deletes the row of a token and returns it. Of several calls that use one
// token, the one that deletes the row has used it. The user is locked first, so that it
// does not change before the token takes effect.
func takeOneTime(ctx context.Context, q Querier, use keyfold.OneTimeTokenUse, at time.Time) (*model.OneTime, error) {
	token, err := q.OneTimeRow(ctx, use.Sum[:])
	if err != nil {
		return nil, err
	}
	if token.Purpose != int64(use.Purpose) || token.ExpiresAt <= at.UnixMilli() {
		return nil, keyfold.ErrNotFound
	}
	if err := holdUser(ctx, q, token.UserID); err != nil {
		return nil, err
	}
	return &token, mustChange(q.DeleteOneTime(ctx, use.Sum[:]))
}

// applyOneTime makes the change of the user that the token allows.
func applyOneTime(ctx context.Context, q Querier, use keyfold.OneTimeTokenUse, token *model.OneTime, user *model.User, m keyfold.Mutation) error {
	at := m.At.UnixMilli()
	email, emailKey, version := user.Email, user.EmailKey, user.Version
	switch use.Purpose {
	case keyfold.PurposeVerifyEmail:
	case keyfold.PurposeChangeEmail:
		email, emailKey = token.NewEmail, token.NewEmailKey
	case keyfold.PurposeResetPassword:
		return mustChange(q.ResetPassword(ctx, use.PasswordHash, &at, &at, at, user.ID))
	default:
		return errors.New("unknown purpose of a one-time token")
	}
	return mustChange(q.UpdateUser(ctx, user.Username, user.UsernameKey, email, emailKey, &at, at, user.ID, version))
}

// PruneOneTimeTokens implements keyfold.OneTimeTokenStore.
func (s *Store) PruneOneTimeTokens(ctx context.Context, at time.Time, limit int) (deleted int, more bool, err error) {
	err = s.writeIn(ctx, laneWork, "prune one-time tokens", usageDeadline, func(ctx context.Context, session *Session) error {
		rows, err := session.Querier.OneTimesExpired(ctx, at.UnixMilli(), int64(limit)+1)
		if err != nil {
			return err
		}
		deleted, more = 0, len(rows) > limit
		for i := range rows[:min(len(rows), limit)] {
			n, err := session.Querier.DeleteOneTime(ctx, rows[i].TokenSum)
			if err != nil {
				return err
			}
			deleted += int(n)
		}
		return nil
	})
	if err != nil {
		return 0, false, err
	}
	return deleted, more, nil
}
