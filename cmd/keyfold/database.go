package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/fromenv"
	"github.com/keyfold/keyfold/internal/existing"
	"github.com/keyfold/keyfold/store/mongo"
	"github.com/keyfold/keyfold/store/mysql"
	"github.com/keyfold/keyfold/store/postgres"
	"github.com/keyfold/keyfold/store/sqlite"
)

// databaseFlag adds --db. Its default is read when the command runs, because help
// must not show the value of the variable.
func databaseFlag(cmd *cobra.Command) {
	cmd.Flags().String("db", "", "`database`: sqlite:FILE, postgres://…, mysql://user:password@host:3306/name or mongodb://…; "+
		"prefer KEYFOLD_DATABASE_URL, because other users of the machine can read flags (default sqlite:keyfold.db)")
}

// flagVariable returns the variable that a flag sets, or "".
func flagVariable(flag string) string {
	switch flag {
	case "db":
		return "KEYFOLD_DATABASE_URL"
	case "addr":
		return "KEYFOLD_ADDR"
	case "log-format":
		return "KEYFOLD_LOG_FORMAT"
	case "trusted-proxy":
		return "KEYFOLD_TRUSTED_PROXIES"
	}
	return ""
}

// config reads .env, the environment and the flags. Flags take precedence.
func (c *command) config(cmd *cobra.Command) (*fromenv.Config, error) {
	source := &fromenv.Source{Environ: c.environ}
	cmd.Flags().Visit(func(flag *pflag.Flag) {
		if flag.Name == compatFlag {
			source.Compat = flag.Value.String() == "true"
		}
		if variable := flagVariable(flag.Name); variable != "" {
			text := flag.Value.String()
			if list, ok := flag.Value.(pflag.SliceValue); ok {
				text = strings.Join(list.GetSlice(), ",")
			}
			source.Settings = append(source.Settings, fromenv.Setting{Variable: variable, Value: text, From: "--" + flag.Name})
		}
	})
	config, err := fromenv.ReadConfig(source)
	return config, classify(err)
}

// openStore opens the store of the configured database.
func openStore(ctx context.Context, config *fromenv.Config) (keyfold.Store, error) {
	return config.OpenStore(ctx, sqlite.Opener{}, postgres.Opener{}, mysql.Opener{}, mongo.Opener{})
}

// open opens the configured database. Unless create is set, the database must
// exist, so that a mistyped name does not become a new, empty database.
func (c *command) open(ctx context.Context, config *fromenv.Config, create bool) (*fromenv.App, error) {
	d := config.Database
	c.database = d
	opening := ctx
	if !create {
		if _, err := os.Stat(d.Source()); d.Engine() == "sqlite" && errors.Is(err, fs.ErrNotExist) {
			return nil, noDatabase("%s does not exist", d)
		}
		opening = existing.Only(ctx)
	}
	began := time.Now()
	app, err := config.Open(opening, sqlite.Opener{}, postgres.Opener{}, mysql.Opener{}, mongo.Opener{})
	switch {
	case errors.Is(err, existing.ErrEmpty):
		return nil, noDatabase("%s has no tables of Keyfold", d)
	case errors.Is(err, context.DeadlineExceeded) && time.Since(began) > openTimeout-time.Second && ctx.Err() == nil:
		return nil, noAnswer(d)
	}
	return app, classify(err)
}

// noDatabase is the error of a command whose database does not exist.
func noDatabase(format string, d fromenv.Database) error {
	return &failure{exitNotFound, fmt.Errorf("the database "+format+`; create it with "keyfold migrate" or "keyfold serve"`, d)}
}

// openTimeout is the time that the stores and package fromenv allow for opening a
// database.
const openTimeout = 10 * time.Second

// noAnswer is the error of a command whose database did not answer in time. The
// reasons of drivers, such as "context deadline exceeded", do not help.
func noAnswer(d fromenv.Database) error {
	return &failure{exitFailure, fmt.Errorf("cannot use %s: no answer within %.0f s", d, openTimeout.Seconds())}
}

// variablesHelp lists the variables.
func variablesHelp() string {
	var text strings.Builder
	text.WriteString("Variables in the environment or in .env. The environment takes precedence.\n\n")
	for _, v := range fromenv.Variables() {
		meaning := v.Meaning
		if v.Default != "" {
			meaning += " (" + v.Default + ")"
		}
		text.WriteString(wrapped(fmt.Sprintf("  %-31s ", v.Name), meaning))
	}
	text.WriteString(`
The names of secrets and of the database may end in _FILE. They then name a file
that contains the value. In .env, put values in single quotes.
`)
	return text.String()
}
