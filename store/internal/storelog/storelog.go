// Package storelog carries the messages of a store to the logger of the
// Service that uses it.
package storelog

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// every is how often one message is written at most.
const every = time.Minute

// A Log takes the messages of one store. The zero Log drops them until SetLogger is
// called, because the errors of a store that no Service uses yet go to the
// caller. It is safe for concurrent use.
type Log struct {
	logger atomic.Pointer[slog.Logger]
	repeat struct {
		sync.Mutex
		last    map[string]time.Time
		omitted map[string]int
	}
}

// SetLogger implements keyfold.LoggingStore.
func (l *Log) SetLogger(logger *slog.Logger) { l.logger.Store(logger) }

// Warn writes a message, at most once a minute: a server that is away would
// otherwise cause one for every request. The number of omitted messages is
// written with the next one.
func (l *Log) Warn(message string, attributes ...slog.Attr) {
	logger := l.logger.Load()
	if logger == nil {
		return
	}
	omitted, due := l.due(message, time.Now())
	if !due {
		return
	}
	if omitted > 0 {
		attributes = append(attributes, slog.Int("omitted", omitted))
	}
	logger.LogAttrs(context.Background(), slog.LevelWarn, message, attributes...)
}

func (l *Log) due(message string, now time.Time) (omitted int, due bool) {
	r := &l.repeat
	r.Lock()
	defer r.Unlock()
	if r.last == nil {
		r.last, r.omitted = map[string]time.Time{}, map[string]int{}
	}
	if last, seen := r.last[message]; seen && now.Sub(last) < every {
		r.omitted[message]++
		return 0, false
	}
	omitted = r.omitted[message]
	r.last[message], r.omitted[message] = now, 0
	return omitted, true
}
