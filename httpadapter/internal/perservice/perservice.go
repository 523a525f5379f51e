// Package perservice keeps the state that all handlers of one Service share.
package perservice

import (
	"log/slog"
	"sync"

	"github.com/keyfold/keyfold"
)

// Owner keeps state for adapters. A [keyfold.Service] is one, and so is a type that
// embeds it.
type Owner interface {
	AdapterState(key any, create func() any) any
}

var _ Owner = (*keyfold.Service)(nil)

// key is the key for the state of type T.
type key[T any] struct{}

// Of returns the T of this owner. The first call creates it.
func Of[T any](owner Owner, create func() *T) *T {
	return owner.AdapterState(key[T]{}, func() any { return create() }).(*T)
}

// Warnings logs warnings about options once, so that a program with many handlers
// does not repeat them. The zero value is ready for use.
type Warnings struct{ once sync.Once }

// WarningsOf returns the Warnings that all handlers of this owner share, whatever
// their package.
func WarningsOf(owner Owner) *Warnings {
	return Of(owner, func() *Warnings { return new(Warnings) })
}

// Log logs the warnings, unless some were logged before.
func (w *Warnings) Log(log *slog.Logger, warnings []string) {
	if len(warnings) == 0 {
		return
	}
	w.once.Do(func() {
		for _, warning := range warnings {
			log.Warn("keyfold: " + warning)
		}
	})
}
