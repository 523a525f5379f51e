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

// Each of these functions returns a function that stores a value in the Config, or
// returns what the value must be.

func asPeriod(field func(*Config) *time.Duration) func(*Config, string) string {
	return func(c *Config, text string) string {
		d, err := period.Parse(text)
		if err != nil || d == 0 { // Options would use its default for zero, which is not what the value says
			return "must be " + period.Form
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
			return "must be a whole number of days between 1 and 36500"
		}
		*field(c) = time.Duration(days) * 24 * time.Hour
		return ""
	}
}

func asNumber(field func(*Config) *int) func(*Config, string) string {
	return func(c *Config, text string) string {
		n, err := strconv.ParseUint(text, 10, 31)
		if err != nil || n == 0 {
			return "must be a whole number above zero"
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
			return "must be a number of bytes above zero, such as 67108864 or 64MiB"
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
			return "must be true or false"
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
		return "must be " + period.Form + `, or "0s"`
	}
	c.options.StaleGrace = d
	return ""
}

// words splits a list at commas, spaces and line breaks.
func words(text string) []string {
	return strings.FieldsFunc(text, func(r rune) bool { return strings.ContainsRune(", \t\r\n", r) })
}

func readScopes(c *Config, text string) string {
	c.options.Scopes = words(text)
	if len(c.options.Scopes) == 0 {
		return "must be a list of scopes, such as reports:read, reports:write"
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
		return "must be async or sync"
	}
	return ""
}

func readLogFormat(c *Config, text string) string {
	if text != "text" && text != "json" {
		return "must be text or json"
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
		return "must be host:port, such as 127.0.0.1:8080 or :8080"
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
			return "must be a list of id:secret, separated by commas, with each id once"
		}
		if reason := weakness(pepper, minSecret); reason != "" {
			return "has a pepper that " + reason + createSecret
		}
		c.peppers[id] = NewSecret(pepper)
	}
	if len(c.peppers) == 0 {
		return "is set but blank; unset it to use no peppers"
	}
	return ""
}
