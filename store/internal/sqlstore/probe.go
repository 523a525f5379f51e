package sqlstore

import (
	"context"
	"crypto/rand"
	"errors"
	"strings"

	"github.com/keyfold/keyfold"
)

// probeSize is the number of bytes that Probe writes. It is more than a change needs,
// so that the value does not fit into the free space of a page.
const probeSize = 16 << 10

var errProbed = errors.New("the probe is rolled back")

// Probe implements keyfold.ProbingStore for a Store of this package. A server allocates
// disk space when a row is inserted, so Probe rolls the insert back there. SQLite
// allocates it at the commit.
func Probe(ctx context.Context, store keyfold.Store) error {
	s, ok := store.(*Store)
	if !ok {
		return errors.ErrUnsupported
	}
	name := "probe." + rand.Text() // a unique name, so that processes do not wait for each other
	err := s.writeIn(ctx, laneChange, "probe", writeDeadline, func(ctx context.Context, session *Session) error {
		if err := session.Querier.InsertSetting(ctx, name, strings.Repeat("x", probeSize)); err != nil {
			return err
		}
		if !s.engine.OneWriter {
			return errProbed
		}
		return session.Exec(ctx, "DELETE FROM keyfold_settings WHERE name = '"+name+"'")
	})
	if errors.Is(err, errProbed) {
		return nil
	}
	return err
}
