package mysql_test

import (
	"context"
	"database/sql"
	sqldriver "database/sql/driver"
	"testing"
	"time"

	driver "github.com/go-sql-driver/mysql"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/internal/testdb"
	"github.com/keyfold/keyfold/store/mysql"
	"github.com/keyfold/keyfold/store/storetest"
)

func open(t *testing.T, dsn string) *mysql.Store {
	t.Helper()
	store, err := mysql.Open(t.Context(), dsn)
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

// pool opens a pool of the program with an edited data source name.
func pool(t *testing.T, dsn string, edit func(*driver.Config)) *sql.DB {
	t.Helper()
	return openDB(t, plainConnector(t, dsn, edit))
}

// plainConnector is the driver's connector.
func plainConnector(t *testing.T, dsn string, edit func(*driver.Config)) sqldriver.Connector {
	t.Helper()
	config, err := driver.ParseDSN(dsn)
	if err != nil {
		t.Fatal("the data source name of the test server is malformed")
	}
	if edit != nil {
		edit(config)
	}
	connector, err := driver.NewConnector(config)
	if err != nil {
		t.Fatal(err)
	}
	return connector
}

func openDB(t *testing.T, connector sqldriver.Connector) *sql.DB {
	t.Helper()
	db := sql.OpenDB(connector)
	db.SetMaxOpenConns(16)
	db.SetMaxIdleConns(16)
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func TestConformance(t *testing.T) {
	for name, open := range map[string]func(*testing.T) *sql.DB{
		"the driver's defaults": func(t *testing.T) *sql.DB { return pool(t, testdb.MariaDB(t), nil) },
		"clientFoundRows=true&interpolateParams=true": func(t *testing.T) *sql.DB {
			return pool(t, testdb.MariaDB(t), func(config *driver.Config) {
				config.ClientFoundRows, config.InterpolateParams = true, true
			})
		},
		"NewConnector": func(t *testing.T) *sql.DB {
			connector, err := mysql.NewConnector(testdb.MariaDB(t))
			if err != nil {
				t.Fatal(err)
			}
			return openDB(t, connector)
		},
	} {
		t.Run(name, func(t *testing.T) {
			storetest.Run(t, func(t *testing.T) keyfold.Store {
				store, err := mysql.New(t.Context(), open(t))
				if err != nil {
					t.Fatalf("New: %v", err)
				}
				t.Cleanup(func() { _ = store.Close() })
				return store
			})
		})
	}
}

// Verifies of a Service have a deadline, so a Store of Open reads keys by lookups.
func TestConformanceOfOpen(t *testing.T) {
	storetest.Run(t, func(t *testing.T) keyfold.Store { return hurried{open(t, testdb.MariaDB(t))} })
}

// hurried gives every verify a deadline.
type hurried struct{ *mysql.Store }

func (h hurried) VerifyKey(ctx context.Context, id string) (keyfold.VerifyRecord, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	return h.Store.VerifyKey(ctx, id)
}
