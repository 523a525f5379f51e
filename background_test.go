package keyfold_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/store/memory"
)

func TestOldUsageAndChangesAreDeletedWithAndWithoutACache(t *testing.T) {
	t.Parallel()
	for name, opts := range map[string]keyfold.Options{"with": {}, "without": {DisableCache: true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				store := memory.New()
				opts.Now, opts.EventRetention, opts.PollInterval, opts.MaxStaleness = time.Now, 2*time.Hour, time.Minute, time.Minute
				svc := newService(t, store, &opts)
				_, token := create(t, svc, keyfold.NewKey{TTL: keyfold.Never})
				_, start, err := store.Changes(t.Context(), "")
				if err != nil {
					t.Fatal(err)
				}
				create(t, svc, keyfold.NewKey{})
				create(t, svc, keyfold.NewKey{})
				outcome(svc, token)
				began := time.Now()
				events := func() int {
					page, err := svc.Usage(t.Context(), keyfold.UsageQuery{From: began.Add(-time.Hour), To: began.Add(time.Hour)})
					if err != nil {
						t.Fatal(err)
					}
					return len(page.Events)
				}
				time.Sleep(100 * time.Minute)
				if got := events(); got != 1 {
					t.Errorf("%d events before their time, want 1", got)
				}
				time.Sleep(3 * time.Hour)
				if got := events(); got != 0 {
					t.Errorf("%d events after their time, want none", got)
				}
				time.Sleep(25 * time.Hour)
				changes, _, err := store.Changes(t.Context(), start)
				if err != nil || len(changes) != 1 || changes[0].Target != "" {
					t.Errorf("the feed tells a reader from a day ago %v, %v; want that rows are missing", changes, err)
				}
			})
		})
	}
}

func TestOneTimeTokensAndThrottlesAreDeletedOnceTheyHaveExpired(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := memory.New()
		svc := newService(t, store, &keyfold.Options{Now: time.Now})
		user := join(t, svc, keyfold.NewUser{Email: "ann@example.com"})
		_, token := create(t, svc, keyfold.NewKey{TTL: keyfold.Never})
		outcome(svc, token) // starts the background work
		_, err := svc.CreateOneTimeToken(t.Context(), keyfold.PurposeVerifyEmail, user.ID, "")
		must(t, err)
		_, err = svc.Authenticate(t.Context(), keyfold.Credentials{Identifier: "ann", Password: another})
		wantErr(t, "Authenticate", err, keyfold.ErrUnauthenticated)
		time.Sleep(30 * time.Hour)
		tokens, _, err := store.PruneOneTimeTokens(t.Context(), time.Now(), 10)
		must(t, err)
		throttles, _, err := store.PruneThrottles(t.Context(), time.Now(), 10)
		must(t, err)
		if tokens != 0 || throttles != 0 {
			t.Errorf("%d tokens and %d throttles that have expired are left, want none", tokens, throttles)
		}
	})
}
