package sqlstore

import (
	"context"
	"database/sql"
	"errors"

	"github.com/keyfold/keyfold"
)

// Setting implements keyfold.SettingStore. It uses the connection of the feed, because
// the database check reads settings and the feed waits for that check.
func (s *Store) Setting(ctx context.Context, name string) (value string, err error) {
	err = s.readIn(ctx, laneFeed, "read setting", func(session *Session) error {
		row, err := session.Querier.SettingRow(ctx, name)
		value = row.Value
		return err
	})
	return value, err
}

// AddSetting implements keyfold.SettingStore. If several calls race, one inserts its
// value and the others read it.
func (s *Store) AddSetting(ctx context.Context, name, value string) (stored string, err error) {
	for range 2 { // an administrator may delete the row between the insert and the read
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
	for range 3 { // a conflict means that another process inserted the setting first
		err := s.write(ctx, "set setting", writeDeadline, func(ctx context.Context, session *Session) error {
			if err := putSetting(ctx, session.Querier, name, value); err != nil {
				return err
			}
			return recordMutation(ctx, session.Querier, name, m)
		})
		if !errors.Is(err, keyfold.ErrConflict) {
			return err
		}
	}
	return keyfold.ErrRetry // the snapshot of the caller's transaction does not contain the conflicting row
}

func putSetting(ctx context.Context, q Querier, name, value string) error {
	_, err := q.SettingRow(ctx, name)
	if errors.Is(err, sql.ErrNoRows) {
		return q.InsertSetting(ctx, name, value)
	}
	if err != nil {
		return err
	}
	return q.UpdateSetting(ctx, value, name)
}
