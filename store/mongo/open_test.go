package mongo_test

import (
	"errors"
	"strings"
	"sync"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/internal/testdb"
	"github.com/keyfold/keyfold/store/mongo"
)

func TestOpenErrorDoesNotContainThePassword(t *testing.T) {
	t.Parallel()
	for _, uri := range []string{
		"mongodb://u:hunter-two@127.0.0.1:1/d?serverSelectionTimeoutMS=50",
		"mongodb://u:hunter-two@h/d?w=hunter-two", "mongodb://u:hunter-two@h:hunter-two/d", "hunter-two", "",
	} {
		t.Run(uri, func(t *testing.T) {
			t.Parallel()
			if _, err := mongo.Open(t.Context(), uri); err == nil || strings.Contains(err.Error(), "hunter") {
				t.Errorf("Open returned %v, want an error without the password", err)
			}
		})
	}
}

func TestProcessesThatStartTogetherCreateOneSchema(t *testing.T) {
	t.Parallel()
	uri := testdb.Mongo(t)
	var group sync.WaitGroup
	cursors := make([]string, 8)
	for i := range cursors {
		group.Go(func() {
			store, err := mongo.Open(t.Context(), uri)
			if err != nil {
				t.Error(err)
				return
			}
			defer store.Close()
			if _, cursors[i], err = store.Changes(t.Context(), ""); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	for _, cursor := range cursors {
		if cursor != cursors[0] {
			t.Errorf("cursors %q, want those of one feed", cursors)
			break
		}
	}
	again := open(t, uri)
	if from, to := again.Migration(); from != to {
		t.Errorf("the schema was found at version %d, want %d", from, to)
	}
}

// Mutation tried: a check that ignores the oldest version.
func TestNewerSchemaDecidesWhichVersionsMayUseIt(t *testing.T) {
	t.Parallel()
	uri := testdb.Mongo(t)
	store := open(t, uri)
	meta := store.Database().Collection("keyfold_meta")
	migrated := func(schema, oldest int64) {
		t.Helper()
		change := bson.D{{Key: "$set", Value: bson.D{{Key: "schema_version", Value: schema}, {Key: "oldest_version", Value: oldest}}}}
		if _, err := meta.UpdateOne(t.Context(), bson.D{}, change); err != nil {
			t.Fatal(err)
		}
	}
	migrated(99, 1)
	if from, to := open(t, uri).Migration(); from != 99 || to != 99 {
		t.Errorf("a schema that this build may use: from %d to %d, want 99 both", from, to)
	}
	if err := store.Check(t.Context()); err != nil {
		t.Errorf("Check of a schema that this build may use: %v", err)
	}
	migrated(99, 99)
	if _, err := mongo.Open(t.Context(), uri); err == nil || !strings.Contains(err.Error(), "newer than this build") {
		t.Errorf("Open of a newer schema: %v", err)
	}
	if err := store.Check(t.Context()); !errors.Is(err, keyfold.ErrCheckFailed) {
		t.Errorf("Check of a newer schema: %v, want ErrCheckFailed", err)
	}
}

func TestCheckFailsOnAnotherDatabaseInTheSamePlace(t *testing.T) {
	t.Parallel()
	uri := testdb.Mongo(t)
	store := open(t, uri)
	if err := store.Database().Drop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := store.Check(t.Context()); !errors.Is(err, keyfold.ErrCheckFailed) {
		t.Errorf("Check of a database that was dropped: %v, want ErrCheckFailed", err)
	}
	open(t, uri)
	if err := store.Check(t.Context()); !errors.Is(err, keyfold.ErrCheckFailed) {
		t.Errorf("Check of a database that was created again: %v, want ErrCheckFailed", err)
	}
}

func TestInTxIsUnsupported(t *testing.T) {
	t.Parallel()
	svc, err := keyfold.New(open(t, testdb.Mongo(t)), nil)
	if err != nil {
		t.Fatal(err)
	}
	err = svc.InTx(t.Context(), func(*keyfold.Service) error { t.Error("it runs"); return nil })
	if !errors.Is(err, errors.ErrUnsupported) || errors.Is(err, keyfold.ErrUnavailable) {
		t.Errorf("InTx: %v", err)
	}
}
