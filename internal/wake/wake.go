// Package wake lets one goroutine wake another without waiting for it.
package wake

// Signal is a channel that holds a token while there is a reason to act.
type Signal chan struct{}

// New returns a Signal without a token.
func New() Signal { return make(Signal, 1) }

// Send puts a token into the channel if there is none.
func (s Signal) Send() {
	select {
	case s <- struct{}{}:
	default:
	}
}
