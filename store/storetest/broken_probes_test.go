package storetest_test

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/store/memory"
)

// probing is a store whose Probe breaks no rule.
type probing struct{ keyfold.Store }

func newProbing() keyfold.Store { return probing{memory.New()} }

func (s probing) Probe(ctx context.Context) error { return s.Ping(ctx) }

// auditedProbe probes with a mutation.
type auditedProbe struct{ keyfold.Store }

func newAuditedProbe() keyfold.Store { return auditedProbe{memory.New()} }

func (s auditedProbe) Probe(ctx context.Context) error {
	return s.SetSetting(ctx, "probe", "x", keyfold.Mutation{At: time.Now(), Action: "probe"})
}

// lonelyProbe inserts a row with a fixed name, which fails while another probe runs.
type lonelyProbe struct {
	keyfold.Store
	row sync.Mutex
}

func newLonelyProbe() keyfold.Store { return &lonelyProbe{Store: memory.New()} }

func (s *lonelyProbe) Probe(ctx context.Context) error {
	if !s.row.TryLock() {
		return keyfold.ErrConflict
	}
	defer s.row.Unlock()
	time.Sleep(50 * time.Millisecond)
	return s.Ping(ctx)
}

// gloomyProbe fails although changes succeed.
type gloomyProbe struct{ keyfold.Store }

func newGloomyProbe() keyfold.Store { return gloomyProbe{memory.New()} }

func (s gloomyProbe) Probe(context.Context) error { return errors.New("the probe failed") }

// timelessProbe ignores its context.
type timelessProbe struct{ keyfold.Store }

func newTimelessProbe() keyfold.Store { return timelessProbe{memory.New()} }

func (s timelessProbe) Probe(ctx context.Context) error { return s.Ping(context.WithoutCancel(ctx)) }

// patientProbe waits for transactions even after its context is done.
type patientProbe struct{ keyfold.Store }

func newPatientProbe() keyfold.Store { return patientProbe{memory.New()} }

func (s patientProbe) Probe(ctx context.Context) error {
	if err := s.Ping(ctx); err != nil {
		return err
	}
	return s.InTx(context.WithoutCancel(ctx), func(keyfold.Store) error { return nil })
}
