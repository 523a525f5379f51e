package keycache

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net/netip"
	"unsafe"

	"github.com/keyfold/keyfold/internal/cidr"
	"github.com/keyfold/keyfold/internal/scope"
	"github.com/keyfold/keyfold/internal/token"
)

// Record is what a verify needs to know of a key, as it was read from a store.
type Record struct {
	ID          string
	Head        string // of its tokens
	Environment string
	Name        string
	OwnerID     string
	Tenant      string
	UserID      string // empty for a key that does not belong to a user
	Scopes      string // separated by one space
	Networks    string // CIDR prefixes, separated by one space
	Metadata    string // a JSON object of strings, or empty

	Algorithm string // as stored
	PepperID  string
	Sum       [32]byte

	ExpiresAt   int64 // unix milliseconds, exclusive
	IdleTimeout int64 // milliseconds; 0 for none
	ActiveAt    int64 // unix milliseconds: the last use that is known, or what counts as one

	Revoked      bool
	Disabled     bool
	UserDisabled bool
}

// Key is a key as verifies see it: an entry of a chunk. Neither changes once
// readers can see it, so a Key may be shared by all requests that use it. The
// zero Key stands for no key; of its methods, only IsZero may be called.
type Key struct {
	// Both are unsafe.Pointers because fmt follows other pointers to their contents
	// for some verbs, even in an unexported field of a program's own struct, and would
	// print the hash of the secret.
	inChunk unsafe.Pointer // *chunk
	atEntry unsafe.Pointer // *entry
}

func keyOf(c *chunk, e *entry) Key { return Key{unsafe.Pointer(c), unsafe.Pointer(e)} }

func (k Key) chunk() *chunk { return (*chunk)(k.inChunk) }
func (k Key) entry() *entry { return (*entry)(k.atEntry) }

// Reason is why a key is refused.
type Reason uint8

// The reasons, in the order in which they are checked: what is final comes before
// what is not.
const (
	Allowed Reason = iota
	Revoked
	Disabled
	UserDisabled
	Expired
	Idle    // not used for longer than its idle timeout
	Network // the address is not in the networks of the key
	Scope   // a scope is missing
)

// NewKey returns the key in a chunk of its own, to be served until staleAt, in
// unix milliseconds. It refuses records that are larger than any that Keyfold
// writes.
func NewKey(r *Record, staleAt int64) (Key, error) {
	texts := [fields]string{r.Head, r.Scopes, r.Environment, r.Name, r.OwnerID, r.Tenant, r.UserID, r.Metadata}
	size := 0
	for _, text := range texts {
		size += len(text)
	}
	if len(r.ID) != token.IDLen || size > maxRecord {
		return Key{}, fmt.Errorf("keyfold: the record of key %.16q is damaged", r.ID)
	}
	own := &struct { // one piece of memory
		chunk
		entries [1]entry
		text    [128]byte // enough for most
	}{}
	c, e := &own.chunk, &own.entries[0]
	c.entries, c.text, c.base = own.entries[:], own.text[:0], staleAt
	copy(e.id[:], r.ID)
	algorithm := token.ParseAlgorithm(r.Algorithm)
	e.sum, e.expiresAt, e.marks = r.Sum, r.ExpiresAt, r.marks()
	if algorithm != token.Plain || r.Networks != "" || r.IdleTimeout > 0 {
		e.marks |= markRare
	}
	for f, text := range texts {
		if field(f) == firstOwn {
			e.ownAt = uint16(len(c.text))
			if e.marks&markRare != 0 {
				c.text = append(c.text, make([]byte, rareIndex)...)
			}
		}
		c.text = append(binary.AppendUvarint(c.text, uint64(len(text))), text...)
	}
	if e.marks&markRare != 0 {
		networks, _ := cidr.Split(r.Networks) // a key whose networks are all invalid cannot be used from any address
		c.addRare(e, &rareFields{
			pepperID: r.PepperID, algorithm: algorithm, stored: r.Algorithm, restricted: r.Networks != "", networks: networks,
			idleTimeout: r.IdleTimeout, activeAt: r.ActiveAt,
		})
	}
	c.published.Store(1)
	return keyOf(c, e), nil
}

func (r *Record) marks() (m marks) {
	if r.Revoked {
		m |= markRevoked
	}
	if r.Disabled {
		m |= markDisabled
	}
	if r.UserDisabled {
		m |= markUserDisabled
	}
	if r.UserID != "" {
		m |= markHasUser
	}
	return m
}

// IsZero reports whether k stands for no key.
func (k Key) IsZero() bool { return k.atEntry == nil }

// ID returns the id of the key.
func (k Key) ID() string { return unsafe.String(&k.entry().id[0], token.IDLen) } // it never changes

// hasID reports whether the key has that id.
func (k Key) hasID(id string) bool { return string(k.entry().id[:]) == id }

// Head returns the head of the key's tokens.
func (k Key) Head() string { return k.text(fieldHead) }

// Name returns the name of the key.
func (k Key) Name() string { return k.text(fieldName) }

// Environment returns the environment in the key's token.
func (k Key) Environment() string { return k.text(fieldEnvironment) }

// OwnerID returns the host's own id of the key's owner.
func (k Key) OwnerID() string { return k.text(fieldOwnerID) }

// Tenant returns the tenant label of the key.
func (k Key) Tenant() string { return k.text(fieldTenant) }

// UserID returns the id of the user of the key, or "".
func (k Key) UserID() string { return k.text(fieldUserID) }

// Scopes returns the scopes of the key.
func (k Key) Scopes() scope.Set { return scope.Set(k.text(fieldScopes)) }

// ExpiresAt returns the deadline of the key in unix milliseconds, exclusive.
func (k Key) ExpiresAt() int64 { return k.entry().expiresAt }

// Sum returns the hash of the key's secret. It must not be changed.
func (k Key) Sum() *[32]byte { return &k.entry().sum }

// Algorithm returns what the secret was hashed with.
func (k Key) Algorithm() token.Algorithm {
	if rare := k.rare(); rare != nil {
		return rare.algorithm
	}
	return token.Plain // every other algorithm is in the rare fields
}

// AlgorithmName returns the name of the algorithm as it is stored.
func (k Key) AlgorithmName() string {
	if rare := k.rare(); rare != nil {
		return rare.stored
	}
	return token.Plain.String()
}

// PepperID returns the id of the pepper that the secret was hashed under, or "".
func (k Key) PepperID() string {
	if rare := k.rare(); rare != nil {
		return rare.pepperID
	}
	return ""
}

// Metadata returns the value of that name, or "". All values are decoded when the
// first is asked for.
func (k Key) Metadata(name string) string {
	if decoded, ok := k.chunk().metadata.Load(k.entry()); ok {
		return decoded.(map[string]string)[name]
	}
	var decoded map[string]string
	_ = json.Unmarshal([]byte(k.text(fieldMetadata)), &decoded) // Keyfold wrote it; empty if another program did
	k.chunk().metadata.Store(k.entry(), decoded)
	return decoded[name]
}

// Check decides on a request with the right secret, at a time in unix
// milliseconds: whether the key may be used for these scopes from that address,
// which is the zero Addr when it is unknown.
func (k Key) Check(scopes []string, ip netip.Addr, now int64) Reason {
	switch e := k.entry(); {
	case e.marks&marksThatRefuse != 0:
		return e.marks.reason()
	case now >= e.expiresAt:
		return Expired
	}
	if rare := k.rare(); rare != nil {
		switch {
		case rare.idleTimeout > 0 && now-rare.activeAt >= rare.idleTimeout:
			return Idle
		case rare.restricted && !rare.contains(ip):
			return Network
		}
	}
	if len(scopes) > 0 && !k.Scopes().CoversAll(scopes) {
		return Scope
	}
	return Allowed
}

// contains reports whether the address is in one of the networks. An IPv4
// address is the same address when it comes mapped into IPv6.
func (r *rareFields) contains(addr netip.Addr) bool {
	addr = addr.Unmap().WithZone("")
	for i := range r.networks {
		if r.networks[i].Contains(addr) {
			return true
		}
	}
	return false
}

// staleAt returns when the key is not served from memory any more.
func (k Key) staleAt() int64 {
	return k.chunk().base + int64(k.entry().staleAt)*int64(k.chunk().unit)
}

func (k Key) text(f field) string {
	at := int(k.entry().sharedAt)
	if f >= firstOwn {
		at, f = k.ownAt(), f-firstOwn
	}
	rest := k.chunk().text[at:]
	for ; f > 0; f-- {
		_, rest = cut(rest)
	}
	text, _ := cut(rest)
	return unsafe.String(unsafe.SliceData(text), len(text)) // it never changes, and a chunk's memory never moves
}

// cut takes the first text from those that follow one another.
func cut(texts []byte) (text, rest []byte) {
	size, width := uint64(texts[0]), 1
	if size >= 1<<7 {
		size, width = binary.Uvarint(texts)
	}
	texts = texts[width:]
	return texts[:size], texts[size:]
}

// ownAt returns where the first of the key's own texts begins.
func (k Key) ownAt() int {
	if k.entry().marks&markRare != 0 {
		return int(k.entry().ownAt) + rareIndex
	}
	return int(k.entry().ownAt)
}

// shared returns the texts that other keys may have too, with their lengths.
func (k Key) shared() []byte {
	return k.span(int(k.entry().sharedAt), int(k.entry().sharedAt), firstOwn)
}

// own returns the key's own texts, with their lengths and the index of its rare
// fields.
func (k Key) own() []byte { return k.span(int(k.entry().ownAt), k.ownAt(), fields-firstOwn) }

// span returns n texts that begin at first, and the bytes between from and first.
func (k Key) span(from, first int, n field) []byte {
	rest := k.chunk().text[first:]
	for ; n > 0; n-- {
		_, rest = cut(rest)
	}
	return k.chunk().text[from : len(k.chunk().text)-len(rest)]
}

// hasUser reports whether the key belongs to a user.
func (k Key) hasUser() bool { return k.entry().marks&markHasUser != 0 }

func (k Key) rare() *rareFields {
	if k.entry().marks&markRare == 0 {
		return nil
	}
	return (*k.chunk().rare.Load())[binary.LittleEndian.Uint16(k.chunk().text[k.entry().ownAt:])]
}
