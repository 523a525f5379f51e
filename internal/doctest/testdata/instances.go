// A function start is declared on PostgreSQL. Three instances are started with it.
package wrapper

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/internal/testdb"
	"github.com/keyfold/keyfold/store/postgres"
)

func Run(t *testing.T) {
	ctx := t.Context()
	url := testdb.Postgres(t)
	var instances []*keyfold.Service
	for range 3 {
		svc, stop, err := start(ctx, url)
		if err != nil {
			t.Fatal(err)
		}
		defer stop()
		instances = append(instances, svc)
	}
	key, token, err := instances[0].CreateKey(ctx, keyfold.NewKey{Name: "ci"})
	if err != nil {
		t.Fatal(err)
	}
	for _, svc := range instances {
		if _, err := svc.Verify(ctx, keyfold.Request{Token: token.Reveal()}); err != nil {
			t.Fatal(err)
		}
	}
	if err := instances[0].RevokeKey(ctx, key.ID, "test"); err != nil {
		t.Fatal(err)
	}
	for i, svc := range instances {
		for late := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
			_, err := svc.Verify(ctx, keyfold.Request{Token: token.Reveal()})
			if errors.Is(err, keyfold.ErrUnauthenticated) {
				break
			}
			if time.Now().After(late) {
				t.Fatalf("instance %d still answers %v", i, err)
			}
		}
	}
}

// BLOCK
