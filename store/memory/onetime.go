package memory

import (
	"context"
	"time"

	"github.com/keyfold/keyfold"
)

// CreateOneTimeToken implements keyfold.OneTimeTokenStore.
func (s *Store) CreateOneTimeToken(ctx context.Context, token keyfold.OneTimeTokenRecord, m keyfold.Mutation) error {
	return s.write(ctx, func(st *state) error {
		if _, err := st.user(token.UserID); err != nil {
			return err
		}
		if _, exists := st.oneTimes.get(token.Sum); exists {
			return keyfold.ErrConflict
		}
		for sum, other := range st.oneTimes.all() {
			if other.UserID == token.UserID && other.Purpose == token.Purpose {
				st.oneTimes.delete(sum)
			}
		}
		token.CreatedAt, token.ExpiresAt = milli(token.CreatedAt), milli(token.ExpiresAt)
		st.oneTimes.put(token.Sum, token)
		st.recordMutation(m.Target, m)
		return nil
	})
}

// OneTimeToken implements keyfold.OneTimeTokenStore.
func (s *Store) OneTimeToken(ctx context.Context, sum [32]byte) (token keyfold.OneTimeTokenRecord, err error) {
	err = s.read(ctx, func(st *state) error {
		var ok bool
		if token, ok = st.oneTimes.get(sum); !ok {
			return keyfold.ErrNotFound
		}
		return nil
	})
	return token, err
}

// UseOneTimeToken implements keyfold.OneTimeTokenStore.
func (s *Store) UseOneTimeToken(ctx context.Context, use keyfold.OneTimeTokenUse, m keyfold.Mutation) (user keyfold.UserRecord, err error) {
	err = s.write(ctx, func(st *state) error {
		token, ok := st.oneTimes.get(use.Sum)
		if !ok || token.Purpose != use.Purpose || !token.ExpiresAt.After(m.At) {
			return keyfold.ErrNotFound
		}
		record, err := st.user(token.UserID)
		if err != nil || !record.DisabledAt.IsZero() ||
			record.PasswordVersion != token.PasswordVersion || record.EmailKey != token.EmailKey {
			return keyfold.ErrNotFound
		}
		record.EmailVerifiedAt = m.At
		switch use.Purpose {
		case keyfold.PurposeResetPassword:
			record = withPassword(record, use.PasswordHash, m.At)
		case keyfold.PurposeChangeEmail:
			record.Email, record.EmailKey = token.NewEmail, token.NewEmailKey
			if st.taken(record) {
				return keyfold.ErrConflict
			}
		}
		st.oneTimes.delete(use.Sum)
		user = st.changeUser(record, m.At)
		m.Target = record.ID
		st.recordMutation(m.Target, m)
		return nil
	})
	if err != nil {
		return keyfold.UserRecord{}, err
	}
	return user, nil
}

// PruneOneTimeTokens implements keyfold.OneTimeTokenStore.
func (s *Store) PruneOneTimeTokens(ctx context.Context, at time.Time, limit int) (deleted int, more bool, err error) {
	err = s.write(ctx, func(st *state) error {
		deleted = pruneExpired(&st.oneTimes, func(token keyfold.OneTimeTokenRecord) time.Time { return token.ExpiresAt }, at, limit, &more)
		return nil
	})
	if err != nil {
		return 0, false, err
	}
	return deleted, more, nil
}

// pruneExpired deletes rows that expire at the time at or earlier, oldest first.
func pruneExpired[K comparable, V any](rows *table[K, V], expires func(V) time.Time, at time.Time, limit int, more *bool) int {
	after := milli(at).Add(time.Millisecond) // rows store whole milliseconds
	return pruneOldest(rows, func(_ K, row V) time.Time { return expires(row) }, after, limit, more)
}
