package storetest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/keyfold/keyfold"
)

func probeCases() []testCase {
	return []testCase{
		{name: "a probe of a working store succeeds, even during other probes", run: probesSucceed, probe: true},
		{name: "a probe writes neither change rows nor audit rows", run: probeWritesNoRows, alone: true, probe: true},
		{name: "a probe that waits for a transaction returns when its context is done", run: probeGivesUp, tx: true, probe: true},
	}
}

func (t *trial) probe(ctx context.Context) error { return t.store.(keyfold.ProbingStore).Probe(ctx) }

func probesSucceed(t *trial) {
	t.wantNoError("Probe", t.probe(t.ctx))
	t.wantNoError("Probe again", t.probe(t.ctx))
	t.wantNoError("probes at once", errors.Join(race(4, func(int) error { return again(func() error { return t.probe(t.ctx) }) })...))
	t.create() // changes must still work
}

func probeWritesNoRows(t *trial) {
	cursor := t.cursor()
	t.wantNoError("Probe", t.probe(t.ctx))
	changes, _, err := t.store.Changes(t.ctx, cursor)
	t.wantNoError("Changes", err)
	if entries := t.entries(keyfold.AuditScan{Limit: 10}, nil); len(changes) != 0 || len(entries) != 0 {
		t.Errorf("Probe wrote %d change rows and %d audit rows, want none", len(changes), len(entries))
	}
}

// probeGivesUp also accepts a probe that does not wait because it needs no lock.
func probeGivesUp(t *trial) {
	t.wantNoError("InTx", t.store.InTx(t.ctx, func(tx keyfold.Store) error {
		key := t.record()
		if err := tx.CreateKey(t.ctx, key, t.mutation("key.create", key.ID)); err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(t.ctx, 100*time.Millisecond)
		defer cancel()
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			_ = t.probe(ctx)
		}()
		select {
		case <-ended:
			return nil
		case <-time.After(t.patience):
			return fmt.Errorf("a Probe with a context of 100 ms waited %v", t.patience)
		}
	}))
	t.wantNoError("Probe after the transaction", t.probe(t.ctx))
}
