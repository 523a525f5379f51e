package sqlstore

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
)

// Migrator brings one database to the current schema.
type Migrator interface {
	// Version returns the version of the schema, 0 when there is none.
	Version(ctx context.Context) (int64, error)
	// Lock keeps every other process from migrating until the migration ends.
	Lock(ctx context.Context) (Migration, error)
}

// Migration is one step between two versions.
type Migration interface {
	Version(ctx context.Context) (int64, error)
	Exec(ctx context.Context, statement string) error
	Commit(ctx context.Context) error
	// Rollback ends the migration where Commit has not been called.
	Rollback(ctx context.Context)
}

// Migrate applies the migrations that the database lacks. It returns the
// version that it found, 0 for none, and the one that this build knows. It
// writes nothing to a schema that is current, so a role that may not create
// tables can use one, and nothing to a schema that is newer.
func Migrate(ctx context.Context, migrator Migrator, files fs.FS) (from, to int64, err error) {
	steps, err := load(files)
	if err != nil {
		return 0, 0, err
	}
	current := int64(len(steps))
	hook, _ := ctx.Value(stepHook{}).(func(int))
	done := 0
	step := func() {
		if done++; hook != nil {
			hook(done)
		}
	}
	version, err := migrator.Version(ctx)
	from = version
	for err == nil && version < current {
		if err = migrateOne(ctx, migrator, steps, step); err != nil {
			break
		}
		version, err = migrator.Version(ctx)
	}
	switch {
	case err != nil:
		return 0, 0, fmt.Errorf("migrate: %w", err)
	case version > current:
		return 0, 0, fmt.Errorf("schema version %d is newer than this build (%d)", version, current)
	}
	return from, current, nil
}

func migrateOne(ctx context.Context, migrator Migrator, steps []string, step func()) error {
	migration, err := migrator.Lock(ctx)
	if err != nil {
		return err
	}
	defer migration.Rollback(context.WithoutCancel(ctx))
	version, err := migration.Version(ctx)
	if err != nil {
		return err
	}
	if version >= int64(len(steps)) {
		return nil // another process was first
	}
	version++
	for i, statement := range append(Statements(steps[version-1]), stamp(version)) {
		step()
		if err := migration.Exec(ctx, statement); err != nil {
			return fmt.Errorf("version %d, statement %d: %w", version, i+1, err)
		}
	}
	step()
	return migration.Commit(ctx)
}

// stamp returns the last statement of a migration, which makes it count.
func stamp(version int64) string {
	if version == 1 {
		return "INSERT INTO keyfold_meta (id, schema_version, feed_id, pruned_seq, pruned_tx) VALUES (1, 1, '" +
			rand.Text() + "', 0, 0)"
	}
	return "UPDATE keyfold_meta SET schema_version = " + strconv.FormatInt(version, 10) + " WHERE id = 1"
}

type stepHook struct{}

// WithStep returns a context under which Migrate calls hook before each
// statement and before each commit, with the number of the step. It is for
// tests that stop a migration half-way.
func WithStep(ctx context.Context, hook func(step int)) context.Context {
	return context.WithValue(ctx, stepHook{}, hook)
}

// load returns the migrations in order: NNNN_word.sql from 0001 without a gap.
func load(files fs.FS) ([]string, error) {
	names, err := fs.Glob(files, "*.sql") // sorted
	if err != nil {
		return nil, err
	}
	var steps []string
	for i, name := range names {
		if !strings.HasPrefix(name, fmt.Sprintf("%04d_", i+1)) {
			return nil, errors.New("migration " + name + " is out of order")
		}
		text, err := fs.ReadFile(files, name)
		if err != nil {
			return nil, err
		}
		steps = append(steps, string(text))
	}
	return steps, nil
}

// Statements splits a migration. Each statement ends with a semicolon at the
// end of a line; comments go.
func Statements(text string) []string {
	var statements []string
	var statement strings.Builder
	for line := range strings.Lines(text) {
		code, _, _ := strings.Cut(line, "--")
		code = strings.TrimRight(code, " \n")
		if code == "" {
			continue
		}
		body, ended := strings.CutSuffix(code, ";")
		statement.WriteString(body)
		if ended {
			statements = append(statements, statement.String())
			statement.Reset()
			continue
		}
		statement.WriteByte('\n')
	}
	return statements
}
