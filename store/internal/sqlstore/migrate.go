package sqlstore

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"

	"github.com/keyfold/keyfold/internal/existing"
)

// Migrator brings one database to the current schema.
type Migrator interface {
	// Version returns the version of the schema, zero when there is none.
	Version(ctx context.Context) (Version, error)
	// Lock keeps every other process from migrating until the migration ends.
	Lock(ctx context.Context) (Migration, error)
}

// Migration is one step between two versions.
type Migration interface {
	Version(ctx context.Context) (Version, error)
	Exec(ctx context.Context, statement string) error
	Commit(ctx context.Context) error
	// Rollback ends the migration where Commit has not been called.
	Rollback(ctx context.Context)
}

// Version is what a schema says of itself.
type Version struct {
	Schema int64 // the number of its last migration
	Oldest int64 // the oldest version whose processes may still decide on it
}

// admits returns nil if a process that knows the version known may decide on the
// schema, or the reason why it must not.
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

// Migrate applies the migrations that the database lacks. It returns the
// version that it found, 0 for none, and the one that the schema has now. It
// writes nothing to a schema that is current, so a role that may not create
// tables can use one, and nothing to a schema that is newer. A newer schema is
// an error unless it says that processes of this version may decide on it.
// Under a context from [existing.Only] it does not create a schema.
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
	if err == nil {
		err = existing.Check(ctx, version.Schema)
	}
	from = version.Schema
	for err == nil && version.Schema < current && version.Oldest <= current {
		if err = migrateOne(ctx, migrator, steps, step); err != nil {
			break
		}
		version, err = migrator.Version(ctx)
	}
	if err != nil {
		return 0, 0, fmt.Errorf("migrate: %w", err)
	}
	if err := version.admits(current); err != nil {
		return 0, 0, err
	}
	return from, version.Schema, nil
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
		return nil // another process was first
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

// migrationFile is one migration: its SQL, and the oldest version whose
// processes may still decide once it is applied.
type migrationFile struct {
	text   string
	oldest int64
}

// statements returns the statements that bring the schema to that version. The
// last one makes the migration count. The first one makes older processes stop,
// where the migration wants that: each statement of MySQL commits by itself,
// and they must not decide on half of a migration.
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

// WithStep returns a context under which Migrate calls hook before each
// statement and before each commit, with the number of the step. It is for
// tests that stop a migration half-way.
func WithStep(ctx context.Context, hook func(step int)) context.Context {
	return context.WithValue(ctx, stepHook{}, hook)
}

// latest returns the version that the migrations lead to.
func latest(files fs.FS) (int64, error) {
	steps, err := load(files)
	return int64(len(steps)), err
}

// load returns the migrations in order: NNNN_word.sql from 0001 without a gap.
func load(files fs.FS) ([]migrationFile, error) {
	names, err := fs.Glob(files, "*.sql") // sorted
	if err != nil {
		return nil, err
	}
	var steps []migrationFile
	for i, name := range names {
		if !strings.HasPrefix(name, fmt.Sprintf("%04d_", i+1)) {
			return nil, errors.New("migration " + name + " is out of order")
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
			return nil, fmt.Errorf("migration %s must say \"%sN\" with N from %d to %d, or nothing", name, oldestDirective, least, i+1)
		}
		steps = append(steps, step)
	}
	return steps, nil
}

// oldestDirective begins a line of a migration that states the oldest version
// whose processes may still decide once the migration has begun. A migration
// without such a line states its own version: processes that do not know it
// must stop.
const oldestDirective = "-- oldest-version: "

func oldestVersion(text string, version int64) (int64, error) {
	for line := range strings.Lines(text) {
		if number, ok := strings.CutPrefix(line, oldestDirective); ok {
			return strconv.ParseInt(strings.TrimSpace(number), 10, 64)
		}
	}
	return version, nil
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
