package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"modernc.org/sqlite"

	"github.com/keyfold/keyfold/store/internal/sqlstore"
)

// explain returns an error that says which file or directory must be corrected, if
// that is why the database could not be opened, and err otherwise. SQLite itself
// calls a directory in which it cannot create files a read-only database.
func explain(path string, err error) error {
	var detail *sqlite.Error
	if !errors.As(err, &detail) {
		return err
	}
	switch detail.Code() & 0xff {
	case codeNotADatabase:
		return errors.New("the file must be a SQLite database, but it is another kind of file, or encrypted")
	case codeCorrupt:
		return fmt.Errorf("the file is damaged; restore it from a backup: %w", err)
	case codePermission, codeReadOnly, codeCannotOpen, codeIO:
		if obstacle := obstacle(path); obstacle != nil {
			return obstacle
		}
	}
	return err
}

// writable returns an error if SQLite has opened the file to read only, which it
// does without a word. It writes only where the permissions give cause for doubt, and
// changes nothing then.
func writable(ctx context.Context, db *sql.DB, path string) error {
	if obstacle(path) == nil {
		return nil
	}
	_, err := db.ExecContext(ctx, "DELETE FROM keyfold_meta WHERE id = 0")
	if class(err) == sqlstore.Lost {
		return nil // another process writes, and the file was opened: see the next change
	}
	return err
}

// obstacle returns what keeps this process from using the database at path, or nil.
// It opens nothing: to close a file again would end the locks that this process has
// on it by other connections.
func obstacle(path string) error {
	if target, err := filepath.EvalSymlinks(path); err == nil {
		path = target // SQLite puts its files next to this one
	}
	dir, base := filepath.Split(path)
	dir = filepath.Clean(dir)
	if err := unusable(dir); err != nil {
		return err
	}
	obstacles := new(obstacles)
	for _, end := range []string{"", "-wal", "-shm"} {
		if _, err := os.Stat(path + end); err != nil {
			continue
		}
		if err := access(path+end, mayRead|mayWrite); err != nil {
			obstacles.add(err, "the file %q must be readable and writable", path+end)
			break // SQLite gives the other files the mode of the first
		}
	}
	obstacles.add(access(dir, mayWrite|mayEnter),
		"the directory %q must be writable, because SQLite creates %s-wal and %[2]s-shm in it", dir, base)
	return obstacles.err()
}

// unusable returns why a directory cannot be looked at, or nil.
func unusable(dir string) error {
	info, err := os.Stat(dir)
	switch {
	case err == nil && info.IsDir():
		return nil
	case err == nil:
		return fmt.Errorf("%q must be a directory, but it is a file", dir)
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("the directory %q must exist: %w", dir, reason(err))
	case filepath.Dir(dir) == dir:
		return reason(err)
	}
	if above := unusable(filepath.Dir(dir)); above != nil {
		return above
	}
	return fmt.Errorf("the directory %q must be open to this process%s: %w", filepath.Dir(dir), account(), reason(err))
}

// obstacles gathers everything that must be corrected, so that one try shows all.
type obstacles struct {
	texts []string
	cause error // of the first one
}

func (o *obstacles) add(err error, format string, args ...any) {
	if err == nil {
		return
	}
	o.texts = append(o.texts, fmt.Sprintf(format, args...))
	if o.cause == nil {
		o.cause = reason(err)
	}
}

func (o *obstacles) err() error {
	if o.cause == nil {
		return nil
	}
	return fmt.Errorf("%s%s: %w", strings.Join(o.texts, ", and "), account(), o.cause)
}

// account names the user that this process runs as, where there are such.
func account() string {
	if id := os.Geteuid(); id >= 0 {
		return fmt.Sprintf(" (this process has the user ID %d)", id)
	}
	return ""
}

// reason leaves out the path, which the caller names.
func reason(err error) error {
	var detail *fs.PathError
	if errors.As(err, &detail) {
		return detail.Err
	}
	return err
}
