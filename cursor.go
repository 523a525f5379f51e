package keyfold

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"time"
)

// cursor is a place in a list. It is opaque to callers, bound to the filter it was
// made under, because with another filter it would pass over rows, and
// authenticated: one that was edited is refused. Its key comes from the id of the
// database, so that every process takes the cursors of every other.
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
	bad := invalid("cursor", "must be the next value of the previous page, with the same filters")
	if len(text) > maxCursor {
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

// position is the cursor as a place among keys.
func (c cursor) position() Position {
	if c.ID == "" {
		return Position{}
	}
	return Position{At: time.UnixMilli(c.At).UTC(), ID: c.ID}
}
