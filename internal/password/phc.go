package password

import (
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"
)

// The parameters of new hashes. The OWASP Password Storage Cheat Sheet recommends
// them for argon2id.
const (
	argonMemory  = 19456 // KiB
	argonTime    = 2
	argonThreads = 1
	argonSalt    = 16 // bytes; RFC 9106 section 3.1
	argonKey     = 32 // bytes
	argonVersion = 19 // 0x13; RFC 9106 section 3.1
)

// The bounds of a stored hash. Another program, or an attacker who can only write
// to the database, may have stored a hash with extreme parameters. The upper bounds
// limit the memory and the time that such a hash can cost. The lower bounds prevent
// panics in the library.
const (
	maxArgonMemory = 128 << 10 // KiB
	maxArgonTime   = 16
	minArgonSalt   = 8 // bytes; RFC 9106 section 3.1
	maxArgonSalt   = 64
	minArgonKey    = 16
	maxArgonKey    = 64
	maxPHC         = 256 // bytes; the longest hash within the bounds has 208
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

// isWeak reports whether the hash is weaker than a new one. More memory makes up
// for fewer passes, as in the alternatives that OWASP lists. More passes do not make
// up for less memory, because memory is what limits an attacker's hardware.
func (p phc) isWeak() bool {
	return p.memory < argonMemory || p.memory*p.time < argonMemory*argonTime ||
		len(p.salt) < argonSalt || len(p.key) < argonKey
}

// parsePHC parses a PHC string. It accepts only the format that String writes, and
// only parameters within the bounds above. The decoder of the library also accepts
// any other parameters, text after the version, and line breaks in the base64.
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
	// The comparison with String refuses a different algorithm or version, leading
	// zeros, and the line breaks and trailing bits that the base64 decoder ignores.
	if badSalt != nil || badKey != nil || !p.isBounded() || p.String() != text {
		return phc{}, false
	}
	return p, true
}

// isBounded reports whether the parameters are within the bounds. Each thread needs
// at least eight blocks of 1 KiB (RFC 9106, section 3.1).
func (p phc) isBounded() bool {
	return p.threads >= 1 && p.time >= 1 && p.time <= maxArgonTime &&
		p.memory >= 8*uint32(p.threads) && p.memory <= maxArgonMemory &&
		len(p.salt) >= minArgonSalt && len(p.salt) <= maxArgonSalt &&
		len(p.key) >= minArgonKey && len(p.key) <= maxArgonKey
}
