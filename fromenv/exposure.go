package fromenv

import (
	"io/fs"
	"os"
)

// exposure says why a file is not a safe place for secrets or settings. It is empty if
// only root and the user of this process can read and change the file.
//
// The group may do both, because service accounts often read their secrets from a file
// of root:keyfold with mode 0640. Every user may read a file in memory that belongs to
// root, because orchestrators mount secrets in this way, in containers without other
// users.
func exposure(file *os.File) string {
	info, err := file.Stat() // of the open file: the name may lead to another file by now
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
