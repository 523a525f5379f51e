package password_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/keyfold/keyfold/internal/password"
)

func TestCommonPasswordsAreFound(t *testing.T) {
	t.Parallel()
	for what, passwords := range map[string][]string{
		"listed, 8 to 11 characters": {"password", "12345678", "iloveyou", "sunshine", "princess", "football", "trustno1", "1qaz2wsx", "p@ssw0rd", "changeme"},
		"listed, 15 and more":        {"passwordstandard", "1qaz2wsx3edc4rfv", "123456789987654321", "q1w2e3r4t5y6u7i8", "qazwsxedcrfvtgb", "momsanaladventure"},
		"a well-known phrase":        {"correcthorsebatterystaple", "maytheforcebewithyou", "thequickbrownfox", "tobeornottobethatisthequestion"},
		"in another case or width":   {"PassWord", "ＰＡＳＳＷＯＲＤ", "CorrectHorseBatteryStaple"},
		"with words apart":           {"correct horse battery staple", "may-the-force-be-with-you", "p a s s w o r d", "To be, or not to be..."},
		"one character":              {"aaaaaaaaaaaaaaa", "!!!!!!!!!!!!!!!!", "ééééééééééééééé", "                "},
		"a run":                      {"abcdefghijklmnopq", "98765432109876543", "qwertyuiopasdfghjkl", "zxcvbnm,./';lkjh", "/;p0.lo9,ki8mju7", "?:p)>lo(<ki*MJU&", "!@#$%^&*()_+", "111222333444555", "абвгдежзийклмнопр"},
		"over and over":              {"passwordpassword", "dragondragondra", "letmeinletmeinletmein", "x7$x7$x7$x7$x7$x", "9kd!9kd!9kd!9kd!", "iloveyou iloveyou"},
		"decorated":                  {"password1", "Password2024!!!!", "!!monkey!!", "1234password", "password123456789", "letmein!@#$%^&*()", "1234567890admin0987654321", "SummerSummer2024!", "Password1Password1"},
	} {
		t.Run(what, func(t *testing.T) {
			for _, typed := range passwords {
				if !password.IsCommon(typed) {
					t.Errorf("%s: %q is not found", what, typed)
				}
			}
		})
	}
}

func TestOtherPasswordsAreNotCommon(t *testing.T) {
	t.Parallel()
	for what, passwords := range map[string][]string{
		"nothing":                             {"", "a", "zq"},
		"not for a policy":                    {"\xffpassword", strings.Repeat("password", 100)},
		"random":                              {"vGk2#pQ9", "8305172649183046", "6f1ed002ab5595859014ebf0951522d9", "Xq$7vL!m2@Rz^9w&Kd"},
		"words of a dice":                     {"provolone satisfy swan teapot", "unsterile-clique-freight-lamp", "fridgeheadwearcruelness"},
		"a common word among others":          {"my monkey eats blue carpets", "monkey teapot 42"},
		"a common word and much to guess":     {"monkey 8305172649", "83051monkey72649"},
		"a pattern that is not over and over": {"teapot lamp teapot swan"},
		"other scripts":                       {"мой дядя самых честных правил", "吾輩は猫である名前はまだ無い"},
	} {
		t.Run(what, func(t *testing.T) {
			for _, typed := range passwords {
				if password.IsCommon(typed) {
					t.Errorf("%s: %q is common", what, typed)
				}
			}
		})
	}
}

func TestBlocklistIsWellFormed(t *testing.T) {
	t.Parallel()
	list := password.Blocklist()
	at := 1 << 16
	for bucket := range 1 << 16 {
		end := at + 2*int(list[bucket])
		if end > len(list) {
			t.Fatalf("the bucket %#04x ends at %d, the list at %d", bucket, end, len(list))
		}
		for before := ""; at < end; at += 2 {
			if low := list[at : at+2]; low <= before {
				t.Fatalf("the bucket %#04x is not in ascending order", bucket)
			} else {
				before = low
			}
		}
	}
	if at != len(list) || at < 1<<16+2*280_000 {
		t.Errorf("the list has %d bytes, its buckets end at %d", len(list), at)
	}
}

// The blocklist has one false positive in 15 000 words, so 20 000 words have one or two.
func TestBlocklistHasFewFalsePositives(t *testing.T) {
	t.Parallel()
	taken := 0
	for i := range 20_000 {
		if password.IsListed(fmt.Sprintf("of nobody: %d", i)) {
			taken++
		}
	}
	if taken > 8 {
		t.Errorf("%d of 20 000 words are false positives, want at most 8", taken)
	}
}
