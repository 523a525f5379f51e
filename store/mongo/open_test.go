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

func TestOpenFailsSoonAndKeepsThePassword(t *testing.T) {
	t.Parallel()
	for _, uri := range []string{
		"mongodb://u:hunter-two@127.0.0.1:1/d?serverSelectionTimeoutMS=50",
		"mongodb://u:hunter-two@h/d?w=hunter-two", "mongodb://u:hunter-two@h:hunter-two/d", "hunter-two", "",
	} {
		if _, err := mongo.Open(t.Context(), uri); err == nil || strings.Contains(err.Error(), "hunter") {
			t.Errorf("Open returned %v, want an error without the password", err)
		}
	}
}

func TestProcessesThatStartTogetherMakeOneSchema(t *testing.T) {
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

func TestNewerSchemaIsLeftAlone(t *testing.T) {
	t.Parallel()
	uri := testdb.Mongo(t)
	store := open(t, uri)
	meta := store.Database().Collection("keyfold_meta")
	if _, err := meta.UpdateOne(t.Context(), bson.D{}, bson.D{{Key: "$set", Value: bson.D{{Key: "schema_version", Value: int64(99)}}}}); err != nil {
		t.Fatal(err)
	}
	if _, err := mongo.Open(t.Context(), uri); err == nil || !strings.Contains(err.Error(), "newer than this build") {
		t.Errorf("Open of a newer schema: %v", err)
	}
	if err := store.Ping(t.Context()); err == nil {
		t.Error("Ping of a newer schema: no error")
	}
}

func TestInTxSaysThatThereAreNoTransactions(t *testing.T) {
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
