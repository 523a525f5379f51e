package identifier_test

import (
	"net/mail"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/keyfold/keyfold/internal/identifier"
)

func TestEmailHasOneKeyHoweverItIsTyped(t *testing.T) {
	t.Parallel()
	local64, domain := strings.Repeat("L", 64), strings.Repeat("d", 63)
	domain189 := strings.Join([]string{domain, domain, strings.Repeat("e", 57), "org"}, ".")
	for _, row := range []struct{ typed, display, key string }{
		{"user@example.com", "user@example.com", "user@example.com"},
		{"Ann.Lee+Tag@Example.COM", "Ann.Lee+Tag@example.com", "ann.lee+tag@example.com"},
		{"-x@example.com", "-x@example.com", "-x@example.com"},
		{"!#$%&'*+/=?^_`{|}~@example.com", "!#$%&'*+/=?^_`{|}~@example.com", "!#$%&'*+/=?^_`{|}~@example.com"},
		{"user@bücher.example", "user@xn--bcher-kva.example", "user@xn--bcher-kva.example"},
		{"user@BÜCHER.example", "user@xn--bcher-kva.example", "user@xn--bcher-kva.example"},
		{"user@xn--bcher-kva.example", "user@xn--bcher-kva.example", "user@xn--bcher-kva.example"},
		{"user@ｅｘａｍｐｌｅ.com", "user@example.com", "user@example.com"},
		{"user@例え。テスト", "user@xn--r8jz45g.xn--zckzah", "user@xn--r8jz45g.xn--zckzah"},
		{"Zoe\u0308@example.com", "Zo\u00eb@example.com", "zo\u00eb@example.com"},
		{"Юзер@example.com", "Юзер@example.com", "юзер@example.com"},
		{"İ@example.com", "İ@example.com", "i\u0307@example.com"},
		{"user@1.example.com", "user@1.example.com", "user@1.example.com"},
		{local64 + "@" + domain189, local64 + "@" + domain189, strings.ToLower(local64) + "@" + domain189}, // 254 bytes
	} {
		t.Run(row.typed, func(t *testing.T) {
			display, key, ok := identifier.Email(row.typed)
			if !ok || display != row.display || key != row.key {
				t.Errorf("%q = %q, %q, %v; want %q, %q", row.typed, display, key, ok, row.display, row.key)
			}
		})
	}
}

func TestEmailIsRefused(t *testing.T) {
	t.Parallel()
	for what, addresses := range map[string][]string{
		"empty":                {"", "@", "user@", "@example.com"},
		"no address":           {"user", "user.example.com", "user@@example.com", "a@b@example.com"},
		"too long":             {strings.Repeat("l", 65) + "@example.com", "u@" + strings.Repeat("d", 64) + ".com", "u@" + strings.Repeat("d.", 130) + "com", strings.Repeat("é", 33) + "@example.com"},
		"too long in ASCII":    {"u@" + strings.Repeat("ü.", 80) + "com", "u@" + strings.Repeat("ü", 60) + ".example"},
		"too long when folded": {strings.Repeat("İ", 32) + "@example.com"},
		"more than an address": {"Ann <ann@example.com>", "<ann@example.com>", "ann@example.com (Ann)", "(Ann) ann@example.com", "ann@example.com, bob@example.com", "list: ann@example.com;"},
		"quoted":               {`"ann"@example.com`, `"ann lee"@example.com`, `"a@b"@example.com`, `""@example.com`},
		"dots":                 {".ann@example.com", "ann.@example.com", "a..b@example.com", "ann@.example.com", "ann@example.com.", "ann@example..com", "ann@example.com。", "ann@example.。com"},
		"spaces":               {" ann@example.com", "ann@example.com ", "a nn@example.com", "ann @example.com", "ann@ example.com", "ann\u00a0lee@example.com"},
		"control characters":   {"ann\x00@example.com", "ann\r\nBcc: bob@example.com", "ann@example.com\n", "ann\u0085@example.com"},
		"no UTF-8":             {"ann\xff@example.com", "ann@ex\xffample.com"},
		"one label":            {"user@localhost", "user@com"},
		"an IP address":        {"user@127.0.0.1", "user@[127.0.0.1]", "user@[IPv6:::1]", "user@1.2", "user@１２７.0.0.1"},
		"no host name":         {"user@ex_ample.com", "user@-example.com", "user@example-.com", "user@exa mple.com", "user@exam/ple.com", "user@xn--zz.example"},
		"invisible":            {"a\u200bnn@example.com", "ann\u202e@example.com", "a\u00adnn@example.com", "\ufeffann@example.com"},
		"symbols":              {"😀@example.com", "a\u2024b@example.com", "a“b@example.com", "a＠b@example.com"},
	} {
		t.Run(what, func(t *testing.T) {
			for _, address := range addresses {
				if display, key, ok := identifier.Email(address); ok || display != "" || key != "" {
					t.Errorf("%s: %q = %q, %q, %v; want it refused", what, address, display, key, ok)
				}
			}
		})
	}
}

func TestLoginTextMeansANameOrAnAddress(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		text    string
		isEmail bool
		key     string
	}{
		{"Alice", false, "alice"},
		{"Alice@Example.com", true, "alice@example.com"},
	} {
		t.Run(row.text, func(t *testing.T) {
			if isEmail, key, ok := identifier.Key(row.text); !ok || isEmail != row.isEmail || key != row.key {
				t.Errorf("%q = %v, %q, %v", row.text, isEmail, key, ok)
			}
		})
	}
	for _, nobody := range []string{"", " ", "@", "alice@", "../x", "-0123456789abcdef", "alice@localhost", "\xff", strings.Repeat("a", 1<<16)} {
		t.Run(nobody, func(t *testing.T) {
			if _, key, ok := identifier.Key(nobody); ok || key != "" {
				t.Errorf("%q means %q", nobody, key)
			}
		})
	}
}

func FuzzEmail(f *testing.F) {
	for _, address := range []string{"ann@example.com", "Ann.Lee+x@BÜCHER.example", `"a b"@example.com`, "user@[127.0.0.1]", "İ@example.com", "ǅ\u0345@example.com", "ΑΣ@例え。テスト", "-@a.b", "\xff@a.b"} {
		f.Add(address)
	}
	f.Fuzz(func(t *testing.T, address string) {
		display, key, ok := identifier.Email(address)
		if !ok {
			return
		}
		for _, form := range []string{display, key} {
			local, domain, found := strings.Cut(form, "@")
			if !found || len(form) > 254 || len(local) > 64 || strings.ContainsAny(domain, "@ABCDEFGHIJKLMNOPQRSTUVWXYZ") || utf8.RuneCountInString(domain) != len(domain) {
				t.Errorf("%q became %q", address, form)
			}
			if parsed, err := mail.ParseAddress(form); err != nil || parsed.Address != form {
				t.Errorf("%q became %q, which no mail program reads: %v", address, form, err)
			}
			if _, again, ok := identifier.Email(form); !ok || again != key {
				t.Errorf("%q has key %q, and %q then has %q, %v", address, key, form, again, ok)
			}
			if isEmail, again, ok := identifier.Key(form); !isEmail || again != key || !ok {
				t.Errorf("%q as a log-in = %v, %q, %v; want %q", form, isEmail, again, ok, key)
			}
		}
	})
}
