package mongo

import (
	"context"
	"hash/maphash"
	"slices"
)

// stripes are locks by name within this process. Several names share one lock. They are
// only an optimization: without them, concurrent mutations of one document in this
// process would conflict with each other and retry.
type stripes struct {
	seed maphash.Seed
	held [64]chan struct{}
}

func (l *stripes) init() {
	l.seed = maphash.MakeSeed()
	for i := range l.held {
		l.held[i] = make(chan struct{}, 1)
	}
}

// lock waits for the locks of all names until ctx is done. The caller must call unlock
// even if lock returns an error.
func (l *stripes) lock(ctx context.Context, names ...string) (unlock func(), err error) {
	var wanted []int
	for _, name := range names {
		wanted = append(wanted, int(maphash.String(l.seed, name)%uint64(len(l.held))))
	}
	slices.Sort(wanted) // so that concurrent calls cannot deadlock
	wanted = slices.Compact(wanted)
	var got []int
	unlock = func() {
		for _, i := range got {
			<-l.held[i]
		}
	}
	for _, i := range wanted {
		select {
		case l.held[i] <- struct{}{}:
			got = append(got, i)
		case <-ctx.Done():
			return unlock, ctx.Err()
		}
	}
	return unlock, nil
}
