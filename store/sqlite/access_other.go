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

// access knows the attribute "read-only" of a file alone. On a directory of Windows
// that has another meaning.
func access(path string, modes uint32) error {
	info, err := os.Stat(path)
	if err == nil && !info.IsDir() && modes&mayWrite != 0 && info.Mode().Perm()&0o200 == 0 {
		return fs.ErrPermission
	}
	return err
}
