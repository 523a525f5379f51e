package password_test

import (
	"context"
	"errors"
	"reflect"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alexedwards/argon2id"
	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/bcrypt"

	"github.com/keyfold/keyfold/internal/password"
	"github.com/keyfold/keyfold/internal/password/passwordtest"
)

const goodPassword = "a sentence of nobody else"

// current has the parameters that OWASP recommends for argon2id.
var current = passwordtest.Argon{Memory: 19456, Time: 2, Threads: 1, Salt: 16, Key: 32}

// hasher is a Hasher that counts its computations.
type hasher struct {
	*password.Hasher
	*passwordtest.KDFs
}

func newHasher(slots int, wait time.Duration) hasher {
	h := password.New(slots, wait)
	return hasher{h, passwordtest.Count(h)}
}

func hashed(t testing.TB, h hasher, password string) string {
	t.Helper()
	stored, err := h.Hash(context.Background(), password)
	if err != nil {
		t.Fatal(err)
	}
	return stored
}

func wantVerified(t *testing.T, h hasher, password, stored string, match, outdated bool) {
	t.Helper()
	gotMatch, gotOutdated, err := h.Verify(t.Context(), password, stored)
	if err != nil || gotMatch != match || gotOutdated != outdated {
		t.Errorf("verify = match %v, outdated %v, %v; want %v, %v", gotMatch, gotOutdated, err, match, outdated)
	}
}

func TestHashUsesTheRecommendedParameters(t *testing.T) {
	t.Parallel()
	h := newHasher(2, time.Minute)
	one, two := hashed(t, h, goodPassword), hashed(t, h, goodPassword)
	if !strings.HasPrefix(one, "$argon2id$v=19$m=19456,t=2,p=1$") || *h.Last.Load() != current {
		t.Errorf("hash = %s with %+v", one, *h.Last.Load())
	}
	if one == two {
		t.Error("two hashes of one password are equal, want different salts")
	}
	wantVerified(t, h, goodPassword, one, true, false)
	wantVerified(t, h, goodPassword+".", one, false, false)
	wantVerified(t, h, "", one, false, false)
}

func TestVerifyAcceptsHashesOfOtherPrograms(t *testing.T) {
	t.Parallel()
	h := newHasher(2, time.Minute)
	past72 := "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789chars after 72 are ignored"
	for name, row := range map[string]struct {
		password, stored string
		outdated         bool
	}{
		"argon2id of the reference program":           {"correct horse battery staple", "$argon2id$v=19$m=19456,t=2,p=1$c2l4dGVlbiBieXRlcyAxMg$PhA1cuEFVSomGtvtMWwTxUButy1w4Kb+wfSo0N9ibiQ", false},
		"the same, as argon2-cffi would":              {"correct horse battery staple", "$argon2id$v=19$m=65536,t=3,p=4$c2l4dGVlbiBieXRlcyAxMg$WrYaVf6+wVpkz0eAiWC+7a7POGIpHh5CHiE0N24n05A", false},
		"bcrypt of jBCrypt's tests":                   {"abc", "$2a$06$If6bvum7DFjUnE9p2uDeDu0YHzrHM6tf.iqN8.yx.jNN1ILEf7h0i", true},
		"the same, as Python writes it":               {"abc", "$2b$06$If6bvum7DFjUnE9p2uDeDu0YHzrHM6tf.iqN8.yx.jNN1ILEf7h0i", true},
		"the same, as PHP writes it":                  {"abc", "$2y$06$If6bvum7DFjUnE9p2uDeDu0YHzrHM6tf.iqN8.yx.jNN1ILEf7h0i", true},
		"bcrypt of more than 72 bytes, of Openwall's": {past72, "$2a$05$abcdefghijklmnopqrstuu5s2v8.iXieOjg/.AySBTTZIIVFJeBui", true},
	} {
		t.Run(name, func(t *testing.T) {
			wantVerified(t, h, row.password, row.stored, true, row.outdated)
			wantVerified(t, h, "x"+row.password, row.stored, false, false)
		})
	}
}

// The predecessor hashed the bytes of the request without normalizing them.
func TestBcryptPasswordsAreNotNormalized(t *testing.T) {
	t.Parallel()
	h := newHasher(1, time.Minute)
	stored, err := bcrypt.GenerateFromPassword([]byte("cafe\u0301 society"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	wantVerified(t, h, "cafe\u0301 society", string(stored), true, true)
	wantVerified(t, h, "caf\u00e9 society", string(stored), false, false)
}

func TestPasswordsAreComparedInNFC(t *testing.T) {
	t.Parallel()
	h := newHasher(1, time.Minute)
	stored := hashed(t, h, "cafe\u0301 society nights")
	wantVerified(t, h, "caf\u00e9 society nights", stored, true, false)
	wantVerified(t, h, "cafe society nights", stored, false, false)
	wantVerified(t, h, "caf\u00e9 society\u00a0nights", stored, false, false)
}

// A mutation that makes this fail: Verify that returns without calling Pretend.
func TestVerifyAlwaysComputesOneHash(t *testing.T) {
	t.Parallel()
	h := newHasher(1, time.Minute)
	stored := hashed(t, h, goodPassword)
	for name, row := range map[string]struct{ password, stored string }{
		"right":                                {goodPassword, stored},
		"wrong":                                {"another one", stored},
		"empty":                                {"", stored},
		"256 characters of four bytes":         {strings.Repeat("😀", 256), stored},
		"257 characters":                       {strings.Repeat("x", 257), stored},
		"5 000 characters":                     {strings.Repeat("x", 5000), stored},
		"no UTF-8":                             {"\xff" + goodPassword, stored},
		"no password stored":                   {goodPassword, ""},
		"no password stored, 5 000 characters": {strings.Repeat("x", 5000), ""},
		"bcrypt stored, 5 000 characters":      {strings.Repeat("x", 5000), "$2b$06$If6bvum7DFjUnE9p2uDeDu0YHzrHM6tf.iqN8.yx.jNN1ILEf7h0i"},
	} {
		t.Run(name, func(t *testing.T) {
			before := h.Computed.Load()
			match, outdated, err := h.Verify(t.Context(), row.password, row.stored)
			if err != nil || match != (name == "right") || outdated {
				t.Errorf("%s: match %v, outdated %v, %v", name, match, outdated, err)
			}
			if got := h.Computed.Load() - before; got != 1 || *h.Last.Load() != current {
				t.Errorf("%s: %d hashes, the last with %+v; want 1 with %+v", name, got, *h.Last.Load(), current)
			}
		})
	}
	before := h.Computed.Load()
	if err := h.Pretend(t.Context()); err != nil || h.Computed.Load()-before != 1 || *h.Last.Load() != current {
		t.Errorf("pretend: %v, %d hashes, with %+v", err, h.Computed.Load()-before, *h.Last.Load())
	}
}

func TestHashRefusesUnusablePasswords(t *testing.T) {
	t.Parallel()
	h := newHasher(1, time.Minute)
	for name, typed := range map[string]string{
		"257 characters": strings.Repeat("x", 257),
		"too many bytes": strings.Repeat("x", 1<<20),
		"no UTF-8":       "\xff",
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := h.Hash(t.Context(), typed); !errors.Is(err, password.ErrUnusable) {
				t.Errorf("%s: %v, want ErrUnusable", name, err)
			}
		})
	}
	if got := h.Computed.Load(); got != 0 {
		t.Errorf("%d hashes of refused passwords, want none", got)
	}
	// This password has the maximum size: 1 024 code points, which NFC composes to 256.
	longest := strings.Repeat("\u03b1\u0313\u0300\u0345", 256)
	wantVerified(t, h, longest, hashed(t, h, longest), true, false)
}

// A salt and a key of the usual lengths, in base64.
var (
	salt16 = strings.Repeat("c2Fs", 5) + "cw"   // 16 bytes
	key32  = strings.Repeat("a2V5", 10) + "a2U" // 32 bytes
)

func phc(parameters, salt, key string) string {
	return "$argon2id$v=19$" + parameters + "$" + salt + "$" + key
}

func TestVerifyRefusesUnsupportedHashes(t *testing.T) {
	t.Parallel()
	h := newHasher(1, time.Minute)
	good := "m=19456,t=2,p=1"
	bcrypted := "If6bvum7DFjUnE9p2uDeDu0YHzrHM6tf.iqN8.yx.jNN1ILEf7h0i"
	for name, stored := range map[string]string{
		"plain text":                   "hunter2",
		"SHA-256":                      strings.Repeat("ab", 32),
		"dollars":                      strings.Repeat("$", 10_000),
		"argon2i":                      strings.Replace(phc(good, salt16, key32), "argon2id", "argon2i", 1),
		"argon2id of an older version": strings.Replace(phc(good, salt16, key32), "v=19", "v=16", 1),
		"no version":                   strings.Replace(phc(good, salt16, key32), "v=19$", "", 1),
		"no time":                      phc("m=19456,t=0,p=1", salt16, key32),
		"no threads":                   phc("m=19456,t=2,p=0", salt16, key32),
		"no memory":                    phc("m=0,t=2,p=1", salt16, key32),
		"less memory than threads use": phc("m=15,t=2,p=2", salt16, key32),
		"2^32 passes":                  phc("m=19456,t=4294967296,p=1", salt16, key32),
		"17 passes":                    phc("m=19456,t=17,p=1", salt16, key32),
		"more than 128 MiB":            phc("m=131073,t=2,p=1", salt16, key32),
		"4 TiB":                        phc("m=4294967295,t=2,p=1", salt16, key32),
		"256 threads":                  phc("m=19456,t=2,p=256", salt16, key32),
		"a negative number":            phc("m=19456,t=-2,p=1", salt16, key32),
		"a leading zero":               phc("m=19456,t=02,p=1", salt16, key32),
		"a plus sign":                  phc("m=19456,t=+2,p=1", salt16, key32),
		"another order":                phc("t=2,m=19456,p=1", salt16, key32),
		"a parameter twice":            phc("m=19456,m=19456,p=1", salt16, key32),
		"a parameter too few":          phc("m=19456,t=2", salt16, key32),
		"a parameter too many":         phc(good+",keyid=eA", salt16, key32),
		"no salt":                      phc(good, "", key32),
		"a salt of 7 bytes":            phc(good, "c2FsdHNhbA", key32),
		"a salt of 65 bytes":           phc(good, strings.Repeat("c2Fs", 21)+"c2E", key32),
		"no key":                       phc(good, salt16, ""),
		"a key of 15 bytes":            phc(good, salt16, strings.Repeat("a2V5", 5)),
		"a key of 65 bytes":            phc(good, salt16, strings.Repeat("a2V5", 21)+"a2U"),
		"padded base64":                phc(good, salt16+"==", key32),
		"spare bits in base64":         phc(good, salt16[:21]+"x", key32),
		"a line break in base64":       phc(good, salt16, key32[:8]+"\n"+key32[8:]),
		"a line break after it":        phc(good, salt16, key32) + "\n",
		"a part too many":              phc(good, salt16, key32) + "$",
		"bcrypt with its old bug":      "$2x$06$" + bcrypted,
		"bcrypt of no revision":        "$2$06$" + bcrypted,
		"bcrypt of cost 3":             "$2b$03$" + bcrypted,
		"bcrypt of cost 16":            "$2b$16$" + bcrypted,
		"bcrypt of cost 31":            "$2b$31$" + bcrypted,
		"bcrypt of no cost":            "$2b$+6$" + bcrypted,
		"bcrypt cut short":             "$2b$06$" + bcrypted[1:],
		"bcrypt of another alphabet":   "$2b$06$" + bcrypted[1:] + "+",
		"bcrypt over SHA-256":          "$bcrypt-sha256$v=2,t=2b,r=12$n79VH.0Q2TMWmt3Oqt9uku$Kq4Noyk3094Y2QlB8NdRT8SvGiI4ft2",
	} {
		t.Run(name, func(t *testing.T) {
			match, outdated, err := h.Verify(t.Context(), goodPassword, stored)
			if match || outdated || !errors.Is(err, password.ErrUnknownHash) {
				t.Errorf("%s: match %v, outdated %v, %v; want ErrUnknownHash", name, match, outdated, err)
			}
			if err != nil && strings.Contains(err.Error(), stored) {
				t.Errorf("%s: the error contains the hash", name)
			}
		})
	}
	if got := h.Computed.Load(); got != 0 {
		t.Errorf("%d hashes were computed, want none", got)
	}
}

func TestWeakHashIsOutdatedOnlyIfThePasswordMatches(t *testing.T) {
	t.Parallel()
	h := newHasher(1, time.Minute)
	h.Replace(func() any { return nil }) // every key is zeros
	zeros := func(bytes int) string { return strings.Repeat("A", (bytes*8+5)/6) }
	for name, row := range map[string]struct {
		stored   string
		outdated bool
	}{
		"today's parameters":          {phc("m=19456,t=2,p=1", salt16, zeros(32)), false},
		"more memory, one pass":       {phc("m=47104,t=1,p=1", salt16, zeros(32)), false},
		"more memory, more threads":   {phc("m=65536,t=3,p=4", salt16, zeros(32)), false},
		"a longer salt and key":       {phc("m=19456,t=2,p=1", zeros(64), zeros(64)), false},
		"all that is allowed":         {phc("m=131072,t=16,p=255", zeros(64), zeros(64)), false},
		"less memory":                 {phc("m=19455,t=2,p=1", salt16, zeros(32)), true},
		"less memory, as many blocks": {phc("m=12288,t=4,p=1", salt16, zeros(32)), true},
		"fewer passes":                {phc("m=19456,t=1,p=1", salt16, zeros(32)), true},
		"a shorter salt":              {phc("m=19456,t=2,p=1", zeros(8), zeros(32)), true},
		"a shorter key":               {phc("m=19456,t=2,p=1", salt16, zeros(16)), true},
		"the least that is allowed":   {phc("m=8,t=1,p=1", zeros(8), zeros(16)), true},
	} {
		t.Run(name, func(t *testing.T) {
			wantVerified(t, h, goodPassword, row.stored, true, row.outdated)
			wantVerified(t, h, goodPassword, strings.TrimRight(row.stored, "A")+strings.Repeat("Q", 22), false, false)
		})
	}
	if longest := phc("m=131072,t=16,p=255", zeros(64), zeros(64)); len(longest) != 208 {
		t.Errorf("the longest hash has %d bytes", len(longest))
	}
}

// A mutation that makes this fail: one slot more.
func TestSlotsLimitConcurrentHashes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHasher(2, 2*time.Second)
		h.Replace(func() any { time.Sleep(50 * time.Millisecond); return nil })
		began := time.Now()
		var all sync.WaitGroup
		for i := range 64 {
			all.Go(func() {
				var err error
				switch i % 4 {
				case 0:
					_, err = h.Hash(t.Context(), goodPassword)
				case 1:
					err = h.Pretend(t.Context())
				case 2:
					_, _, err = h.Verify(t.Context(), goodPassword, phc("m=19456,t=2,p=1", salt16, key32))
				case 3:
					_, _, err = h.Verify(t.Context(), goodPassword, "$2b$06$If6bvum7DFjUnE9p2uDeDu0YHzrHM6tf.iqN8.yx.jNN1ILEf7h0i")
				}
				if err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if computed, peak := h.Computed.Load(), h.Peak.Load(); computed != 64 || peak != 2 {
			t.Errorf("%d hashes, %d at once; want 64, 2 at once", computed, peak)
		}
		if took := time.Since(began); took != 32*50*time.Millisecond {
			t.Errorf("took %v: the slots were not all used", took)
		}
	})
}

func TestWaitForASlotIsBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHasher(1, 2*time.Second)
		h.Replace(func() any { time.Sleep(time.Minute); return nil })
		go h.Pretend(t.Context())
		synctest.Wait()

		began := time.Now()
		_, _, err := h.Verify(t.Context(), goodPassword, "")
		if waited := time.Since(began); waited != 2*time.Second {
			t.Errorf("waited %v, want 2 s", waited)
		}
		if !errors.Is(err, password.ErrBusy) {
			t.Errorf("err = %v, want ErrBusy", err)
		}

		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := h.Hash(ctx, goodPassword); !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, password.ErrBusy) {
			t.Errorf("a caller whose time is up gets %v", err)
		}
		time.Sleep(time.Hour)
		if computed := h.Computed.Load(); computed != 1 {
			t.Errorf("%d hashes, want only the first", computed)
		}
		h.Replace(func() any { return nil })
		cancel()
		if err := h.Pretend(ctx); !errors.Is(err, context.DeadlineExceeded) || h.Computed.Load() != 1 {
			t.Errorf("a caller whose time was up before gets %v, after %d hashes", err, h.Computed.Load())
		}
		if err := h.Pretend(t.Context()); err != nil {
			t.Errorf("the slot was not given back: %v", err)
		}
	})
}

// FuzzStoredPasswordHash calls Verify with arbitrary stored hashes. It replaces the
// expensive functions with functions that check their arguments.
func FuzzStoredPasswordHash(f *testing.F) {
	f.Add(phc("m=19456,t=2,p=1", salt16, key32))
	f.Add(phc("m=131072,t=16,p=255", salt16, key32))
	f.Add(phc("m=8,t=1,p=1", "c2FsdHNhbHQ", "a2V5a2V5a2V5a2V5a2V5aw"))
	f.Add(phc("m=0,t=0,p=0", "", ""))
	f.Add("$2b$06$If6bvum7DFjUnE9p2uDeDu0YHzrHM6tf.iqN8.yx.jNN1ILEf7h0i")
	f.Add("$2y$31$If6bvum7DFjUnE9p2uDeDu0YHzrHM6tf.iqN8.yx.jNN1ILEf7h0i")
	f.Add("")
	h := newHasher(1, time.Minute)
	f.Fuzz(func(t *testing.T, stored string) {
		h.Replace(func() any {
			a := h.Last.Load()
			if a == nil {
				if cost, err := bcrypt.Cost([]byte(stored)); err != nil || cost < 4 || cost > 15 {
					t.Errorf("bcrypt of cost %d, %v", cost, err)
				}
			} else if a.Time < 1 || a.Time > 16 || a.Memory < 8*uint32(a.Threads) || a.Memory > 128<<10 || a.Threads < 1 ||
				a.Salt < 8 || a.Salt > 64 || a.Key < 16 || a.Key > 64 {
				t.Errorf("argon2id with %+v", *a)
			}
			return bcrypt.ErrMismatchedHashAndPassword
		})
		before := h.Computed.Load()
		match, _, err := h.Verify(context.Background(), goodPassword, stored)
		if err != nil && (match || !errors.Is(err, password.ErrUnknownHash)) {
			t.Errorf("match %v, %v", match, err)
		}
		if computed := h.Computed.Load() - before; (computed == 1) != (err == nil) {
			t.Errorf("%d hashes and %v", computed, err)
		}
	})
}

// The library decodes a stored hash again. If it decoded a hash in a different way from
// parsePHC, the hash could exceed the bounds.
func FuzzLibraryReadsPHCLikeTheParser(f *testing.F) {
	f.Add(phc("m=19456,t=2,p=1", salt16, key32))
	f.Add(phc("m=131072,t=16,p=255", salt16, key32))
	f.Add(phc("m=8,t=1,p=1", "c2FsdHNhbHQ", "a2V5a2V5a2V5a2V5a2V5aw"))
	f.Add(phc("m=19456,t=2,p=1,x=1", salt16, key32))
	f.Add(strings.Replace(phc("m=19456,t=2,p=1", salt16, key32), "v=19", "v=19x", 1))
	f.Add(phc("m=19456,t=2,p=1", salt16, key32[:8]+"\n"+key32[8:]))
	f.Fuzz(func(t *testing.T, text string) {
		parsed, ok := password.ParsePHC(text)
		if !ok {
			return
		}
		params, salt, key, err := argon2id.DecodeHash(text)
		if err != nil {
			t.Fatalf("the library refuses %q: %v", text, err)
		}
		got := password.Parsed{Memory: params.Memory, Time: params.Iterations, Threads: params.Parallelism, Salt: salt, Key: key}
		if !reflect.DeepEqual(got, parsed) || int(params.SaltLength) != len(salt) || int(params.KeyLength) != len(key) {
			t.Errorf("%q: the library reads %+v, the parser %+v", text, got, parsed)
		}
	})
}

func BenchmarkPassword(b *testing.B) {
	h := password.New(1, time.Minute)
	stored, err := h.Hash(b.Context(), goodPassword)
	if err != nil {
		b.Fatal(err)
	}
	b.Run("argon2id alone", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			argon2.IDKey([]byte(goodPassword), make([]byte, 16), 2, 19456, 1, 32)
		}
	})
	b.Run("hash", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := h.Hash(b.Context(), goodPassword); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("verify", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if match, _, err := h.Verify(b.Context(), goodPassword, stored); !match || err != nil {
				b.Fatal(match, err)
			}
		}
	})
}
