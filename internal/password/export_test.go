package password

// IsListed reports whether a word is in the blocklist.
var IsListed = isListed

// Blocklist is the file that isListed searches.
func Blocklist() string { return blocklist }

// Parsed contains the parameters of a PHC string.
type Parsed struct {
	Memory, Time uint32
	Threads      uint8
	Salt, Key    []byte
}

// ParsePHC parses a PHC string.
func ParsePHC(text string) (Parsed, bool) {
	p, ok := parsePHC(text)
	return Parsed{p.memory, p.time, p.threads, p.salt, p.key}, ok
}
