package sqlstore

import (
	"log/slog"
	"sync"
)

// unreadable remembers the blocks of usage events that cannot be read. The methods
// do nothing for nil.
type unreadable struct {
	sync.Mutex
	ids    map[int64]struct{}
	report func(message string, attributes ...slog.Attr)
}

// maxUnreadable bounds the memory for ids.
const maxUnreadable = 10_000

// found reports a block, each once.
func (u *unreadable) found(id int64, err error) {
	if u == nil {
		return
	}
	u.Lock()
	_, known := u.ids[id]
	known = known || len(u.ids) >= maxUnreadable
	if !known {
		u.ids[id] = struct{}{}
	}
	u.Unlock()
	if !known && u.report != nil {
		u.report("keyfold: a block of usage events cannot be read; its events are left out", slog.Int64("block", id), slog.Any("error", err))
	}
}
