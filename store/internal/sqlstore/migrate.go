package sqlstore

import (
	"context"
	"crypto/rand"
	"fmt"
	"io/fs"
	"strconv"
	"strings"

	"github.com/keyfold/keyfold/internal/existing"
)

// Migrator migrates one database to the current schema.
type Migrator interface {
	// Version returns the version of the schema. It is zero if there is no schema.
	Version(ctx context.Context) (Version, error)
	// Lock locks out all other processes until the migration ends.
	Lock(ctx context.Context) (Migration, error)
}

// Migration is one step from one version to the next.
type Migration interface {
	Version(ctx context.Context) (Version, error)
	Exec(ctx context.Context, statement string) error
	Commit(ctx context.Context) error
	// Rollback ends the migration. It has no effect on committed work.
	Rollback(ctx context.Context)
}

// Version is the version of a schema, as the schema itself records it.
type Version struct {
	Schema int64 // the number of its last migration
	Oldest int64 // the oldest version whose processes may still use the schema
}

// admits returns an error if a process of the version known must not use the schema.
func (v Version) admits(known int64) error {
	switch {
	case v.Schema > known && v.Oldest > known:
		return fmt.Errorf("schema version %d is newer than this build (%d) and needs version %d or later", v.Schema, known, v.Oldest)
	case v.Oldest > known:
		return fmt.Errorf("the schema is being migrated from version %d to %d, which is newer than this build (%d)",
			v.Schema, v.Oldest, known)
	case v.Schema < known:
		return fmt.Errorf("schema version %d is older than this build needs (%d)", v.Schema, known)
	}
	return nil
}

// Migrate applies the migrations that the database lacks. It returns the versions of
// the schema before and after; the version of a new database is 0. It writes nothing if
// the schema is current or newer, so that a role without the right to create tables can
// open the database. A newer schema is an error, unless it admits processes of this
// version. Under a context from [existing.Only] Migrate does not create a schema.
func Migrate(ctx context.Context, migrator Migrator, files fs.FS) (from, to int64, err error) {
	if more, ok := ctx.Value(moreSteps{}).(func(fs.FS) fs.FS); ok {
		files = more(files)
	}
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
	found, err := migrator.Version(ctx)
	if err != nil {
		return 0, 0, fmt.Errorf("migrate: %w", err)
	}
	version, err := migrateFrom(ctx, found, migrator, steps, step)
	if err != nil {
		return 0, 0, fmt.Errorf("migrate: %w", err)
	}
	if err := version.admits(current); err != nil {
		return 0, 0, err
	}
	return found.Schema, version.Schema, nil
}

// migrateFrom applies the steps after version and returns the new version.
func migrateFrom(ctx context.Context, version Version, migrator Migrator, steps []migrationFile, step func()) (Version, error) {
	if err := existing.Check(ctx, version.Schema); err != nil {
		return version, err
	}
	current := int64(len(steps))
	for version.Schema < current && version.Oldest <= current {
		if err := migrateOne(ctx, migrator, steps, step); err != nil {
			return version, err
		}
		var err error
		if version, err = migrator.Version(ctx); err != nil {
			return version, err
		}
	}
	return version, nil
}

func migrateOne(ctx context.Context, migrator Migrator, steps []migrationFile, step func()) error {
	migration, err := migrator.Lock(ctx)
	if err != nil {
		return err
	}
	defer migration.Rollback(context.WithoutCancel(ctx))
	version, err := migration.Version(ctx)
	if err != nil {
		return err
	}
	if version.Schema >= int64(len(steps)) || version.Oldest > int64(len(steps)) {
		return nil // another process has migrated the schema
	}
	next := version.Schema + 1
	for i, statement := range steps[next-1].statements(next) {
		step()
		if err := migration.Exec(ctx, statement); err != nil {
			return fmt.Errorf("version %d, statement %d: %w", next, i+1, err)
		}
	}
	step()
	return migration.Commit(ctx)
}

// migrationFile is one migration: its SQL, and the oldest version whose processes may
// use the schema after it.
type migrationFile struct {
	text   string
	oldest int64
}

// statements returns the statements that migrate the schema to the version. The first
// statement locks out processes that are too old: MySQL commits each statement by
// itself, and these processes must not use a schema that is half migrated. The last
// statement records the version.
func (f *migrationFile) statements(version int64) []string {
	if version == 1 {
		return append(Statements(f.text), "INSERT INTO keyfold_meta "+
			"(id, schema_version, oldest_version, feed_id, pruned_seq, pruned_tx) VALUES (1, 1, 1, '"+rand.Text()+"', 0, 0)")
	}
	first := "UPDATE keyfold_meta SET oldest_version = " + strconv.FormatInt(f.oldest, 10) + " WHERE id = 1"
	last := "UPDATE keyfold_meta SET schema_version = " + strconv.FormatInt(version, 10) + " WHERE id = 1"
	return append(append([]string{first}, Statements(f.text)...), last)
}

type stepHook struct{}

// WithStep returns a context under which Migrate calls hook before each statement and
// before each commit, with the number of the step. Tests use it to interrupt a
// migration.
func WithStep(ctx context.Context, hook func(step int)) context.Context {
	return context.WithValue(ctx, stepHook{}, hook)
}

type moreSteps struct{}

// WithMigrations returns a context under which Migrate applies the migrations that
// change returns for its own. It is for tests, which upgrade a schema that has had no
// second version yet.
func WithMigrations(ctx context.Context, change func(fs.FS) fs.FS) context.Context {
	return context.WithValue(ctx, moreSteps{}, change)
}

// latest returns the version of the last migration.
func latest(files fs.FS) (int64, error) {
	steps, err := load(files)
	return int64(len(steps)), err
}

// load returns the migrations in order. Their names must be NNNN_word.sql, numbered
// from 0001 without a gap.
func load(files fs.FS) ([]migrationFile, error) {
	names, err := fs.Glob(files, "*.sql") // sorted
	if err != nil {
		return nil, err
	}
	var steps []migrationFile
	for i, name := range names {
		if !strings.HasPrefix(name, fmt.Sprintf("%04d_", i+1)) {
			return nil, fmt.Errorf("the name of migration %s must begin with %04d_", name, i+1)
		}
		text, err := fs.ReadFile(files, name)
		if err != nil {
			return nil, err
		}
		step := migrationFile{text: string(text)}
		least := int64(1)
		if i > 0 {
			least = steps[i-1].oldest
		}
		if step.oldest, err = oldestVersion(step.text, int64(i+1)); err != nil || step.oldest < least || step.oldest > int64(i+1) {
			return nil, fmt.Errorf("migration %s must contain \"%sN\" with N from %d to %d, or no such line", name, oldestDirective, least, i+1)
		}
		steps = append(steps, step)
	}
	return steps, nil
}

// oldestDirective is the prefix of a line in a migration. The line contains the oldest
// version whose processes may use the schema once the migration has begun. Without such
// a line, processes that do not know the migration must stop.
const oldestDirective = "-- oldest-version: "

func oldestVersion(text string, version int64) (int64, error) {
	for line := range strings.Lines(text) {
		if number, ok := strings.CutPrefix(line, oldestDirective); ok {
			return strconv.ParseInt(strings.TrimSpace(number), 10, 64)
		}
	}
	return version, nil
}

// Statements splits a migration into its statements, without comments. Each statement
// must end with a semicolon at the end of a line.
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
