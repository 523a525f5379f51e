package fromenv

import "os"

// IsInMemory reports whether the file system of a file is in memory.
func IsInMemory(file *os.File) bool { return isInMemory(file) }
