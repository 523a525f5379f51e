//go:build unix

package sqlite

import "syscall"

// Modes of access(2).
const (
	mayEnter = 1
	mayWrite = 2
	mayRead  = 4
)

// access returns nil if this process may use a file or directory in the given modes.
func access(path string, modes uint32) error { return syscall.Access(path, modes) }
