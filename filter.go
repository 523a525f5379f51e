package keyfold

import "github.com/keyfold/keyfold/internal/token"

// Filter is a condition on one field in a query or a [KeyFilter]. The zero Filter
// admits every value; [Only] returns a Filter for one value.
//
// It is a type of its own, and not a string whose empty value means "all", so that
// a value which turns out to be empty can never widen a query: Only("") is refused.
type Filter struct {
	value string
	set   bool
}

// Only returns the Filter that admits exactly this value. The call that is given
// Only("") fails with an [InvalidError] that names the field: an identity that has
// no such value must not list or revoke everything.
func Only(value string) Filter { return Filter{value: value, set: true} }

// IsZero reports whether f admits every value.
func (f Filter) IsZero() bool { return !f.set }

// Value returns the value that f admits; empty for the zero Filter.
func (f Filter) Value() string { return f.value }

// admits reports whether a field with that value meets the condition.
func (f Filter) admits(value string) bool { return !f.set || f.value == value }

// check refuses an empty value, and what valid refuses. It accepts the zero Filter.
func (f Filter) check(field string, valid func(value string) error) error {
	switch {
	case !f.set:
		return nil
	case f.value == "":
		return invalid(field, "must not be empty; omit it to match every value")
	}
	return valid(f.value)
}

// checkID checks a condition on an id.
func (f Filter) checkID(field string) error {
	return f.check(field, func(id string) error {
		if !token.IsID(id) {
			return invalid(field, idRule)
		}
		return nil
	})
}

// checkText checks a condition on a text of at most max bytes.
func (f Filter) checkText(field string, max int) error {
	return f.check(field, func(text string) error { return checkBytes(field, text, max) })
}
