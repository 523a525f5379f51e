// Package perservice keeps state that all handlers of one Service share, for as
// long as that Service is in use.
package perservice

import (
	"log/slog"
	"runtime"
	"sync"
	"weak"

	"github.com/keyfold/keyfold"
)

// States keeps one T for each Service. The zero value is ready for use. It is
// safe for concurrent use.
type States[T any] struct {
	mu sync.Mutex
	of map[weak.Pointer[keyfold.Service]]*T
}

// Of returns the state of the Service. The first call for a Service makes it.
func (s *States[T]) Of(svc *keyfold.Service, create func() *T) *T {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := weak.Make(svc)
	state := s.of[key]
	if state == nil {
		if s.of == nil {
			s.of = map[weak.Pointer[keyfold.Service]]*T{}
		}
		state = create()
		s.of[key] = state
		runtime.AddCleanup(svc, s.forget, key)
	}
	return state
}

func (s *States[T]) forget(key weak.Pointer[keyfold.Service]) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.of, key)
}

// warned is shared by all handlers of a Service, whatever their package, so that
// a program with many of them logs a warning once.
var warned States[sync.Once]

// WarnOnce logs warnings about the options of a handler, the first time that a
// handler of the Service has any. Without a Service it logs them each time.
func WarnOnce(svc *keyfold.Service, log *slog.Logger, warnings []string) {
	if len(warnings) == 0 {
		return
	}
	once := new(sync.Once)
	if svc != nil {
		once = warned.Of(svc, func() *sync.Once { return once })
	}
	once.Do(func() {
		for _, warning := range warnings {
			log.Warn("keyfold: " + warning)
		}
	})
}
