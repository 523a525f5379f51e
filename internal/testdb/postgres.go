package testdb

import (
	"context"
	"errors"
	"net/url"

	"github.com/jackc/pgx/v5"
)

var postgres = server{
	name:     "PostgreSQL",
	variable: "KEYFOLD_TEST_POSTGRES_DSN",
	usual:    "postgres://postgres@127.0.0.1:5432/postgres?sslmode=disable&connect_timeout=2",
	open:     openPostgres,
	database: postgresDatabase,
}

func postgresDatabase(dsn, name string) (string, error) {
	u, err := url.Parse(dsn)
	// The error of url.Parse contains the whole URL, including the password.
	if err != nil || (u.Scheme != "postgres" && u.Scheme != "postgresql") {
		return "", errors.New("want a URL like postgres://user@host:5432/postgres")
	}
	u.Path = "/" + name
	return u.String(), nil
}

type postgresAdmin struct{ conn *pgx.Conn }

func openPostgres(ctx context.Context, dsn string) (admin, error) {
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return nil, err // pgx redacts the password
	}
	return postgresAdmin{conn}, nil
}

func (a postgresAdmin) create(ctx context.Context, name string) error {
	// CREATE DATABASE fails while a client is connected to the template. Clients can
	// connect to template1, but not to template0.
	_, err := a.conn.Exec(ctx, "CREATE DATABASE "+name+" TEMPLATE template0 ENCODING 'UTF8'")
	return err
}

func (a postgresAdmin) drop(ctx context.Context, name string) error {
	_, err := a.conn.Exec(ctx, "DROP DATABASE IF EXISTS "+name+" WITH (FORCE)")
	return err
}

func (a postgresAdmin) names(ctx context.Context) ([]string, error) {
	rows, err := a.conn.Query(ctx, "SELECT datname::text FROM pg_database WHERE starts_with(datname::text, $1)", prefix)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[string])
}

func (a postgresAdmin) close() {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	_ = a.conn.Close(ctx)
}
