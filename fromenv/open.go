package fromenv

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/keyfold/keyfold"
)

// Opener opens the stores of one engine. Each package under store/ that has a database has
// an Opener, such as sqlite.Opener{}.
type Opener interface {
	// Engine must return the name of the engine: "sqlite", "postgres", "mysql"
	// or "mongodb".
	Engine() string

	// OpenStore must open a store, which the caller closes. The source is the path of
	// the file for SQLite, and the URL for other engines. Errors must not contain it.
	OpenStore(ctx context.Context, source string) (keyfold.Store, error)
}

// App is a Service with its store and its configuration.
type App struct {
	Service *keyfold.Service
	Store   keyfold.Store // of the Service
	Config  *Config
}

// Open reads .env and the environment, and opens the Service that they describe, with the
// store of one of these openers. It returns an error if the Service must not decide on
// that database, see [keyfold.ErrCheckFailed]. The caller must call [App.Close].
//
// To read a file with another name, to add flags, or to set options that have no
// variable, use [ReadConfig].
func Open(ctx context.Context, opener Opener, more ...Opener) (*App, error) {
	config, err := ReadConfig(nil)
	if err != nil {
		return nil, err
	}
	return config.Open(ctx, opener, more...)
}

// checkTimeout bounds the check of the database.
const checkTimeout = 10 * time.Second

// Open opens the Service, checks that it may decide on the database, see
// [keyfold.ErrCheckFailed], and logs the warnings. The caller must call [App.Close].
func (c *Config) Open(ctx context.Context, opener Opener, more ...Opener) (*App, error) {
	store, err := c.OpenStore(ctx, opener, more...)
	if err != nil {
		return nil, err
	}
	svc, err := keyfold.New(store, c.Options())
	if err != nil {
		return nil, errors.Join(err, store.Close())
	}
	bounded, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	if err := svc.Ping(bounded); err != nil {
		err = fmt.Errorf("keyfold: cannot use %s: %w", c.Database, c.Database.withoutSource(err))
		return nil, errors.Join(err, svc.Close(ctx), store.Close())
	}
	log := c.Logger
	if log == nil {
		log = slog.Default()
	}
	for _, warning := range c.Warnings {
		log.Warn(warning)
	}
	return &App{Service: svc, Store: store, Config: c}, nil
}

// OpenStore opens only the store, for a program that creates its Service itself. The
// caller must close the store, after the Service. OpenStore returns an [Error] if no
// opener is for the engine, and otherwise the error of the opener.
func (c *Config) OpenStore(ctx context.Context, opener Opener, more ...Opener) (keyfold.Store, error) {
	d := c.Database
	var engines []string
	for _, o := range append([]Opener{opener}, more...) {
		if o.Engine() != d.engine {
			engines = append(engines, o.Engine())
			continue
		}
		if !d.source.IsSet() {
			return nil, refuse(d.from, "selects %s, but no variable says where the database is; set %s", d.engine, databaseVariable)
		}
		store, err := o.OpenStore(ctx, d.source.Reveal())
		if err != nil {
			return nil, fmt.Errorf("keyfold: cannot use %s: %w", d, d.withoutSource(err))
		}
		return store, nil
	}
	return nil, refuse(d.from, "selects %s, but this program supports only %s", d, strings.Join(engines, ", "))
}

// Close closes the Service, which writes the remaining usage (see
// [keyfold.Service.Close]), and then the store. A second Close returns nil.
func (a *App) Close(ctx context.Context) error {
	served := a.Service.Close(ctx)
	if served != nil {
		served = fmt.Errorf("keyfold: the remaining usage was not written: %w", served)
	}
	return errors.Join(served, a.Store.Close())
}
