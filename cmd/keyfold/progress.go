package main

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/keyfold/keyfold"
)

// progressDelay is the time after which a command shows that it is still working.
// Quick commands show nothing.
const progressDelay = time.Second

// progress shows a line about the work in hand on standard error until the
// returned function is called, which erases the line. It shows nothing if standard
// error is not a terminal.
func (c *command) progress(line func() string) (stop func()) {
	if !isTerminal(c.stderr) {
		return func() {}
	}
	return c.showProgress(progressDelay, line)
}

func (c *command) showProgress(every time.Duration, line func() string) (stop func()) {
	began := time.Now()
	ended, erased := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(erased)
		ticker := time.NewTicker(every)
		defer ticker.Stop()
		for shown := false; ; shown = true {
			select {
			case <-ended:
				if shown {
					fmt.Fprint(c.stderr, "\r\x1b[K")
				}
				return
			case <-ticker.C:
				fmt.Fprintf(c.stderr, "\r\x1b[K%s, %.0f s", line(), time.Since(began).Seconds())
			}
		}
	}()
	return func() {
		close(ended)
		<-erased
	}
}

// counted counts the keys that a bulk change has changed so far.
type counted struct{ changed atomic.Int64 }

func (n *counted) wrap(store keyfold.Store) keyfold.Store { return countingStore{store, n} }

type countingStore struct {
	keyfold.Store

	counted *counted
}

func (s countingStore) SetKeyState(ctx context.Context, ids []string, change keyfold.StateChange, reason string, m keyfold.Mutation) ([]string, error) {
	changed, err := s.Store.SetKeyState(ctx, ids, change, reason, m)
	s.counted.changed.Add(int64(len(changed)))
	return changed, err
}
