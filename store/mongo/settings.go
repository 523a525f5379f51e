package mongo

import (
	"context"
	"errors"
	"strings"

	"github.com/keyfold/keyfold"
)

// settingDoc is a stored setting. A setting that AddSetting inserted has no change.
type settingDoc struct {
	Head  head   `bson:",inline"` // the ID is the name
	Value string `bson:"value"`
}

func (d *settingDoc) head() *head { return &d.Head }

func newSettingDoc(name, value string) *settingDoc {
	return &settingDoc{Head: head{ID: name, Live: true}, Value: value}
}

// Setting implements keyfold.SettingStore.
func (s *Store) Setting(ctx context.Context, name string) (string, error) {
	doc, err := first[settingDoc](ctx, s.settings, byID(name))
	if err != nil {
		return "", wrap("read setting", err)
	}
	if doc == nil {
		return "", keyfold.ErrNotFound
	}
	return doc.Value, nil
}

// AddSetting implements keyfold.SettingStore. If several calls race, one inserts its
// value and the others read it.
func (s *Store) AddSetting(ctx context.Context, name, value string) (string, error) {
	err := s.settings.insert(ctx, newSettingDoc(name, value))
	switch {
	case errors.Is(err, errTaken):
		return s.Setting(ctx, name)
	case err != nil:
		return "", wrap("add setting", err)
	}
	return value, nil
}

// SetSetting implements keyfold.SettingStore.
func (s *Store) SetSetting(ctx context.Context, name, value string, m keyfold.Mutation) error {
	return s.write(ctx, "set setting", []string{name}, func(ctx context.Context) error {
		for range maxTries { // a conflict means that another process inserted the setting first
			changed, err := apply(ctx, s, newChange(s.settings, plain, m, name), func(doc *settingDoc) (bool, error) {
				doc.Value = value
				return true, nil
			})
			if err != nil || len(changed) > 0 {
				return err
			}
			c := newChange(s.settings, plain, m, name)
			switch err := s.create(ctx, c, newSettingDoc(name, value)); {
			case errors.Is(err, keyfold.ErrConflict):
				continue
			case err != nil:
				return err
			}
			if err := s.finish(ctx, c, c.Subjects); err != nil {
				return s.recover(ctx, c, err)
			}
			return nil
		}
		return keyfold.ErrRetry
	})
}

const (
	probeName = "probe" // the same for all processes, so that crashes leave at most one document
	probeSize = 16 << 10
)

// Probe implements [keyfold.ProbingStore].
func (s *Store) Probe(ctx context.Context) error {
	if err := s.settings.put(ctx, probeName, newSettingDoc(probeName, strings.Repeat("x", probeSize))); err != nil {
		return wrap("probe", err)
	}
	_, err := s.settings.remove(ctx, byID(probeName))
	return wrap("probe", err)
}
