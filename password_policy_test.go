package keyfold_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/keyfold/keyfold"
)

// wantRefused checks that the policy's reason has each of the words, and never
// the password.
func wantRefused(t *testing.T, err error, password string, words ...string) {
	t.Helper()
	wantInvalid(t, fmt.Sprintf("password %q", password), err, "password")
	for _, word := range words {
		if err != nil && !strings.Contains(err.Error(), word) {
			t.Errorf("password %q: %v, want a reason with %q", password, err, word)
		}
	}
	if err != nil && password != "" && strings.Contains(err.Error(), password) {
		t.Errorf("the error shows the password: %v", err)
	}
}

func TestPasswordOfTheDefaultPolicyIsLongAndNotMore(t *testing.T) {
	t.Parallel()
	for _, password := range []string{
		"fünfzehn Zeiche",                  // 15 characters, 16 bytes
		"all lower case, no digit at all",  // no composition rules
		"8305172649183046",                 // digits alone
		"шестнадцать букв",                 //
		"  spaces around and in  between ", // kept, not trimmed
		"zażółć gęślą jaźń 🦆",
		strings.Repeat("wörter ohne ende, immer neue ", 8) + "und noch 24 Zeichen mehr", // 256
		strings.Repeat("u\u0308ber Tal und Berg, ", 13),                                 // 260, composed 247
	} {
		t.Run(password, func(t *testing.T) {
			if err := keyfold.CheckPassword(keyfold.PasswordPolicy{}, password); err != nil {
				t.Errorf("%q (%d characters): %v", password, utf8.RuneCountInString(password), err)
			}
		})
	}
}

func TestPasswordIsRefusedWithItsReasons(t *testing.T) {
	t.Parallel()
	own := []string{"John.Smith", "js-1980@example.com", ""}
	for _, row := range []struct {
		password string
		reasons  []string
	}{
		{"", []string{"at least 15 characters"}},
		{"fourteen chars", []string{"at least 15 characters"}},
		{"cafe\u0301 fourteen", []string{"at least 15 characters"}}, // 15, composed 14
		{strings.Repeat("never ending ", 20), []string{"15 to 256 characters"}},
		{strings.Repeat("x", 1<<20), []string{"15 to 256 characters"}},
		{"valid up to this\xff", []string{"UTF-8"}},
		{"a surrogate \xed\xa0\x80 half", []string{"UTF-8"}},
		{"a NUL is in the\x00middle", []string{"control characters"}},
		{"a line\nbreak is here", []string{"control characters"}},
		{"a C1 control \u0085 here", []string{"control characters"}},
		{"passwordpassword", []string{"common password"}},
		{"hunter2", []string{"at least 15 characters", "common password"}},
		{"i, john.smith, was here", []string{"your username"}},
		{"JOHN SMITH was here too", []string{"your username"}},
		{"only js-1980 knows it", []string{"your username"}},
		{"ＪＳ－１９８０ in wide letters", []string{"your username"}},
		{"js-1980@example.com!", []string{"your username"}},
		{"johnsmithjohnsmith", []string{"your username"}},
	} {
		wantRefused(t, keyfold.CheckPassword(keyfold.PasswordPolicy{}, row.password, own...), row.password, row.reasons...)
	}
}

func TestShortNamesAndDomainsMayBeInAPassword(t *testing.T) {
	t.Parallel()
	for _, own := range []string{"", "bob", "a.b", "bob@example.com", "@", "smith-jones"} {
		t.Run(own, func(t *testing.T) {
			if err := keyfold.CheckPassword(keyfold.PasswordPolicy{}, "bob and a.b example.com", own); err != nil {
				t.Errorf("own name %q: %v", own, err)
			}
		})
	}
}

func TestHostChangesThePolicy(t *testing.T) {
	t.Parallel()
	second := keyfold.PasswordPolicy{MinLength: 8, MaxLength: 64}
	if err := keyfold.CheckPassword(second, "eichkätz"); err != nil {
		t.Errorf("8 characters with a second factor: %v", err)
	}
	wantRefused(t, keyfold.CheckPassword(second, "eichhörn"[:8]), "eichhör", "at least 8 characters")
	wantRefused(t, keyfold.CheckPassword(second, strings.Repeat("eichkätzchen ", 5)), strings.Repeat("eichkätzchen ", 5), "8 to 64 characters")

	names := keyfold.PasswordPolicy{AllowOwnName: true}
	if err := keyfold.CheckPassword(names, "johnsmith was here", "johnsmith"); err != nil {
		t.Errorf("own name allowed: %v", err)
	}

	ours := keyfold.PasswordPolicy{Blocklist: func(password string) bool {
		return keyfold.IsCommonPassword(password) || strings.Contains(password, "ACME")
	}}
	wantRefused(t, keyfold.CheckPassword(ours, "ACME's best product"), "ACME's best product", "common password")
	wantRefused(t, keyfold.CheckPassword(ours, "passwordpassword"), "passwordpassword", "common password")
}

// What the predecessor asked for, and nothing else: longer than 8, a digit, an
// upper-case letter and a special character.
func TestPolicyCanBeThePredecessors(t *testing.T) {
	t.Parallel()
	predecessor := keyfold.PasswordPolicy{
		MinLength:    9,
		AllowOwnName: true,
		Blocklist:    func(string) bool { return false },
		Check: func(password string) error {
			for what, is := range map[string]func(rune) bool{
				"a digit":              unicode.IsDigit,
				"an upper-case letter": unicode.IsUpper,
				"a special character":  func(r rune) bool { return unicode.IsPunct(r) || unicode.IsSymbol(r) },
			} {
				if !strings.ContainsFunc(password, is) {
					return errors.New(what)
				}
			}
			return nil
		},
	}
	if err := keyfold.CheckPassword(predecessor, "Password1!", "Password1!"); err != nil {
		t.Error(err)
	}
	wantRefused(t, keyfold.CheckPassword(predecessor, "Passwd1!"), "Passwd1!", "at least 9 characters")
	wantRefused(t, keyfold.CheckPassword(predecessor, "Password!!"), "Password!!", "a digit")
	wantRefused(t, keyfold.CheckPassword(predecessor, "password1!"), "password1!", "an upper-case letter")
	wantRefused(t, keyfold.CheckPassword(predecessor, "Password12"), "Password12", "a special character")

	wrapped := keyfold.PasswordPolicy{Check: func(string) error {
		return fmt.Errorf("ours: %w", &keyfold.InvalidError{Field: "password", Reason: "must be a rhyme"})
	}}
	err := keyfold.CheckPassword(wrapped, "nothing here that rhymes")
	if want := "keyfold: password must be a rhyme"; err == nil || err.Error() != want {
		t.Errorf("err = %v, want %s", err, want)
	}
}

func TestPolicyOutOfBoundsIsNamed(t *testing.T) {
	t.Parallel()
	for field, rows := range map[string][]keyfold.PasswordPolicy{
		"policy.MinLength": {{MinLength: 7}, {MinLength: -1}, {MinLength: 257}, {MinLength: 65, MaxLength: 64}},
		"policy.MaxLength": {{MaxLength: 63}, {MaxLength: -1}, {MaxLength: 257}},
	} {
		for _, policy := range rows {
			wantInvalid(t, fmt.Sprintf("%+v", policy), keyfold.CheckPassword(policy, "a sentence of nobody else"), field)
		}
	}
}

func ExampleIsCommonPassword() {
	for _, password := range []string{"Password2024!!!!", "correct horse battery staple", "provolone satisfy swan teapot"} {
		fmt.Println(keyfold.IsCommonPassword(password))
	}
	// Output:
	// true
	// true
	// false
}

func FuzzPasswordPolicy(f *testing.F) {
	for _, password := range []string{"", "passwordpassword", "correct horse battery", "\xff", "e\u0301\u0301\u0301", "\ufdfa\ufdfa", "a\x00b", strings.Repeat("\u0345", 300)} {
		f.Add(password, "john.smith", "js@example.com")
	}
	f.Fuzz(func(t *testing.T, password, name, email string) {
		err := keyfold.CheckPassword(keyfold.PasswordPolicy{}, password, name, email)
		if again := keyfold.CheckPassword(keyfold.PasswordPolicy{}, password, name, email); fmt.Sprint(again) != fmt.Sprint(err) {
			t.Errorf("%q: %v, then %v", password, err, again)
		}
		if err != nil {
			wantInvalid(t, fmt.Sprintf("%q", password), err, "password")
			return
		}
		// NFC makes one code point of four at most, and three of one.
		if n := utf8.RuneCountInString(password); !utf8.ValidString(password) || n < 5 || n > 1024 || strings.ContainsFunc(password, unicode.IsControl) ||
			keyfold.IsCommonPassword(password) || utf8.RuneCountInString(name) >= 4 && strings.Contains(password, name) {
			t.Errorf("%q is allowed to %q, %q", password, name, email)
		}
	})
}
