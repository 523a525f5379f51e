package password

import (
	"strconv"

	"golang.org/x/crypto/bcrypt"
)

// maxBcryptCost takes about as long as the slowest permitted argon2id hash.
const maxBcryptCost = 15

// isBcrypt reports whether text is a bcrypt hash of a supported revision, with a limited
// cost and the correct length and alphabet. The revision "2x" is not supported, because it
// marks hashes of an implementation with a bug.
func isBcrypt(text string) bool {
	if len(text) != 60 || text[0] != '$' || text[3] != '$' || text[6] != '$' {
		return false
	}
	switch text[1:3] {
	case "2a", "2b", "2y":
	default:
		return false
	}
	cost, err := strconv.ParseUint(text[4:6], 10, 8)
	if err != nil || int(cost) < bcrypt.MinCost || cost > maxBcryptCost {
		return false
	}
	for _, c := range []byte(text[7:]) {
		if !isBcryptDigit(c) {
			return false
		}
	}
	return true
}

func isBcryptDigit(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' || c == '.' || c == '/'
}
