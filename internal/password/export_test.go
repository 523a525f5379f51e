package password

// IsListed reports whether a word is in the blocklist.
var IsListed = isListed

// Blocklist is the file that isListed searches.
func Blocklist() string { return blocklist }

// Parsed is a PHC string as the parser reads it.
type Parsed struct {
	Memory, Time uint32
	Threads      uint8
	Salt, Key    []byte
}

// ParsePHC reads a PHC string.
func ParsePHC(text string) (Parsed, bool) {
	p, ok := parsePHC(text)
	return Parsed{p.memory, p.time, p.threads, p.salt, p.key}, ok
}
