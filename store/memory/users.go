package memory

import (
	"context"
	"slices"
	"time"

	"github.com/keyfold/keyfold"
)

// CreateUser implements keyfold.UserStore.
func (s *Store) CreateUser(ctx context.Context, user keyfold.UserRecord, m keyfold.Mutation) error {
	return s.write(ctx, func(st *state) error {
		if _, exists := st.users.get(user.ID); exists || st.taken(user) {
			return keyfold.ErrConflict
		}
		st.putUser(user)
		st.recordMutation(m.Target, m)
		return nil
	})
}

// User implements keyfold.UserStore.
func (s *Store) User(ctx context.Context, id string) (user keyfold.UserRecord, err error) {
	err = s.read(ctx, func(st *state) (err error) {
		user, err = st.user(id)
		return err
	})
	return user, err
}

// UserByUsername implements keyfold.UserStore.
func (s *Store) UserByUsername(ctx context.Context, usernameKey string) (user keyfold.UserRecord, err error) {
	err = s.read(ctx, func(st *state) (err error) {
		id, _ := st.usernames.get(usernameKey)
		user, err = st.user(id)
		return err
	})
	return user, err
}

// UserByEmail implements keyfold.UserStore.
func (s *Store) UserByEmail(ctx context.Context, emailKey string) (user keyfold.UserRecord, err error) {
	err = s.read(ctx, func(st *state) (err error) {
		id, _ := st.emails.get(emailKey)
		user, err = st.user(id)
		return err
	})
	return user, err
}

// Users implements keyfold.UserStore.
func (s *Store) Users(ctx context.Context, scan keyfold.UserScan) (page []keyfold.UserRecord, err error) {
	after := keyfold.Position{At: milli(scan.After.At), ID: scan.After.ID}
	position := func(user keyfold.UserRecord) keyfold.Position {
		return keyfold.Position{At: user.CreatedAt, ID: user.ID}
	}
	err = s.read(ctx, func(st *state) error {
		for _, user := range st.users.all() {
			if after == (keyfold.Position{}) || comparePositions(keyfold.KeysAll, position(user), after) > 0 {
				page = append(page, user)
			}
		}
		slices.SortFunc(page, func(a, b keyfold.UserRecord) int {
			return comparePositions(keyfold.KeysAll, position(a), position(b))
		})
		page = page[:min(len(page), scan.Limit)]
		return nil
	})
	return page, err
}

// UpdateUser implements keyfold.UserStore.
func (s *Store) UpdateUser(ctx context.Context, user keyfold.UserRecord, m keyfold.Mutation) error {
	return s.write(ctx, func(st *state) error {
		record, err := st.user(user.ID)
		switch {
		case err != nil:
			return err
		case record.Version != user.Version:
			return keyfold.ErrStale
		case st.taken(user):
			return keyfold.ErrConflict
		}
		record.Username, record.UsernameKey = user.Username, user.UsernameKey
		record.Email, record.EmailKey = user.Email, user.EmailKey
		record.EmailVerifiedAt = user.EmailVerifiedAt
		st.changeUser(record, user.UpdatedAt)
		st.recordMutation(m.Target, m)
		return nil
	})
}

// SetPassword implements keyfold.UserStore.
func (s *Store) SetPassword(ctx context.Context, id, hash string, version int64, m keyfold.Mutation) error {
	return s.write(ctx, func(st *state) error {
		record, err := st.user(id)
		if err != nil {
			return err
		}
		if version != keyfold.AnyPassword && version != record.PasswordVersion {
			return keyfold.ErrStale
		}
		st.changeUser(withPassword(record, hash, m.At), m.At)
		st.recordMutation(m.Target, m)
		return nil
	})
}

// RehashPassword implements keyfold.UserStore.
func (s *Store) RehashPassword(ctx context.Context, id, old, new string) error {
	return s.write(ctx, func(st *state) error {
		record, ok := st.users.get(id)
		if ok && record.PasswordHash == old {
			record.PasswordHash = new
			st.putUser(record)
		}
		return nil
	})
}

// SetUserState implements keyfold.UserStore.
func (s *Store) SetUserState(ctx context.Context, id string, change keyfold.StateChange, reason string,
	m keyfold.Mutation,
) (changed bool, err error) {
	err = s.write(ctx, func(st *state) error {
		record, err := st.user(id)
		if err != nil {
			return err
		}
		disabled := !record.DisabledAt.IsZero()
		switch {
		case change == keyfold.DisableChange && !disabled:
			record.DisabledAt, record.DisabledReason = m.At, reason
		case change == keyfold.EnableChange && disabled:
			record.DisabledAt, record.DisabledReason = time.Time{}, ""
		default:
			return nil
		}
		changed = true
		st.changeUser(record, m.At)
		st.recordMutation(m.Target, m)
		return nil
	})
	return changed && err == nil, err
}

// DeleteUser implements keyfold.UserStore.
func (s *Store) DeleteUser(ctx context.Context, id string, m keyfold.Mutation) error {
	return s.write(ctx, func(st *state) error {
		record, err := st.user(id)
		if err != nil {
			return err
		}
		st.users.delete(id)
		st.usernames.delete(record.UsernameKey)
		st.emails.delete(record.EmailKey)
		for sum, token := range st.oneTimes.all() {
			if token.UserID == id {
				st.oneTimes.delete(sum)
			}
		}
		st.recordMutation(m.Target, m)
		m.Action, m.Before, m.After = "key.delete", "", ""
		for _, keyID := range st.keysOf(id) {
			st.keys.delete(keyID)
			st.totals.delete(keyID)
			m.Target = keyID
			st.addAudit(m)
		}
		return nil
	})
}

// user returns the user with this ID, or ErrNotFound.
func (s *state) user(id string) (keyfold.UserRecord, error) {
	record, ok := s.users.get(id)
	if !ok {
		return record, keyfold.ErrNotFound
	}
	return record, nil
}

// taken reports whether another user has the username or the e-mail address.
func (s *state) taken(user keyfold.UserRecord) bool {
	byName, named := s.usernames.get(user.UsernameKey)
	byEmail, mailed := s.emails.get(user.EmailKey)
	return named && byName != user.ID || mailed && byEmail != user.ID
}

// keysOf returns the sorted IDs of a user's keys.
func (s *state) keysOf(userID string) (ids []string) {
	for id, row := range s.keys.all() {
		if row.record.UserID == userID {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

// withPassword returns the user with a new password.
func withPassword(user keyfold.UserRecord, hash string, at time.Time) keyfold.UserRecord {
	user.PasswordHash, user.PasswordChangedAt = hash, at
	user.PasswordVersion++
	return user
}

// changeUser stores a user who was changed at the time at, and returns the new record.
func (s *state) changeUser(record keyfold.UserRecord, at time.Time) keyfold.UserRecord {
	record.UpdatedAt = at
	record.Version++
	return s.putUser(record)
}

// putUser stores the user and replaces the entries by which it is found.
func (s *state) putUser(record keyfold.UserRecord) keyfold.UserRecord {
	if was, ok := s.users.get(record.ID); ok {
		s.usernames.delete(was.UsernameKey)
		s.emails.delete(was.EmailKey)
	}
	for _, at := range []*time.Time{
		&record.EmailVerifiedAt, &record.PasswordChangedAt, &record.CreatedAt, &record.UpdatedAt, &record.DisabledAt,
	} {
		*at = milli(*at)
	}
	record.HasPassword = record.PasswordHash != ""
	s.users.put(record.ID, record)
	s.usernames.put(record.UsernameKey, record.ID)
	s.emails.put(record.EmailKey, record.ID)
	return record
}
