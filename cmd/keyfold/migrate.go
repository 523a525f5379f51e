package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"
)

// migrateTimeout replaces the 10 s in which a store has to open: large tables may
// take longer than that to change.
const migrateTimeout = time.Hour

// migration is what keyfold migrate did, as --json shows it.
type migration struct {
	Database string `json:"database"`
	From     int64  `json:"from"` // version of the schema; 0: there was none
	To       int64  `json:"to"`
}

func (c *command) migrate() *cobra.Command {
	var flags dataFlags
	cmd := &cobra.Command{
		Use:   "migrate",
		Short: "Bring the schema of the database up to date",
		Long: `Bring the schema of the database up to date, as every other command and every
program does that opens it. Run it where those have a role that may not create
tables. A SQLite file is made if there is none. A schema that is newer than this
command is left alone.`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			config, err := c.config(cmd)
			if err != nil {
				return err
			}
			for _, warning := range config.Warnings {
				fmt.Fprintf(c.stderr, "keyfold: %s\n", warning)
			}
			db := config.Database
			ctx, cancel := context.WithTimeout(cmd.Context(), migrateTimeout)
			defer cancel()
			store, err := openStore(ctx, config)
			if err != nil {
				return classify(err)
			}
			told, ok := store.(interface{ Migration() (from, to int64) })
			if err := store.Close(); err != nil {
				return classify(err)
			}
			if !ok {
				return classify(errors.New(db.String() + " does not tell its schema"))
			}
			from, to := told.Migration()
			if flags.asJSON {
				return c.printJSON(migration{db.String(), from, to})
			}
			return c.printMigration(db.String(), from, to)
		},
	}
	flags.add(cmd)
	return cmd
}

func (c *command) printMigration(db string, from, to int64) error {
	did := fmt.Sprintf("migrated the schema from version %d to %d", from, to)
	switch from {
	case to:
		did = fmt.Sprintf("the schema is current, at version %d", to)
	case 0:
		did = fmt.Sprintf("made the schema, at version %d", to)
	}
	_, err := fmt.Fprintf(c.stdout, "%s: %s\n", db, did)
	return classify(err)
}
