package bench_test

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/keyfold/keyfold/bench/keyset"
)

// byHand is the code that a program has in place of Keyfold: one table with the hash
// of each token, and a prepared statement for each request.
type byHand struct {
	// find returns what a handler needs of the key with that hash.
	find func(ctx context.Context, hash []byte) (owner, scopes string, expiresAt int64, err error)
	// use counts one use of it.
	use func(ctx context.Context, hash []byte, at int64) error
}

const byHandKeys = 10_000

const (
	findByHand = "SELECT owner, scopes, expires_at FROM by_hand WHERE hash = "
	useByHand  = "UPDATE by_hand SET uses = uses + 1, last_used_at = "
)

// newByHand creates the table in the database, with the tokens of its first keys.
func newByHand(b *testing.B, d *database, engine string) *byHand {
	b.Helper()
	ctx := context.Background()
	binary := map[string]string{"sqlite": "BLOB", "postgres": "BYTEA", "mysql": "BINARY(32)"}[engine]
	must(b, d.exec(ctx, "DROP TABLE IF EXISTS by_hand"))
	must(b, d.exec(ctx, "CREATE TABLE by_hand (hash "+binary+" PRIMARY KEY, owner VARCHAR(128) NOT NULL, scopes VARCHAR(1000) NOT NULL, "+
		"expires_at BIGINT NOT NULL, uses BIGINT NOT NULL, last_used_at BIGINT NOT NULL)"))
	literal := map[string]string{"sqlite": "x'%x'", "postgres": `'\x%x'`, "mysql": "x'%x'"}[engine]
	for first := 0; first < byHandKeys; first += 1000 {
		var rows []string
		for i := first; i < first+1000; i++ {
			rows = append(rows, fmt.Sprintf("("+literal+", '%s', '%s', %d, 0, 0)", sha256.Sum256([]byte(d.keys.Token(i))), keyset.Owner(i), keyset.Scopes, int64(1)<<60))
		}
		must(b, d.exec(ctx, "INSERT INTO by_hand VALUES "+strings.Join(rows, ", ")))
	}
	b.Cleanup(func() { must(b, d.exec(ctx, "DROP TABLE by_hand")) })
	return d.byHand(b)
}

// verify is the whole check of a request by hand.
func (h *byHand) verify(ctx context.Context, token, scope string, count bool) error {
	hash, now := sha256.Sum256([]byte(token)), time.Now().UnixMilli()
	owner, scopes, expiresAt, err := h.find(ctx, hash[:])
	switch {
	case err != nil:
		return err
	case owner == "" || expiresAt <= now || !strings.Contains(" "+scopes+" ", " "+scope+" "):
		return errors.New("refused")
	case !count:
		return nil
	}
	return h.use(ctx, hash[:], now)
}

// BenchmarkByHand measures a check of keys as programs write it by hand, with and
// without a count of uses. The floor is Keyfold with its defaults: every use in
// totals, counts by hour and events, and the time of the flushes included.
func BenchmarkByHand(b *testing.B) {
	for _, engine := range engines {
		b.Run(engine.name, func(b *testing.B) {
			d := filled(b, engine.name, 100_000)
			hand := newByHand(b, d, engine.name)
			order := keyset.Zipf(byHandKeys)
			token := func(i int) string { return d.keys.Token(int(order[i&(len(order)-1)])) }
			for _, row := range []struct {
				name  string
				count bool
				chunk int
			}{{"select", false, 1024}, {"select+update", true, 256}} {
				b.Run(row.name, func(b *testing.B) {
					ctx := serverContext(b)
					svc := newService(b, d.store, quietOptions(byHandKeys))
					for i := range byHandKeys { // a server that runs has its keys in memory
						_, err := svc.Verify(ctx, request(d.keys.Token(i)))
						must(b, err)
					}
					must(b, svc.Flush(ctx))
					paired(b, row.chunk, func(i int) {
						must(b, hand.verify(ctx, token(i), "reports:read", row.count))
					}, func(i int) {
						r := request(token(i))
						r.Scopes = []string{"reports:read"}
						if _, err := svc.Verify(ctx, r); err != nil {
							b.Fatal(err)
						}
						if i%1024 == 0 {
							must(b, svc.Flush(ctx))
						}
					}, nil)
				})
			}
		})
	}
}

// rawByHand prepares the statements of database/sql.
func rawByHand(b testing.TB, readers, writer *sql.DB) *byHand {
	find, err := readers.Prepare(findByHand + "?")
	must(b, err)
	use, err := writer.Prepare(useByHand + "? WHERE hash = ?")
	must(b, err)
	b.Cleanup(func() { _, _ = find.Close(), use.Close() })
	return &byHand{
		find: func(ctx context.Context, hash []byte) (owner, scopes string, expiresAt int64, err error) {
			err = find.QueryRowContext(ctx, hash).Scan(&owner, &scopes, &expiresAt)
			return owner, scopes, expiresAt, err
		},
		use: func(ctx context.Context, hash []byte, at int64) error {
			_, err := use.ExecContext(ctx, at, hash)
			return err
		},
	}
}
