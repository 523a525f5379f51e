package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/fromenv"
	"github.com/keyfold/keyfold/internal/existing"
)

// migrateTimeout is the time for opening and migrating a store. Migrating large
// tables can take longer than openTimeout.
const migrateTimeout = time.Hour

// migration is the JSON document of "keyfold migrate".
type migration struct {
	Database string `json:"database"`
	From     int64  `json:"from"` // version of the schema, or 0 if there was none
	To       int64  `json:"to"`
}

func (c *command) migrate() *cobra.Command {
	var flags dataFlags
	cmd := &cobra.Command{
		Use:   "migrate",
		Short: "Create or update the schema of the database",
		Long: `Create or update the schema of the database. Programs that open the database do
this as well, so you need the command only for a database that does not exist
yet, and for programs whose role must not create or change tables. On SQLite,
the command creates the file if necessary. It does not change a schema that is
newer than this version of the command.`,
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
			stop := c.progress(func() string { return "migrating " + db.String() })
			store, err := openToMigrate(ctx, config)
			stop()
			if err != nil {
				return classify(err)
			}
			migrated, ok := store.(interface{ Migration() (from, to int64) })
			if err := store.Close(); err != nil {
				return classify(err)
			}
			if !ok {
				return classify(errors.New(db.String() + " does not report the version of its schema"))
			}
			from, to := migrated.Migration()
			if flags.asJSON {
				return c.printJSON(migration{db.String(), from, to})
			}
			return c.printMigration(db.String(), from, to)
		},
	}
	flags.add(cmd)
	return cmd
}

// openToMigrate opens the store, which migrates it. It gives up if an SQL server does
// not answer within openTimeout; the driver of MongoDB does so itself.
func openToMigrate(ctx context.Context, config *fromenv.Config) (keyfold.Store, error) {
	db := config.Database
	if engine := db.Engine(); engine != "postgres" && engine != "mysql" {
		return openStore(ctx, config)
	}
	silent := noAnswer(db)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	timer := time.AfterFunc(openTimeout, func() { cancel(silent) })
	defer timer.Stop()
	store, err := openStore(existing.OnAnswer(ctx, func() { timer.Stop() }), config)
	if err != nil && context.Cause(ctx) == silent {
		return nil, silent
	}
	return store, err
}

func (c *command) printMigration(db string, from, to int64) error {
	result := fmt.Sprintf("migrated the schema from version %d to %d", from, to)
	switch from {
	case to:
		result = fmt.Sprintf("the schema is current, at version %d", to)
	case 0:
		result = fmt.Sprintf("created the schema, at version %d", to)
	}
	_, err := fmt.Fprintf(c.stdout, "%s: %s\n", db, result)
	return classify(err)
}
