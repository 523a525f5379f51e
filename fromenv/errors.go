package fromenv

import (
	"fmt"

	"github.com/keyfold/keyfold"
)

// Error reports a variable, or a file of variables, that cannot be used. It is
// a [keyfold.ErrInvalid].
type Error struct {
	// Name is the name of the variable, Setting.From, or the file of variables: ".env" or
	// "KEYFOLD_ENV_FILE=/etc/keyfold/env".
	Name string
	// Reason says what is wrong, or what the value must be. It never repeats a value.
	Reason string
}

// Error returns the name and the reason.
func (e *Error) Error() string { return "keyfold: " + e.Name + " " + e.Reason }

// Is reports whether target is [keyfold.ErrInvalid].
func (e *Error) Is(target error) bool { return target == keyfold.ErrInvalid }

func refuse(name, format string, args ...any) error {
	return &Error{Name: name, Reason: fmt.Sprintf(format, args...)}
}
