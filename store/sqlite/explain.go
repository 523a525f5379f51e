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

// explain replaces an error of SQLite by one that names the file or directory to
// correct. It returns err unchanged if files are not the cause. SQLite itself reports a
// directory without write permission as a read-only database.
func explain(path string, err error) error {
	var detail *sqlite.Error
	if !errors.As(err, &detail) {
		return err
	}
	switch detail.Code() & 0xff {
	case codeNotADatabase:
		return errors.New("the file must be a SQLite database, but it is another kind of file or is encrypted")
	case codeCorrupt:
		return fmt.Errorf("the file is damaged; restore it from a backup: %w", err)
	case codePermission, codeReadOnly, codeCannotOpen, codeIO:
		if obstacle := obstacle(path); obstacle != nil {
			return obstacle
		}
	}
	return err
}

// writable returns an error if SQLite has opened the file read-only, which it does
// without an error. It tries a statement that changes nothing, and only if the
// permissions look insufficient.
func writable(ctx context.Context, db *sql.DB, path string) error {
	if obstacle(path) == nil {
		return nil
	}
	_, err := db.ExecContext(ctx, "DELETE FROM keyfold_meta WHERE id = 0")
	if class(err) == sqlstore.Lost {
		return nil // another process is writing; the first change will show whether this one can
	}
	return err
}

// obstacle returns the reason why this process cannot use the database at path, or nil.
// It does not open the file, because closing it would release the locks of other
// connections of this process.
func obstacle(path string) error {
	path = resolve(path)
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

// resolve follows symbolic links if it can. SQLite creates its files next to the target.
func resolve(path string) string {
	target, err := filepath.EvalSymlinks(path)
	if err != nil {
		return path
	}
	return target
}

// unusable returns the reason why a directory cannot be accessed, or nil.
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

// obstacles collects all problems, so that one error shows everything to correct.
type obstacles struct {
	texts []string
	cause error // of the first problem
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

// account returns the user ID of this process as a text for errors, or "" if the system
// has no user IDs.
func account() string {
	if id := os.Geteuid(); id >= 0 {
		return fmt.Sprintf(" (this process has the user ID %d)", id)
	}
	return ""
}

// reason returns the error without the path, which the caller adds itself.
func reason(err error) error {
	var detail *fs.PathError
	if errors.As(err, &detail) {
		return detail.Err
	}
	return err
}
