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

// fileGuard tells whether the files of the database are still the ones that the
// connections have open. After a file is deleted or replaced they go on in the
// old one, which no other process sees and which disappears with them.
type fileGuard struct {
	pool *sql.DB
	path string // of the database file
	// reopen makes later reads use new connections: one that was made while
	// another file was in place leads to that file. It is nil for a pool of the
	// program's own.
	reopen func()

	state struct {
		sync.Mutex
		files  []guardedFile
		closed int64 // connections that the pool had closed at the last check that passed
		failed bool
	}
}

// guardedFile is a path, and the file that was there when it was opened.
type guardedFile struct {
	path string
	info fs.FileInfo // nil where there was none
	// side marks the files that SQLite itself deletes with the last connection and
	// makes anew with the next.
	side bool
}

// guardFiles returns a guard for the files of a database that has been read and
// written by the pool. given is the path that the caller named, if it named one.
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

// mainFile returns the path of the file that the connections of a pool have open.
func mainFile(ctx context.Context, pool *sql.DB) (path string, err error) {
	const query = "SELECT file FROM pragma_database_list WHERE name = 'main'"
	err = pool.QueryRowContext(ctx, query).Scan(&path)
	return path, err
}

// remember keeps the identity of a file. Windows reads it when it is first asked
// for, which has to be now.
func (f *guardedFile) remember(info fs.FileInfo) {
	os.SameFile(info, info)
	f.info = info
}

// closed returns how many connections the pool has closed.
func (g *fileGuard) closed() int64 {
	stats := g.pool.Stats()
	return stats.MaxIdleClosed + stats.MaxIdleTimeClosed + stats.MaxLifetimeClosed
}

// check returns a keyfold.ErrCheckFailed if a file is not the one that was opened.
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

// check compares one file. renewed means that SQLite may have deleted and made the
// side files itself, because the pool has closed connections.
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
