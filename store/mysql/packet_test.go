package mysql_test

import (
	"crypto/rand"
	"database/sql"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	driver "github.com/go-sql-driver/mysql"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/internal/testdb"
	"github.com/keyfold/keyfold/store/internal/sqltest"
	"github.com/keyfold/keyfold/store/mysql"
	"github.com/keyfold/keyfold/store/storetest"
)

// largeBatch is a batch of usage whose rows have the maximum length.
func largeBatch(key string) keyfold.UsageBatch {
	now := time.Now().UTC().Truncate(time.Millisecond)
	batch := keyfold.UsageBatch{
		RecorderID: rand.Text(), Number: 1, At: now,
		Keys: []keyfold.KeyUses{{KeyID: key, Uses: 700, LastUsedAt: now}},
	}
	for n := range 700 {
		batch.Events = append(batch.Events, keyfold.UsageEvent{
			At: now, Seq: int64(n + 1), KeyID: key, IP: netip.MustParseAddr("192.0.2.1"),
			RequestID: fmt.Sprintf("%0256d", n), Route: fmt.Sprintf("/%01000d", n), UserAgent: fmt.Sprintf("%01024d", n),
		})
		batch.Hours = append(batch.Hours, keyfold.UsageHour{
			KeyID: key, HourAt: now.Truncate(time.Hour).Add(time.Duration(-n) * time.Hour), Count: 1,
		})
	}
	return batch
}

func newDatabase(t *testing.T, admin *sql.DB, config *driver.Config) string {
	t.Helper()
	own := config.Clone()
	own.DBName = "d" + strings.ToLower(rand.Text())
	exec(t, admin, "CREATE DATABASE "+own.DBName+" CHARACTER SET utf8mb4")
	return own.FormatDSN()
}

func newHost(t *testing.T, dsn string, edit func(*driver.Config)) *mysql.Store {
	t.Helper()
	store, err := mysql.New(t.Context(), pool(t, dsn, edit))
	if err != nil {
		t.Fatalf("New: %v", err)
	}
	return store
}

// Mutations tried: a rowsOf that always returns rowsAtOnce, with the pool of the program;
// a client that always returns limit, with the settings of storetest.
func TestStatementsFitASmallPacket(t *testing.T) {
	t.Parallel()
	config := testdb.PrivateMariaDB(t, "--max-allowed-packet=64K")
	admin := pool(t, config.FormatDSN(), nil)
	for name, open := range map[string]func(t *testing.T) keyfold.Store{
		"Open": func(t *testing.T) keyfold.Store { return open(t, newDatabase(t, admin, config)) },
		"a pool of the program's own": func(t *testing.T) keyfold.Store {
			return newHost(t, newDatabase(t, admin, config), nil)
		},
	} {
		t.Run(name, func(t *testing.T) {
			store := open(t)
			sqltest.TestLargeBatch(t, store)
			key := sqltest.Create(t, store)
			if _, err := store.RecordUsage(t.Context(), largeBatch(key.ID)); err != nil {
				t.Errorf("RecordUsage: %v", err)
			}
		})
	}
	// The longest setting alone is larger than 64 KiB.
	exec(t, admin, "SET GLOBAL max_allowed_packet = 131072")
	t.Run("conformance", func(t *testing.T) {
		storetest.Run(t, func(t *testing.T) keyfold.Store { return open(t, newDatabase(t, admin, config)) })
	})
}

// The session does not report the limit of a proxy, or a limit that was set after New.
// Mutation tried: a refused that returns err.
func TestBatchesGetSmallerWhenTheServerRefusesThem(t *testing.T) {
	t.Parallel()
	config := testdb.PrivateMariaDB(t)
	admin := pool(t, config.FormatDSN(), nil)
	for name, edit := range map[string]func(*driver.Config){
		"by error 1153":             nil,
		"by the driver's own":       func(c *driver.Config) { c.MaxAllowedPacket = 64 << 10 },
		"by the driver, as it asks": func(c *driver.Config) { c.MaxAllowedPacket = 0 },
	} {
		t.Run(name, func(t *testing.T) {
			exec(t, admin, "SET GLOBAL max_allowed_packet = 16777216")
			store := newHost(t, newDatabase(t, admin, config), edit)
			key := sqltest.Create(t, store)
			exec(t, admin, "SET GLOBAL max_allowed_packet = 65536")
			store.DB().SetMaxIdleConns(0) // so that every session is new
			if _, err := store.RecordUsage(t.Context(), largeBatch(key.ID)); err != nil {
				t.Errorf("RecordUsage: %v", err)
			}
			if got, err := store.Key(t.Context(), key.ID); err != nil || got.Uses != 700 {
				t.Errorf("the key has %d uses (%v), want 700", got.Uses, err)
			}
		})
	}
}

func TestServerWithATinyPacketIsRefused(t *testing.T) {
	t.Parallel()
	config := testdb.PrivateMariaDB(t, "--max-allowed-packet=32K")
	admin := pool(t, config.FormatDSN(), nil)
	refusedWith(t, newDatabase(t, admin, config), "max_allowed_packet", "at least 65536")
}
