package memory

import (
	"context"

	"github.com/keyfold/keyfold"
)

// Setting implements keyfold.SettingStore.
func (s *Store) Setting(ctx context.Context, name string) (value string, err error) {
	err = s.read(ctx, func(st *state) error {
		var ok bool
		if value, ok = st.settings.get(name); !ok {
			return keyfold.ErrNotFound
		}
		return nil
	})
	return value, err
}

// AddSetting implements keyfold.SettingStore.
func (s *Store) AddSetting(ctx context.Context, name, value string) (stored string, err error) {
	err = s.write(ctx, func(st *state) error {
		var ok bool
		if stored, ok = st.settings.get(name); !ok {
			stored = value
			st.settings.put(name, value)
		}
		return nil
	})
	if err != nil {
		return "", err
	}
	return stored, nil
}

// SetSetting implements keyfold.SettingStore.
func (s *Store) SetSetting(ctx context.Context, name, value string, m keyfold.Mutation) error {
	return s.write(ctx, func(st *state) error {
		st.settings.put(name, value)
		st.recordMutation(name, m)
		return nil
	})
}
