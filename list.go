package keyfold

import (
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"iter"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/keyfold/keyfold/internal/text"
	"github.com/keyfold/keyfold/internal/token"
)

// The limits of queries.
const (
	maxOwnerID  = 128
	maxTenant   = 128
	maxReason   = 256 // code points
	maxPage     = 200
	defaultPage = 50
)

// Filter is a condition on one field in a query or a [KeyFilter]. The zero Filter
// admits every value; [Only] returns a Filter for one value.
//
// It is not a string whose empty value means "all", so that a value that happens to be
// empty never widens a query: Only("") is refused.
type Filter struct {
	value string
	set   bool
}

// Only returns a Filter that admits exactly this value. A method that is called with
// Only("") returns an [InvalidError] for the field, so that an identity without the value
// cannot list or revoke everything.
func Only(value string) Filter { return Filter{value: value, set: true} }

// IsZero reports whether f admits every value.
func (f Filter) IsZero() bool { return !f.set }

// Value returns the value that f admits; empty for the zero Filter.
func (f Filter) Value() string { return f.value }

// admits reports whether a field with that value meets the condition.
func (f Filter) admits(value string) bool { return !f.set || f.value == value }

// check returns an error for an empty value and for values that valid refuses. It accepts
// the zero Filter.
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
	return f.check(field, func(value string) error { return checkBytes(field, value, max) })
}

// cursor is a position in a list. It is opaque to callers. It is valid only with the
// filters that it was created for, because it would skip rows with others, and it is
// authenticated, so that an edited cursor is refused. The key is derived from the id of
// the database, so that all processes accept it.
type cursor struct {
	At  int64  `json:"t,omitempty"`
	ID  string `json:"i,omitempty"`
	Seq int64  `json:"s,omitempty"`
}

const (
	maxCursor = 512
	cursorMAC = 16 // bytes of HMAC-SHA-256, the least that RFC 2104 section 5 advises
)

// nextCursor returns the text of a cursor.
func (s *Service) nextCursor(ctx context.Context, c cursor, filter string) (string, error) {
	key, err := s.databaseSecret(ctx)
	if err != nil {
		return "", err
	}
	place, _ := json.Marshal(c) // two numbers and a string
	return base64.RawURLEncoding.EncodeToString(append(macOfCursor(key, place, filter), place...)), nil
}

// readCursor decodes a cursor; the empty one is the start of the list.
func (s *Service) readCursor(ctx context.Context, text, filter string) (cursor, error) {
	if text == "" {
		return cursor{}, nil
	}
	bad := invalid("cursor", "must be the value of next from the previous page, with the same filters")
	if len(text) > maxCursor || strings.ContainsAny(text, "\r\n") { // the decoder ignores line breaks
		return cursor{}, bad
	}
	decoded, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil || len(decoded) < cursorMAC {
		return cursor{}, bad
	}
	mac, place := decoded[:cursorMAC], decoded[cursorMAC:]
	var c cursor
	if err := json.Unmarshal(place, &c); err != nil {
		return cursor{}, bad // before the store is asked for the key
	}
	key, err := s.databaseSecret(ctx)
	if err != nil {
		return cursor{}, err
	}
	if !hmac.Equal(mac, macOfCursor(key, place, filter)) {
		return cursor{}, bad
	}
	return c, nil
}

func macOfCursor(key, place []byte, filter string) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte("cursor\x00" + filter + "\x00"))
	mac.Write(place)
	return mac.Sum(nil)[:cursorMAC]
}

// cursorAfter returns the text of the cursor for the records after a position, or
// "" at the end of the list.
func (s *Service) cursorAfter(ctx context.Context, next *Position, filter string) (string, error) {
	if next == nil {
		return "", nil
	}
	return s.nextCursor(ctx, cursor{At: next.At.UnixMilli(), ID: next.ID}, filter)
}

// position returns the cursor as a place among keys or users.
func (c cursor) position() Position {
	if c.ID == "" {
		return Position{}
	}
	return Position{At: time.UnixMilli(c.At).UTC(), ID: c.ID}
}

// pageLength returns the limit of the query; the default is the longest page.
func pageLength(limit int) int {
	if limit == 0 {
		return maxPage
	}
	return limit
}

// everyPage yields the items of all pages, starting at a cursor.
func everyPage[T any](cursor string, page func(cursor string) (items []T, next string, err error)) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for at := cursor; ; {
			items, next, err := page(at)
			if err != nil {
				var zero T
				yield(zero, err)
				return
			}
			for _, item := range items {
				if !yield(item, nil) {
					return
				}
			}
			if next == "" {
				return
			}
			at = next
		}
	}
}

// maxStretch is the maximum number of stored records that are read for one page.
const maxStretch = 2000

// walk collects a page of the records that match, at most limit. It reads step
// records at a time, until the page is full, the list ends, or it has looked at
// maxStretch records. next is where the next page begins, and nil at the end of the
// list.
func walk[R, T any](after Position, limit, step int,
	read func(after Position, limit int) ([]R, error),
	match func(*R) (item T, at Position, ok bool),
) (page []T, next *Position, err error) {
	for looked := 0; looked < maxStretch; looked += step {
		records, err := read(after, step)
		if err != nil {
			return nil, nil, err
		}
		for i := range records {
			item, at, ok := match(&records[i])
			after = at
			if ok {
				page = append(page, item)
			}
			if len(page) == limit {
				return page, &after, nil
			}
		}
		if len(records) < step {
			return page, nil, nil
		}
	}
	return page, &after, nil
}

// keyConditions are the conditions by which keys are listed, changed and counted.
type keyConditions struct{ owner, user, tenant Filter }

func (c *keyConditions) check() error {
	if err := c.owner.checkText("owner_id", maxOwnerID); err != nil {
		return err
	}
	if err := c.user.checkID("user_id"); err != nil {
		return err
	}
	return c.tenant.checkText("tenant", maxTenant)
}

func (c *keyConditions) areNone() bool { return !c.owner.set && !c.user.set && !c.tenant.set }

// scan returns the scan over the most selective index. The caller filters its rows with
// admits.
func (c *keyConditions) scan() KeyScan {
	switch {
	case c.user.set:
		return KeyScan{Index: KeysByUser, Value: c.user.value}
	case c.owner.set:
		return KeyScan{Index: KeysByOwner, Value: c.owner.value}
	case c.tenant.set:
		return KeyScan{Index: KeysByTenant, Value: c.tenant.value}
	}
	return KeyScan{Index: KeysAll}
}

func (c *keyConditions) admits(k *Key) bool {
	return c.owner.admits(k.OwnerID) && c.user.admits(k.UserID) && c.tenant.admits(k.Tenant)
}

func checkCharacters(field, value string, limit int) error {
	if utf8.RuneCountInString(value) > limit || !text.IsPlain(value) {
		return invalid(field, fmt.Sprintf("must be at most %d characters of UTF-8 without control characters", limit))
	}
	return nil
}

func checkBytes(field, value string, limit int) error {
	if len(value) > limit || !text.IsPlain(value) {
		return invalid(field, fmt.Sprintf("must be at most %d bytes of UTF-8 without control characters", limit))
	}
	return nil
}

func checkReason(reason string) error { return checkCharacters("reason", reason, maxReason) }

// checkID returns an error for a text that cannot be an id, before the store is queried.
func checkID(id string) error {
	if !token.IsID(id) {
		return invalid("id", idRule)
	}
	return nil
}

const idRule = "must be 16 letters and digits"

func checkLimit(limit int) (int, error) {
	limit = cmp.Or(limit, defaultPage)
	if limit < 1 || limit > maxPage {
		return 0, invalid("limit", fmt.Sprintf("must be between 1 and %d; the default is %d", maxPage, defaultPage))
	}
	return limit, nil
}
