package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"github.com/keyfold/keyfold"
)

// fileGuard detects that a file of the database was deleted or replaced while it was
// open. Connections would continue to use the old file, which no other process sees and
// which disappears when they close.
type fileGuard struct {
	pool *sql.DB
	path string // of the database file
	// reopen makes later reads use new connections, because connections that were made
	// while another file was in place lead to that file. It is nil if the program
	// supplied the pool.
	reopen func()

	state struct {
		sync.Mutex
		files  []guardedFile
		closed int64 // number of connections that the pool had closed at the last successful check
		failed bool
	}
}

// guardedFile is a path and the file that it named when it was opened.
type guardedFile struct {
	path string
	info fs.FileInfo // nil if there was no file
	// side marks the files that SQLite itself deletes when the last connection closes
	// and creates again for the next one.
	side bool
}

// guardFiles returns a guard for the files of a database that the pool has read and
// written. given is the path that the caller passed, or empty.
func guardFiles(ctx context.Context, pool *sql.DB, given string, reopen func()) (*fileGuard, error) {
	path, err := mainFile(ctx, pool)
	if err != nil {
		return nil, err
	}
	g := &fileGuard{pool: pool, path: path, reopen: reopen}
	g.state.files = []guardedFile{{path: path}, {path: path + "-wal", side: true}, {path: path + "-shm", side: true}}
	if given != "" && given != path {
		g.state.files = append(g.state.files, guardedFile{path: given}) // a link to it
	}
	for i := range g.state.files {
		file := &g.state.files[i]
		info, err := os.Stat(file.path)
		switch {
		case errors.Is(err, fs.ErrNotExist) && file.side:
			continue
		case err != nil:
			return nil, err
		}
		file.remember(info)
	}
	g.state.closed = g.closed()
	return g, nil
}

// mainFile returns the path of the database file of a pool.
func mainFile(ctx context.Context, pool *sql.DB) (path string, err error) {
	const query = "SELECT file FROM pragma_database_list WHERE name = 'main'"
	err = pool.QueryRowContext(ctx, query).Scan(&path)
	return path, err
}

// remember stores the identity of a file. On Windows os.SameFile reads the identity
// when it is first called, so that must happen now.
func (f *guardedFile) remember(info fs.FileInfo) {
	os.SameFile(info, info)
	f.info = info
}

// closed returns the number of connections that the pool has closed.
func (g *fileGuard) closed() int64 {
	stats := g.pool.Stats()
	return stats.MaxIdleClosed + stats.MaxIdleTimeClosed + stats.MaxLifetimeClosed
}

// check returns keyfold.ErrCheckFailed if a file is not the one that was opened.
func (g *fileGuard) check() error {
	s := &g.state
	s.Lock()
	defer s.Unlock()
	closed := g.closed()
	for i := range s.files {
		if err := s.files[i].check(g.reopen == nil && closed != s.closed); err != nil {
			s.failed = true
			return err
		}
	}
	if s.failed && g.reopen != nil {
		g.reopen()
	}
	s.closed, s.failed = closed, false
	return nil
}

// check compares one file. renewed means that the pool has closed connections, so that
// SQLite may have deleted and created the side files itself.
func (f *guardedFile) check(renewed bool) error {
	info, err := os.Stat(f.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if f.info == nil || f.side && renewed {
			f.info = nil
			return nil
		}
		return fmt.Errorf("%w: the file %s was deleted while it was open; put it back, or restart the process", keyfold.ErrCheckFailed, filepath.Base(f.path))
	case err != nil:
		return err
	case f.info == nil || f.side && renewed:
		f.remember(info)
	case !os.SameFile(f.info, info):
		return fmt.Errorf("%w: the file %s was replaced while it was open; restart the process",
			keyfold.ErrCheckFailed, filepath.Base(f.path))
	}
	return nil
}
