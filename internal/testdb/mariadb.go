package testdb

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"

	"github.com/go-sql-driver/mysql"
)

var mariadb = server{
	name:     "MariaDB",
	variable: "KEYFOLD_TEST_MARIADB_DSN",
	usual:    "root@tcp(127.0.0.1:3306)/?timeout=2s",
	open:     openMariaDB,
	database: mariadbDatabase,
}

func mariadbDatabase(dsn, name string) (string, error) {
	config, err := parseMariaDB(dsn)
	if err != nil {
		return "", err
	}
	config.DBName = name
	return config.FormatDSN(), nil
}

func parseMariaDB(dsn string) (*mysql.Config, error) {
	config, err := mysql.ParseDSN(dsn)
	if err != nil {
		// The error of the driver can contain a part of the connection string.
		return nil, errors.New("want a data source name like root@tcp(127.0.0.1:3306)/")
	}
	return config, nil
}

func mysqlURL(dsn string) (string, error) {
	config, err := parseMariaDB(dsn)
	if err != nil {
		return "", err
	}
	if config.Net != "tcp" {
		return "", fmt.Errorf("a mysql:// URL needs a server on TCP, not on %s", config.Net)
	}
	u := url.URL{Scheme: "mysql", User: url.User(config.User), Host: config.Addr, Path: "/" + config.DBName}
	if config.Passwd != "" {
		u.User = url.UserPassword(config.User, config.Passwd)
	}
	return u.String(), nil
}

type mariadbAdmin struct{ db *sql.DB }

func openMariaDB(ctx context.Context, dsn string) (admin, error) {
	config, err := parseMariaDB(dsn)
	if err != nil {
		return nil, err
	}
	config.DBName = ""
	config.Logger = &mysql.NopLogger{} // the test reports the same errors
	connector, err := mysql.NewConnector(config)
	if err != nil {
		return nil, err
	}
	db := sql.OpenDB(connector)
	if err := db.PingContext(ctx); err != nil {
		_ = db.Close()
		return nil, err
	}
	return mariadbAdmin{db}, nil
}

func (a mariadbAdmin) create(ctx context.Context, name string) error {
	_, err := a.db.ExecContext(ctx, "CREATE DATABASE "+name+" CHARACTER SET utf8mb4")
	return err
}

// drop first ends the connections to the database, because DROP DATABASE would wait for a
// transaction that a failed test left open. If it still has to wait, it gives up after one
// second and ends the connections again, because a pool can have opened a new one.
func (a mariadbAdmin) drop(ctx context.Context, name string) error {
	conn, err := a.db.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	if _, err := conn.ExecContext(ctx, "SET SESSION lock_wait_timeout = 1"); err != nil {
		return err
	}
	for {
		if err := disconnect(ctx, conn, name); err != nil {
			return err
		}
		_, err := conn.ExecContext(ctx, "DROP DATABASE IF EXISTS "+name)
		if refused, ok := errors.AsType[*mysql.MySQLError](err); !ok || refused.Number != lockWaitTimeout {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
}

// Numbers of server errors.
const (
	lockWaitTimeout = 1205 // ER_LOCK_WAIT_TIMEOUT
	noSuchThread    = 1094 // ER_NO_SUCH_THREAD
)

func disconnect(ctx context.Context, conn *sql.Conn, name string) error {
	ids, err := column[int64](ctx, conn, "SELECT id FROM information_schema.processlist WHERE db = ?", name)
	if err != nil {
		return err
	}
	for _, id := range ids {
		_, err := conn.ExecContext(ctx, fmt.Sprintf("KILL %d", id))
		if refused, ok := errors.AsType[*mysql.MySQLError](err); err != nil && (!ok || refused.Number != noSuchThread) {
			return err
		}
	}
	return nil
}

func (a mariadbAdmin) names(ctx context.Context) ([]string, error) {
	return column[string](ctx, a.db,
		"SELECT schema_name FROM information_schema.schemata WHERE LEFT(schema_name, CHAR_LENGTH(?)) = ?", prefix, prefix)
}

func (a mariadbAdmin) close() { _ = a.db.Close() }

// queryer is implemented by *sql.DB and *sql.Conn.
type queryer interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

func column[T any](ctx context.Context, db queryer, query string, args ...any) ([]T, error) {
	rows, err := db.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var values []T
	for rows.Next() {
		var value T
		if err := rows.Scan(&value); err != nil {
			return nil, err
		}
		values = append(values, value)
	}
	return values, rows.Err()
}
