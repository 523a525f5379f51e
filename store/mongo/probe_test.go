package mongo

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/internal/testdb"
)

func TestErrorsContainTheReasonWhyTheServerRefusesChanges(t *testing.T) {
	t.Parallel()
	for code, want := range map[int]error{
		14031: keyfold.ErrNoSpace,  // OutOfDiskSpace
		10107: keyfold.ErrReadOnly, // NotWritablePrimary
		13:    nil,                 // Unauthorized
	} {
		for _, err := range []error{
			mongo.CommandError{Code: int32(code)},
			mongo.WriteException{WriteErrors: mongo.WriteErrors{{Code: code}}},
			mongo.WriteException{WriteConcernError: &mongo.WriteConcernError{Code: code}},
			mongo.BulkWriteException{WriteErrors: []mongo.BulkWriteError{{WriteError: mongo.WriteError{Code: code}}}},
			fmt.Errorf("replace: %w", mongo.CommandError{Code: int32(code)}),
		} {
			got := wrap("test", err)
			for _, known := range []error{keyfold.ErrNoSpace, keyfold.ErrReadOnly} {
				if errors.Is(got, known) != (want == known) {
					t.Errorf("code %d in a %T: got %v, want %v", code, err, got, want)
				}
			}
		}
	}
	if got := wrap("test", errors.New("14031")); errors.Is(got, keyfold.ErrNoSpace) {
		t.Errorf("the text of a code: got %v", got)
	}
}

func TestProbeLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	s, err := Open(t.Context(), testdb.Mongo(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	done := make(chan error)
	for range 4 {
		go func() { done <- s.Probe(t.Context()) }()
	}
	for range 4 {
		if err := <-done; err != nil {
			t.Errorf("Probe: %v", err)
		}
	}
	if left, err := s.settings.CountDocuments(t.Context(), bson.D{}); err != nil || left != 0 {
		t.Errorf("%d settings are left (%v)", left, err)
	}
}

func TestReadyFailsIfTheDiskIsFull(t *testing.T) {
	t.Parallel()
	s, err := Open(t.Context(), testdb.Mongo(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	s.intercept = func(command string, run func() error) error {
		if strings.HasPrefix(command, "replace ") { // the first command of Probe
			return mongo.CommandError{Code: codeOutOfDiskSpace}
		}
		return run()
	}
	svc, err := keyfold.New(s, &keyfold.Options{Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err != nil {
		t.Fatal(err)
	}
	defer svc.Close(t.Context())
	failed := new(keyfold.NotReadyError)
	if err := svc.Ready(t.Context()); !errors.As(err, &failed) || failed.Part != keyfold.PartChanges || !errors.Is(err, keyfold.ErrNoSpace) {
		t.Errorf("Ready: got %v, want that changes fail with ErrNoSpace", err)
	}
}
