package mongo

import (
	"context"
	"hash/maphash"
	"slices"
)

// stripes are locks of this process, one for many names. They keep no other process
// out and are needed for nothing but speed: of a hundred goroutines that change
// one document, each would be refused by all that came before it.
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

// lock waits for the locks of all the names, until ctx is done. The caller must
// call unlock in any case.
func (l *stripes) lock(ctx context.Context, names ...string) (unlock func(), err error) {
	var wanted []int
	for _, name := range names {
		wanted = append(wanted, int(maphash.String(l.seed, name)%uint64(len(l.held))))
	}
	slices.Sort(wanted) // so that no two wait for each other
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
