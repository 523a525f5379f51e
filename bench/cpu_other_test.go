//go:build !unix

package bench_test

import "time"

// processCPU is not known here: metrics of processor time are zero.
func processCPU() time.Duration { return 0 }
