package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/fromenv"
	"github.com/keyfold/keyfold/store/mongo"
	"github.com/keyfold/keyfold/store/mysql"
	"github.com/keyfold/keyfold/store/postgres"
	"github.com/keyfold/keyfold/store/sqlite"
)

// databaseFlag is --db, whose default is read when the command runs: help must
// not show what is in the variable.
func databaseFlag(cmd *cobra.Command) {
	cmd.Flags().String("db", "", "`database`: sqlite:FILE, postgres://…, mysql://user:password@host:3306/name or mongodb://…; "+
		"best given by KEYFOLD_DATABASE_URL, for others on the machine can read flags (default sqlite:keyfold.db)")
}

// flagVariable returns the variable that a flag stands for, on whatever command
// has it, or "".
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

// config reads .env and the environment, and the flags, which win.
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

// openStore opens the store alone, of whatever engine the configuration names.
func openStore(ctx context.Context, config *fromenv.Config) (keyfold.Store, error) {
	return config.OpenStore(ctx, sqlite.Opener{}, postgres.Opener{}, mysql.Opener{}, mongo.Opener{})
}

// open opens what the configuration names. Only create may make a SQLite file.
func (c *command) open(ctx context.Context, config *fromenv.Config, create bool) (*fromenv.App, error) {
	if d := config.Database; d.Engine() == "sqlite" && !create {
		if _, err := os.Stat(d.Source()); errors.Is(err, fs.ErrNotExist) {
			return nil, &failure{exitNotFound, fmt.Errorf(
				`there is no database %s; "keyfold serve", "keyfold migrate" and the create commands make one`, d)}
		}
	}
	opened, err := config.Open(ctx, sqlite.Opener{}, postgres.Opener{}, mysql.Opener{}, mongo.Opener{})
	return opened, classify(err)
}

// variablesHelp lists the variables.
func variablesHelp() string {
	var text strings.Builder
	text.WriteString("Variables, of the environment or a .env file; the environment wins:\n\n")
	for _, v := range fromenv.Variables() {
		fmt.Fprintf(&text, "  %-27s %s", v.Name, v.Meaning)
		if v.Default != "" {
			fmt.Fprintf(&text, " (%s)", v.Default)
		}
		text.WriteString("\n")
	}
	text.WriteString(`
Those of secrets and of the database may end in _FILE and name a file that holds
the value. In a .env file put values in single quotes.
`)
	return text.String()
}
