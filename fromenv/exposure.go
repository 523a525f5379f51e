package fromenv

import (
	"io/fs"
	"os"
)

// exposure says why a file should not be relied on for secrets or settings; it is
// empty for one that only root and this process's own user can read and change.
//
// The group may do both: a file of root:keyfold with mode 0640 is how a service
// account gets its secrets. Every user may read a file of root's that is
// in memory: orchestrators mount secrets that way, where there are no other users.
func exposure(file *os.File) string {
	info, err := file.Stat() // of the file that is read, whatever the name leads to by now
	if err != nil {
		return ""
	}
	owner, known := ownerOf(info)
	switch mode := info.Mode().Perm(); {
	case !known:
		return ""
	case owner != 0 && owner != os.Geteuid():
		return "belongs to another user, who can change it"
	case mode&othersWrite != 0:
		return "can be changed by every user of this machine; run chmod 600 on it"
	case mode&othersRead != 0 && !(owner == 0 && isInMemory(file)):
		return exposedToReaders
	}
	return ""
}

const (
	othersRead  fs.FileMode = 0o004
	othersWrite fs.FileMode = 0o002

	exposedToReaders = "can be read by every user of this machine; run chmod 600 on it"
)
