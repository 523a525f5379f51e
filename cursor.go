package keyfold

import (
	"encoding/base64"
	"encoding/json"
	"hash/fnv"
	"time"
)

// cursor is a place in a list. It is opaque to callers and bound to the filter
// it was made under: with another filter it would pass over rows.
type cursor struct {
	Filter uint64 `json:"f"`
	At     int64  `json:"t,omitempty"`
	ID     string `json:"i,omitempty"`
	Seq    int64  `json:"s,omitempty"`
}

const maxCursor = 512

func (c cursor) encode(filter string) string {
	c.Filter = filterSum(filter)
	text, _ := json.Marshal(c) // three numbers and a string
	return base64.RawURLEncoding.EncodeToString(text)
}

// readCursor decodes a cursor; the empty one is the start of the list.
func readCursor(text, filter string) (cursor, error) {
	if text == "" {
		return cursor{}, nil
	}
	bad := invalid("cursor", "the next of the page before, with the same filters")
	if len(text) > maxCursor {
		return cursor{}, bad
	}
	decoded, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil {
		return cursor{}, bad
	}
	var c cursor
	if err := json.Unmarshal(decoded, &c); err != nil || c.Filter != filterSum(filter) || !isText(c.ID) {
		return cursor{}, bad
	}
	return c, nil
}

func filterSum(filter string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(filter))
	return h.Sum64()
}

// position is the cursor as a place among keys.
func (c cursor) position() Position {
	if c.ID == "" {
		return Position{}
	}
	return Position{At: time.UnixMilli(c.At).UTC(), ID: c.ID}
}
