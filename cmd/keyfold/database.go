package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/spf13/cobra"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/store/mysql"
	"github.com/keyfold/keyfold/store/postgres"
	"github.com/keyfold/keyfold/store/sqlite"
)

const (
	databaseVariable = "KEYFOLD_DATABASE_URL"
	defaultDatabase  = "sqlite:keyfold.db"
	openTimeout      = 10 * time.Second
)

// database is a connection string that was read. Only its name may be shown.
type database struct {
	engine string // sqlite, postgres or mysql
	name   string // scheme, host and database: no user, password or parameters
	source string // as the store takes it
}

// String is the name, so that formatting shows no password.
func (d database) String() string { return d.name }

// databaseFlag is --db, whose default is read when the command runs: help must
// not show what is in the variable.
func databaseFlag(cmd *cobra.Command, into *string) {
	cmd.Flags().StringVar(into, "db", "", "`database`: sqlite:FILE, postgres://… or mysql://user:password@host:3306/name; "+
		"best given by "+databaseVariable+", for others on the machine can read flags (default "+defaultDatabase+")")
}

func (c *command) database(cmd *cobra.Command, flag string) (database, error) {
	if cmd.Flags().Changed("db") {
		return parseDatabase("--db", flag)
	}
	if value, set := c.env(databaseVariable); set {
		return parseDatabase(databaseVariable, value)
	}
	return parseDatabase("--db", defaultDatabase)
}

// parseDatabase reads a connection string. Errors name where it came from and
// never repeat it: even its beginning may be a password.
func parseDatabase(from, text string) (database, error) {
	const forms = "want sqlite:FILE, postgres://user@host/name or mysql://user@host/name"
	scheme, rest, found := strings.Cut(text, ":")
	switch {
	case text == "":
		return database{}, usage("%s is empty; %s", from, forms)
	case !found:
		return database{}, usage("%s is no database; %s", from, forms)
	case scheme == "sqlite":
		switch {
		case rest == "":
			return database{}, usage("%s names no file; want sqlite:FILE", from)
		case strings.HasPrefix(rest, "//"):
			return database{}, usage("%s has slashes after sqlite:, which programs read in two ways; want sqlite:FILE or sqlite:/DIRECTORY/FILE", from)
		case strings.ContainsAny(rest, "\x00?"):
			return database{}, usage("%s has parameters or a NUL byte; want sqlite:FILE", from)
		}
		return database{engine: "sqlite", name: "sqlite:" + rest, source: rest}, nil
	case scheme == "postgresql":
		scheme = "postgres"
	case scheme == "mariadb":
		scheme = "mysql"
	case scheme != "postgres" && scheme != "mysql":
		return database{}, usage("%s is of no kind that keyfold knows; %s", from, forms)
	}
	location, err := url.Parse(scheme + ":" + rest) // the error would repeat the password
	if err != nil || !strings.HasPrefix(rest, "//") || location.Opaque != "" {
		return database{}, usage("%s is no URL; characters such as @ / # %% in a password have to be written as %%40 %%2F %%23 %%25", from)
	}
	name := strings.TrimPrefix(location.Path, "/")
	if location.Host == "" && scheme == "mysql" || name == "" {
		return database{}, usage("%s names no host or no database; %s", from, forms)
	}
	if location.Fragment != "" || strings.ContainsAny(name, "/@") {
		return database{}, usage("%s has more than a host and a database; write / in a password as %%2F and # as %%23", from)
	}
	return database{engine: scheme, name: scheme + "://" + location.Host + "/" + name, source: scheme + ":" + rest}, nil
}

// open opens the store in bounded time. Only create may make a SQLite file.
func (d database) open(ctx context.Context, create bool) (keyfold.Store, error) {
	ctx, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	var store keyfold.Store
	var err error
	switch d.engine {
	case "sqlite":
		if _, missing := os.Stat(d.source); !create && errors.Is(missing, fs.ErrNotExist) {
			return nil, &failure{exitNotFound, fmt.Errorf(
				`there is no database %s; "keyfold serve" and "keyfold keys create" make one`, d)}
		}
		store, err = opened(sqlite.Open(ctx, d.source))
	case "postgres":
		store, err = opened(postgres.Open(ctx, d.source))
	default:
		store, err = opened(mysql.Open(ctx, d.source))
	}
	if err != nil {
		return nil, &failure{exitFailure, fmt.Errorf("cannot use %s: %w", d, bare(err))}
	}
	return store, nil
}

// opened keeps a nil *Store from becoming a Store that is not nil.
func opened[S keyfold.Store](store S, err error) (keyfold.Store, error) {
	if err != nil {
		return nil, err
	}
	return store, nil
}

// bare takes the connection parameters away that pgx puts before a reason.
func bare(err error) error {
	if refused, ok := errors.AsType[*pgconn.ConnectError](err); ok && refused.Unwrap() != nil {
		return refused.Unwrap()
	}
	return err
}
