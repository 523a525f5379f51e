package token

import (
	"crypto/hmac"
	"crypto/sha256"
	"fmt"
	"hash/crc32"
	"regexp"
	"strings"
	"testing"
)

// The format is published, so these are written out again on purpose: the tests
// must not follow the code.
const alphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

var pattern = regexp.MustCompile(`^[a-z][a-z0-9]*(?:_[a-z0-9]+)*_[0-9A-Za-z]{16}_[0-9A-Za-z]{32}_[0-9A-Za-z]{6}$`)

// sealed appends the right checksum to a token's text up to its last underscore.
func sealed(body string) string {
	sum := crc32.ChecksumIEEE([]byte(body))
	digits := make([]byte, 6)
	for i := 5; i >= 0; i-- {
		digits[i] = alphabet[sum%62]
		sum /= 62
	}
	return body + string(digits)
}

func FuzzParseAgreesWithThePublishedPattern(f *testing.F) {
	id, secret := "0123456789ABCDEF", "abcdefghijklmnopqrstuvwxyz012345"
	for _, body := range []string{
		"kf_" + id + "_" + secret + "_", "kf_live_" + id + "_" + secret + "_", "a_b_c_d_" + id + "_" + secret + "_",
		"KF_" + id + "_" + secret + "_", "kf__" + id + "_" + secret + "_", "_" + id + "_" + secret + "_",
		"9f_" + id + "_" + secret + "_", strings.Repeat("k", 250) + "_" + id + "_" + secret + "_",
		"kf_" + id + "_" + secret[:31] + "\x00_", "",
	} {
		f.Add(body)
	}
	f.Fuzz(func(t *testing.T, body string) {
		for _, text := range []string{body, sealed(body)} {
			rightSum := len(text) > 6 && sealed(text[:len(text)-6]) == text
			want := len(text) <= 256 && pattern.MatchString(text) && rightSum
			parts, got := Parse(text)
			if got != want {
				t.Fatalf("Parse(%q) accepted: %v, want %v", text, got, want)
			}
			if start := parts.Head + "_" + parts.ID + "_"; got && !strings.HasPrefix(text, start) {
				t.Fatalf("Parse(%q) = %+v", text, parts)
			}
		}
	})
}

func FuzzChecksumIsThatOfTheStandardLibrary(f *testing.F) {
	for n := range 20 {
		f.Add(strings.Repeat("\xa7", n))
	}
	f.Fuzz(func(t *testing.T, s string) {
		if got, want := checksum(s), crc32.ChecksumIEEE([]byte(s)); got != want {
			t.Fatalf("checksum(%q) = %#x, want %#x", s, got, want)
		}
	})
}

func TestNewTokensAreParsed(t *testing.T) {
	t.Parallel()
	for _, head := range []string{"kf", Head("kf", "live"), Head("kf", ""), "a_b_c"} {
		parts, text := New(head)
		if got, ok := Parse(text); !ok || got != parts || parts.Head != head || !IsID(parts.ID) {
			t.Errorf("Parse(New(%q)) = %+v, %v, want %+v", head, got, ok, parts)
		}
	}
}

func TestChecksumDigitsOfEveryMagnitude(t *testing.T) {
	t.Parallel()
	for _, v := range []uint32{0, 1, 61, 62, 1<<16 - 1, 1<<31 + 7, 1<<32 - 1} {
		text := encodeCRC(v)
		if got, ok := decodeCRC(string(text[:])); !ok || got != uint64(v) {
			t.Errorf("decodeCRC(encodeCRC(%d)) = %d, %v", v, got, ok)
		}
	}
	if got, ok := decodeCRC("zzzzzz"); !ok || got <= 1<<32-1 {
		t.Errorf("six digits z are %d, %v, want a number of more than 32 bits", got, ok)
	}
	if _, ok := decodeCRC("00-000"); ok {
		t.Error("a character that is not a digit was read as one")
	}
}

// The stored hashes are a format, too.
func TestHashesAreThoseOfTheFormat(t *testing.T) {
	t.Parallel()
	text := sealed("kf_0123456789ABCDEF_abcdefghijklmnopqrstuvwxyz012345_")
	parts, ok := Parse(text)
	if !ok {
		t.Fatalf("Parse(%q) refused a token", text)
	}
	input := []byte("123456789ABCDEF_abcdefghijklmnopqrstuvwxyz012345_" + text[len(text)-6:])
	if got, want := parts.Sum(), sha256.Sum256(input); got != want {
		t.Errorf("Sum = %x, want %x", got, want)
	}
	pepper := []byte("a pepper of thirty-two bytes 012")
	mac := hmac.New(sha256.New, pepper)
	mac.Write(input)
	if got, want := parts.PepperedSum(pepper), mac.Sum(nil); fmt.Sprintf("%x", got) != fmt.Sprintf("%x", want) {
		t.Errorf("PepperedSum = %x, want %x", got, want)
	}
	plain, peppered := parts.Sum(), parts.PepperedSum(pepper)
	if EqualSums(&plain, &peppered) || !EqualSums(&plain, &plain) {
		t.Error("EqualSums does not compare")
	}
}

func TestAlgorithmNamesAreStable(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]Algorithm{"kf2": Plain, "kf2h": Peppered, "": Unknown, "unknown": Unknown, "KF1": Unknown} {
		if got := ParseAlgorithm(name); got != want {
			t.Errorf("ParseAlgorithm(%q) = %v, want %v", name, got, want)
		} else if want != Unknown && got.String() != name {
			t.Errorf("%q is written as %q", name, got)
		}
	}
}

func TestParsingAndHashingAllocateNothing(t *testing.T) {
	_, text := New("kf_live")
	if n := testing.AllocsPerRun(100, func() {
		parts, ok := Parse(text)
		if sum := parts.Sum(); !ok || !EqualSums(&sum, &sum) {
			t.Fatal("a new token was refused")
		}
	}); n != 0 {
		t.Errorf("parsing and hashing allocate %v times", n)
	}
}
