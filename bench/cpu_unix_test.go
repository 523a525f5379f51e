//go:build unix

package bench_test

import (
	"syscall"
	"time"
)

// processCPU is the processor time that this process has used, in user mode and
// in the kernel.
func processCPU() time.Duration {
	var usage syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &usage) != nil {
		return 0
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
