package fromenv

import (
	"errors"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/httpadapter"
	"github.com/keyfold/keyfold/internal/period"
)

// Each of these makes the reader of a value: it stores the value in the Config
// or returns what is wanted instead.

func asPeriod(field func(*Config) *time.Duration) func(*Config, string) string {
	return func(c *Config, text string) string {
		d, err := period.Parse(text)
		if err != nil || d == 0 { // zero is the default to Options, which is not what was meant
			return "wants " + period.Form
		}
		*field(c) = d
		return ""
	}
}

func asPeriodOrNever(field func(*Config) *time.Duration) func(*Config, string) string {
	read := asPeriod(field)
	return func(c *Config, text string) string {
		if text == "never" {
			*field(c) = keyfold.Never
			return ""
		}
		if reason := read(c, text); reason != "" {
			return reason + `, or "never"`
		}
		return ""
	}
}

func asDays(field func(*Config) *time.Duration) func(*Config, string) string {
	return func(c *Config, text string) string {
		days, err := strconv.ParseUint(text, 10, 16)
		if err != nil || days == 0 || days > 36500 {
			return "wants a whole number of days: 1 to 36500"
		}
		*field(c) = time.Duration(days) * 24 * time.Hour
		return ""
	}
}

func asNumber(field func(*Config) *int) func(*Config, string) string {
	return func(c *Config, text string) string {
		n, err := strconv.ParseUint(text, 10, 31)
		if err != nil || n == 0 {
			return "wants a whole number above zero"
		}
		*field(c) = int(n)
		return ""
	}
}

func asBytes(field func(*Config) *int) func(*Config, string) string {
	return func(c *Config, text string) string {
		unit := 1
		for i, suffix := range []string{"KiB", "MiB", "GiB"} {
			if digits, found := strings.CutSuffix(text, suffix); found {
				text, unit = digits, 1<<(10*(i+1))
			}
		}
		n, err := strconv.ParseUint(text, 10, strconv.IntSize-1)
		if err != nil || n == 0 || n > uint64(1<<(strconv.IntSize-1)-1)/uint64(unit) {
			return "wants a number of bytes above zero: 67108864, 64MiB"
		}
		*field(c) = int(n) * unit
		return ""
	}
}

func parseBool(text string) (on, ok bool) {
	switch strings.ToLower(text) {
	case "true", "1", "yes", "on":
		return true, true
	case "false", "0", "no", "off":
		return false, true
	}
	return false, false
}

func asBool(field func(*Config) *bool) func(*Config, string) string {
	return func(c *Config, text string) string {
		on, ok := parseBool(text)
		if !ok {
			return "wants true or false"
		}
		*field(c) = on
		return ""
	}
}

func asText(field func(*Config) *string) func(*Config, string) string {
	return func(c *Config, text string) string {
		*field(c) = text
		return ""
	}
}

func readStaleGrace(c *Config, text string) string {
	d, err := period.Parse(text)
	if err != nil {
		return "wants " + period.Form + `, or "0s"`
	}
	c.options.StaleGrace = d
	return ""
}

// words splits a list at commas, blanks and line breaks.
func words(text string) []string {
	return strings.FieldsFunc(text, func(r rune) bool { return strings.ContainsRune(", \t\r\n", r) })
}

func readScopes(c *Config, text string) string {
	c.options.Scopes = words(text)
	if len(c.options.Scopes) == 0 {
		return "wants scopes: reports:read, bills:write"
	}
	return ""
}

func readUsage(c *Config, text string) string {
	switch text {
	case "async":
		c.options.Usage = keyfold.UsageAsync
	case "sync":
		c.options.Usage = keyfold.UsageSync
	default:
		return "wants async or sync"
	}
	return ""
}

func readLogFormat(c *Config, text string) string {
	if text != "text" && text != "json" {
		return "wants text or json"
	}
	c.LogFormat = text
	return ""
}

func readAddr(c *Config, text string) string {
	_, port, err := net.SplitHostPort(text)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil {
		return "wants host:port: 127.0.0.1:8080, :8080"
	}
	c.Addr = text
	return ""
}

func readProxies(c *Config, text string) string {
	proxies, err := httpadapter.ParseProxies(text)
	if refused, ok := errors.AsType[*keyfold.InvalidError](err); ok {
		return refused.Reason
	}
	if proxies.IsZero() {
		return "must be networks or unix; unset it to trust no proxy"
	}
	c.TrustedProxies = proxies
	return ""
}

func readPeppers(c *Config, text string) string {
	c.peppers = map[string]Secret{}
	for _, word := range words(text) {
		id, pepper, found := strings.Cut(word, ":")
		if _, twice := c.peppers[id]; !found || twice {
			return "wants id:secret, a comma between two, and each id once"
		}
		if reason := weakness(pepper, minSecret); reason != "" {
			return "has a pepper that " + reason + makeSecret
		}
		c.peppers[id] = NewSecret(pepper)
	}
	if len(c.peppers) == 0 {
		return "is set but blank; unset it for no peppers"
	}
	return ""
}
