package sqlite

import (
	"context"
	"crypto/rand"
	"database/sql"
	"strconv"
	"sync"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/store/internal/sqlstore"
)

// feed reads the changes only if something was committed since the last poll. It
// compares the data version, which reads no table. The version is part of the cursor,
// because several callers may poll one Store.
type feed struct {
	sqlstore.SequenceFeed
	version *dataVersion
}

var _ sqlstore.Feed = feed{}

// Now implements sqlstore.Feed.
func (f feed) Now(ctx context.Context) (sqlstore.Cursor, error) {
	seen := f.version.read(ctx)
	next, err := f.SequenceFeed.Now(ctx)
	next.Rest = seen
	return next, err
}

// Poll implements sqlstore.Feed. It reads the version before the rows, so that the next
// poll finds changes that are committed in between. It may return them twice.
func (f feed) Poll(ctx context.Context, since sqlstore.Cursor) ([]keyfold.Change, sqlstore.Cursor, bool, error) {
	seen := f.version.read(ctx)
	if seen != "" && seen == since.Rest {
		return nil, since, true, nil
	}
	changes, next, known, err := f.SequenceFeed.Poll(ctx, since)
	next.Rest = seen
	return changes, next, known, err
}

// dataVersion reads PRAGMA data_version, which changes when another connection of any
// process commits to the database. Values are comparable only on one connection, so
// dataVersion keeps a connection that never writes.
// See https://www.sqlite.org/pragma.html#pragma_data_version.
type dataVersion struct {
	db *sql.DB

	mu     sync.Mutex
	conn   *sql.Conn // nil before the first use and after a failure
	query  *sql.Stmt
	name   string // of the connection, because another connection counts differently
	closed bool
}

// read returns a text that identifies the state of the database, or "" if the state is
// unknown.
func (v *dataVersion) read(ctx context.Context) string {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.closed || v.conn == nil && !v.open(ctx) {
		return ""
	}
	var number int64
	if err := v.query.QueryRowContext(ctx).Scan(&number); err != nil {
		v.drop()
		return ""
	}
	return v.name + "." + strconv.FormatInt(number, 36)
}

func (v *dataVersion) open(ctx context.Context) bool {
	conn, err := v.db.Conn(ctx)
	if err != nil {
		return false
	}
	query, err := conn.PrepareContext(ctx, "PRAGMA data_version")
	if err != nil {
		_ = conn.Close()
		return false
	}
	v.conn, v.query, v.name = conn, query, rand.Text()
	return true
}

func (v *dataVersion) drop() {
	if v.conn != nil {
		_ = v.query.Close()
		_ = v.conn.Close()
		v.conn = nil
	}
}

// renew makes the next read use a new connection.
func (v *dataVersion) renew() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.drop()
}

func (v *dataVersion) close() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.closed = true
	v.drop()
}
