// Package passwordtest counts, replaces and cheapens what a hasher of passwords
// computes. It is for tests alone.
package passwordtest

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"slices"
	"sync/atomic"

	"github.com/alexedwards/argon2id"

	"github.com/keyfold/keyfold/internal/password"
)

// KDFs counts the key derivations that a hasher computes.
type KDFs struct {
	Computed atomic.Int64               // since Count
	Peak     atomic.Int64               // the most at the same time
	Last     atomic.Pointer[Argon]      // nil if the last was bcrypt
	instead  atomic.Pointer[func() any] // see Replace
	running  atomic.Int64
}

// Argon has the parameters of one argon2id.
type Argon struct {
	Time, Memory, Key uint32
	Threads           uint8
	Salt              int
}

// Count counts the derivations of the hasher from now on.
func Count(h *password.Hasher) *KDFs {
	k := new(KDFs)
	real := h.Functions
	h.Create = func(password string, params *argon2id.Params) (string, error) {
		defer k.enter(argonOf(params))()
		if k.replaced() != nil {
			return phc(params, newSalt(params), make([]byte, params.KeyLength)), nil
		}
		return real.Create(password, params)
	}
	h.Compare = func(password, stored string) (bool, error) {
		params, _, key, err := argon2id.DecodeHash(stored)
		if err != nil {
			return false, err
		}
		defer k.enter(argonOf(params))()
		if k.replaced() != nil {
			return bytes.Equal(key, make([]byte, len(key))), nil
		}
		return real.Compare(password, stored)
	}
	h.Bcrypt = func(hash, password []byte) error {
		defer k.enter(nil)()
		if result := k.replaced(); result != nil {
			err, _ := (*result).(error)
			return err
		}
		return real.Bcrypt(hash, password)
	}
	return k
}

// Cheapen replaces argon2id by one SHA-256, for tests that try thousands of
// passwords, and counts like [Count].
func Cheapen(h *password.Hasher) *KDFs {
	sum := func(salt []byte, password string, length uint32) []byte {
		sum := sha256.Sum256(slices.Concat(salt, []byte(password)))
		return sum[:length]
	}
	h.Create = func(password string, params *argon2id.Params) (string, error) {
		salt := newSalt(params)
		return phc(params, salt, sum(salt, password, params.KeyLength)), nil
	}
	h.Compare = func(password, stored string) (bool, error) {
		params, salt, key, err := argon2id.DecodeHash(stored)
		if err != nil {
			return false, err
		}
		return bytes.Equal(key, sum(salt, password, params.KeyLength)), nil
	}
	return Count(h)
}

// Replace calls f in place of each derivation. The key of argon2id is then all
// zeros, and bcrypt returns what f returns if that is an error.
func (k *KDFs) Replace(f func() any) { k.instead.Store(&f) }

// replaced calls what Replace was given, and returns nil if there is nothing.
func (k *KDFs) replaced() *any {
	f := k.instead.Load()
	if f == nil {
		return nil
	}
	result := (*f)()
	return &result
}

func (k *KDFs) enter(with *Argon) (leave func()) {
	k.Computed.Add(1)
	k.Last.Store(with)
	running := k.running.Add(1)
	for {
		peak := k.Peak.Load()
		if running <= peak || k.Peak.CompareAndSwap(peak, running) {
			return func() { k.running.Add(-1) }
		}
	}
}

func argonOf(p *argon2id.Params) *Argon {
	return &Argon{Time: p.Iterations, Memory: p.Memory, Threads: p.Parallelism, Key: p.KeyLength, Salt: int(p.SaltLength)}
}

func newSalt(p *argon2id.Params) []byte {
	salt := make([]byte, p.SaltLength)
	rand.Read(salt) // never fails
	return salt
}

func phc(p *argon2id.Params, salt, key []byte) string {
	encode := base64.RawStdEncoding.EncodeToString
	return fmt.Sprintf("$argon2id$v=19$m=%d,t=%d,p=%d$%s$%s", p.Memory, p.Iterations, p.Parallelism, encode(salt), encode(key))
}
