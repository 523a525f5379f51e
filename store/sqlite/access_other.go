//go:build !unix

package sqlite

import (
	"io/fs"
	"os"
)

const (
	mayEnter = 1 << iota
	mayWrite
	mayRead
)

// access checks only the attribute "read-only" of files. On Windows it has another
// meaning for directories.
func access(path string, modes uint32) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if !info.IsDir() && modes&mayWrite != 0 && info.Mode().Perm()&0o200 == 0 {
		return fs.ErrPermission
	}
	return nil
}
