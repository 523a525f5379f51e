package sqlstore

import (
	"context"
	"database/sql"
	"errors"

	"github.com/keyfold/keyfold"
)

// Setting implements keyfold.SettingStore. It reads by the connection of the feed,
// because checks of the database read settings, and the feed waits for them.
func (s *Store) Setting(ctx context.Context, name string) (value string, err error) {
	err = s.readIn(ctx, laneFeed, "read setting", func(session *Session) error {
		row, err := session.Querier.SettingRow(ctx, name)
		value = row.Value
		return err
	})
	return value, err
}

// AddSetting implements keyfold.SettingStore. Of racing inserts one wins, and
// the others read its value.
func (s *Store) AddSetting(ctx context.Context, name, value string) (stored string, err error) {
	for range 2 { // a value may be removed by hand in between
		stored, err = s.Setting(ctx, name)
		if !errors.Is(err, keyfold.ErrNotFound) {
			return stored, err
		}
		err = s.write(ctx, "add setting", writeDeadline, func(ctx context.Context, session *Session) error {
			return session.Querier.InsertSetting(ctx, name, value)
		})
		if err == nil {
			return value, nil
		}
		if !errors.Is(err, keyfold.ErrConflict) {
			return "", err
		}
	}
	return s.Setting(ctx, name)
}

// SetSetting implements keyfold.SettingStore.
func (s *Store) SetSetting(ctx context.Context, name, value string, m keyfold.Mutation) error {
	for range 3 { // again when another process inserted it first
		err := s.write(ctx, "set setting", writeDeadline, func(ctx context.Context, session *Session) error {
			_, err := session.Querier.SettingRow(ctx, name)
			switch {
			case errors.Is(err, sql.ErrNoRows):
				err = session.Querier.InsertSetting(ctx, name, value)
			case err == nil:
				err = session.Querier.UpdateSetting(ctx, value, name)
			}
			if err != nil {
				return err
			}
			return recordMutation(ctx, session.Querier, name, m)
		})
		if !errors.Is(err, keyfold.ErrConflict) {
			return err
		}
	}
	return keyfold.ErrRetry // the caller's transaction does not see what it collides with
}
