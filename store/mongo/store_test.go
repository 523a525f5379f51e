package mongo_test

import (
	"testing"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/internal/testdb"
	"github.com/keyfold/keyfold/store/mongo"
	"github.com/keyfold/keyfold/store/storetest"
)

func open(t *testing.T, uri string) *mongo.Store {
	t.Helper()
	store, err := mongo.Open(t.Context(), uri)
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return store
}

func TestConformance(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(t *testing.T) keyfold.Store { return open(t, testdb.Mongo(t)) }, storetest.Slow())
}
