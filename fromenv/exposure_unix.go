//go:build unix

package fromenv

import (
	"io/fs"
	"syscall"
)

func ownerOf(info fs.FileInfo) (uid int, known bool) {
	detail, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, false
	}
	return int(detail.Uid), true
}
