package httpadapter

import (
	"time"

	"github.com/keyfold/keyfold/httpadapter/internal/failures"
)

// FailuresBy makes the middleware count its failures separately, with the given clock.
func FailuresBy(now func() time.Time) Option {
	return func(c *config) { c.failures, c.now = failures.New(), now }
}
