// Package sqlstore turns the queries that sqlc generates into a keyfold.Store.
// It knows SQL by the names of its queries only, and imports no driver: what
// the databases do not have in common is given to it as an [Engine].
package sqlstore

import (
	"context"
	"io/fs"
	"time"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/query/model"
	"github.com/keyfold/keyfold/query/mysqldb"
)

// Querier is the set of queries that all engines share. MySQL's is exactly
// that set; the others have further queries of their own.
type Querier = mysqldb.Querier

// Class says what an error of the database means.
type Class uint8

// The classes of errors.
const (
	Other    Class = iota // the database could not do its work
	Conflict              // a unique value exists already
	Lost                  // the database gave the transaction up; running it again may succeed
	NoSpace               // the disk of the database is full, or the space that it may use
	ReadOnly              // the database refuses every change
	Full                  // the server refuses a further connection; one of the open ones will be free
)

// Engine is what the databases do not have in common.
type Engine struct {
	// Name begins every error: "keyfold/sqlite".
	Name string
	// Migrations are those that this build knows, for [Migrate].
	Migrations fs.FS
	// Pool runs statements outside of transactions. It has no Bulk, Exec, Commit
	// or Rollback.
	Pool Session
	// Read runs fn with a session for reads outside of transactions, where Pool
	// cannot be used as it is; nil where it can.
	Read func(ctx context.Context, fn func(*Session) error) error
	// Begin begins a transaction that the store owns.
	Begin func(ctx context.Context) (Session, error)
	// Check, if set, is a part of Store.Check that comes before the schema is read:
	// whether the connections are safe and lead to the database that was opened.
	// An answer of no must be a keyfold.ErrCheckFailed.
	Check func(ctx context.Context) error
	// State, if set, returns a text that is another whenever something was
	// committed since the last call, and "" where that cannot be told. While it is
	// the same, the schema is not read again.
	State func(ctx context.Context) string
	// Reserve is set apart for the feed and for changes; nil where nothing is, as
	// in a pool of the program's own.
	Reserve *Reserve
	// Lookups reads the keys of verifies; nil where that needs nothing of its own.
	Lookups *Lookups
	// OneWriter is true where the database lets one transaction write at a time.
	// Changes then go before usage and attempts.
	OneWriter bool
	// Attempts bounds how many attempts, which anonymous clients start, hold a
	// connection at a time. Zero means no bound.
	Attempts int
	// Class tells what an error of the driver means.
	Class func(err error) Class
	// Hint says what a person can do about an error of the driver. It is empty for
	// most, and the func is nil where an engine has no hints.
	Hint func(err error) string
	// Close releases what the store opened itself; nil when that is nothing.
	Close func() error

	traffic *traffic // of a store that begins its transactions
}

// Session is one way to the database: a pool, or one transaction.
type Session struct {
	Querier Querier
	Bulk    Bulk
	Feed    Feed
	// Exec runs a statement without arguments or rows, for savepoints.
	Exec func(ctx context.Context, statement string) error
	// Commit and Rollback are nil when the transaction is somebody else's.
	Commit   func(ctx context.Context) error
	Rollback func(ctx context.Context) error
}

// Bulk writes a batch of usage inside a transaction. Every slice it is given
// is sorted by the primary key of its table and names no key twice.
type Bulk interface {
	// Lock returns which of the keys exist, and keeps them from being deleted or
	// counted by others until the transaction ends.
	Lock(ctx context.Context, keyIDs []string) ([]string, error)
	AddUses(ctx context.Context, rows []model.KeyTotal) error
	AddHours(ctx context.Context, rows []model.UsageHour) error
	AddWords(ctx context.Context, rows []model.Word) error
	AddEvents(ctx context.Context, rows []model.UsageEvent) error
}

// Feed reads the changes.
type Feed interface {
	// Now returns a cursor that stands for now.
	Now(ctx context.Context) (Cursor, error)
	// Poll returns the changes since the cursor, at most MaxChanges, and the
	// cursor for the next poll. known is false when it cannot tell what was
	// missed.
	Poll(ctx context.Context, since Cursor) (changes []keyfold.Change, next Cursor, known bool, err error)
}

// MaxChanges is the greatest number of changes of one poll. A process that missed
// more is told that anything may have changed.
const MaxChanges = 10_000

const (
	maxTries      = 20 // nodes of a Galera cluster that write one row give up about every second one
	maxPause      = 100 * time.Millisecond
	writeDeadline = 5 * time.Second  // of a transaction that the store owns; the feed of MySQL relies on it
	usageDeadline = 30 * time.Second // of what writes no change, or writes it last
)
