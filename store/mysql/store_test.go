package mysql_test

import (
	"database/sql"
	"testing"

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

// pool opens a pool of the program's own, with its data source name edited.
func pool(t *testing.T, dsn string, edit func(*driver.Config)) *sql.DB {
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
	db := sql.OpenDB(connector)
	db.SetMaxOpenConns(16)
	db.SetMaxIdleConns(16)
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func TestConformance(t *testing.T) {
	for name, edit := range map[string]func(*driver.Config){
		"the driver's defaults":  func(*driver.Config) {},
		"clientFoundRows=true":   func(config *driver.Config) { config.ClientFoundRows = true },
		"interpolateParams=true": func(config *driver.Config) { config.InterpolateParams = true },
	} {
		t.Run(name, func(t *testing.T) {
			storetest.Run(t, func(t *testing.T) keyfold.Store {
				store, err := mysql.New(t.Context(), pool(t, testdb.MariaDB(t), edit))
				if err != nil {
					t.Fatalf("New: %v", err)
				}
				t.Cleanup(func() { _ = store.Close() })
				return store
			})
		})
	}
}
