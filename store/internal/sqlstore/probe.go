package sqlstore

import (
	"context"
	"crypto/rand"
	"errors"
	"strings"

	"github.com/keyfold/keyfold"
)

// probeSize is the size in bytes of what Probe writes: more than a change needs, so
// that it does not fit into the free space of a page.
const probeSize = 16 << 10

var errUndone = errors.New("the probe is rolled back")

// Probe is the method of a keyfold.ProbingStore on a Store of this package. Servers take the space for a row when it is
// inserted, so a rollback is enough there. SQLite takes it with the commit.
func Probe(ctx context.Context, store keyfold.Store) error {
	s, ok := store.(*Store)
	if !ok {
		return errors.ErrUnsupported
	}
	name := "probe." + rand.Text() // no other process waits for it
	err := s.writeIn(ctx, laneChange, "probe", writeDeadline, func(ctx context.Context, session *Session) error {
		if err := session.Querier.InsertSetting(ctx, name, strings.Repeat("x", probeSize)); err != nil {
			return err
		}
		if !s.engine.OneWriter {
			return errUndone
		}
		return session.Exec(ctx, "DELETE FROM keyfold_settings WHERE name = '"+name+"'")
	})
	if errors.Is(err, errUndone) {
		return nil
	}
	return err
}
