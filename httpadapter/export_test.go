package httpadapter

import (
	"time"

	"github.com/keyfold/keyfold/httpadapter/internal/failures"
)

// FailuresBy makes the middleware count failures of its own by that clock.
func FailuresBy(now func() time.Time) Option {
	return func(c *config) { c.failures, c.now = failures.New(), now }
}
