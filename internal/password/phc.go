package password

import (
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"
)

// The parameters of new hashes: the first choice of the OWASP Password Storage
// Cheat Sheet for argon2id.
const (
	argonMemory  = 19456 // KiB
	argonTime    = 2
	argonThreads = 1
	argonSalt    = 16 // bytes; RFC 9106 section 3.1
	argonKey     = 32 // bytes
	argonVersion = 19 // 0x13; RFC 9106 section 3.1
)

// The bounds of a stored hash. A row may have been written by another program,
// or by an attacker who can write to the database and nothing else: it must not
// cost the process its memory or its time. Outside the lower bounds, the library
// panics.
const (
	maxArgonMemory = 128 << 10 // KiB
	maxArgonTime   = 16
	minArgonSalt   = 8 // bytes; RFC 9106 section 3.1
	maxArgonSalt   = 64
	minArgonKey    = 16
	maxArgonKey    = 64
	maxPHC         = 256 // bytes; the longest within the bounds has 208
)

// phc is an argon2id hash with its parameters.
type phc struct {
	memory, time uint32
	threads      uint8
	salt, key    []byte
}

// String returns the hash in the PHC string format.
func (p phc) String() string {
	encode := base64.RawStdEncoding.EncodeToString
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s",
		argonVersion, p.memory, p.time, p.threads, encode(p.salt), encode(p.key))
}

// isWeak reports whether the hash is weaker than a new one. More passes do not
// make up for less memory, which is the resource that an attacker's hardware
// lacks; more memory makes up for fewer passes, as in the alternatives that
// OWASP lists.
func (p phc) isWeak() bool {
	return p.memory < argonMemory || p.memory*p.time < argonMemory*argonTime ||
		len(p.salt) < argonSalt || len(p.key) < argonKey
}

// parsePHC reads a PHC string. It accepts exactly what String writes, within the
// bounds above. The library's decoder accepts more: any parameters, text after
// the version, and line breaks in the base64.
func parsePHC(text string) (phc, bool) {
	parts := strings.SplitN(text, "$", 7)
	if len(text) > maxPHC || len(parts) != 6 {
		return phc{}, false
	}
	var p phc
	for i, parameter := range strings.SplitN(parts[3], ",", 4) {
		name, digits, _ := strings.Cut(parameter, "=")
		number, err := strconv.ParseUint(digits, 10, 32)
		switch {
		case err != nil:
			return phc{}, false
		case i == 0 && name == "m":
			p.memory = uint32(number)
		case i == 1 && name == "t":
			p.time = uint32(number)
		case i == 2 && name == "p" && number <= 255:
			p.threads = uint8(number)
		default:
			return phc{}, false
		}
	}
	var badSalt, badKey error
	p.salt, badSalt = base64.RawStdEncoding.DecodeString(parts[4])
	p.key, badKey = base64.RawStdEncoding.DecodeString(parts[5])
	// The comparison covers the text before the parameters, leading zeros, and the
	// line breaks and spare bits that the decoder ignores.
	if badSalt != nil || badKey != nil || !p.isBounded() || p.String() != text {
		return phc{}, false
	}
	return p, true
}

// isBounded reports whether the hash may be computed. Each thread needs at least
// eight blocks of memory (RFC 9106, section 3.1).
func (p phc) isBounded() bool {
	return p.threads >= 1 && p.time >= 1 && p.time <= maxArgonTime &&
		p.memory >= 8*uint32(p.threads) && p.memory <= maxArgonMemory &&
		len(p.salt) >= minArgonSalt && len(p.salt) <= maxArgonSalt &&
		len(p.key) >= minArgonKey && len(p.key) <= maxArgonKey
}
