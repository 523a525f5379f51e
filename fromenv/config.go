package fromenv

import (
	"log/slog"
	"slices"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/httpadapter"
)

// Config is what the variables say. It may be printed and logged: what is
// secret in it hides itself.
type Config struct {
	// Database is where keys are kept. Default SQLite in keyfold.db.
	Database Database

	// Secret is the admin secret, for the Secret of the admin API's options. None
	// if no variable sets it; admin.Handler then refuses to be made.
	Secret Secret

	// PreviousSecret is accepted beside Secret while callers change over.
	PreviousSecret Secret

	// ShortSecret says that Secret comes from a variable of the predecessor and
	// has fewer than 32 characters: the admin API has to be told to take it, by
	// AllowShortSecrets.
	ShortSecret bool

	// HideDocs removes the page of the admin API and its description.
	HideDocs bool

	// Addr is the address to listen on. Default 127.0.0.1:8080.
	Addr string

	// TrustedProxies are the proxies whose X-Forwarded-For header is trusted.
	TrustedProxies httpadapter.Proxies

	// LogFormat is "text", the default, or "json".
	LogFormat string

	// Warnings say what works and should be changed. [Config.Open] logs them.
	Warnings []string

	// PasswordPolicy is what passwords of users have to be. A variable sets its
	// MinLength; the rest is the program's to set before it opens the Service.
	PasswordPolicy keyfold.PasswordPolicy `json:"-"` // functions have no JSON

	// Logger is told of the warnings, and is the Service's own. Read leaves it
	// nil: slog.Default().
	Logger *slog.Logger

	options keyfold.Options // without Peppers
	peppers map[string]Secret
}

func newConfig() *Config {
	return &Config{
		Database:  Database{engine: sqliteEngine, name: "sqlite:" + defaultPath, source: NewSecret(defaultPath), from: databaseVariable},
		Addr:      "127.0.0.1:8080",
		LogFormat: "text",
	}
}

// FollowKeyRules sets the options that no variable sets as the rules of the program
// say that owns the database, see [keyfold.Service.PublishRules]. A variable
// wins over the rules: FollowKeyRules returns the names of those that say otherwise.
func (c *Config) FollowKeyRules(rules keyfold.Rules) (contradicting []string) {
	o := &c.options
	follow(&o.Prefix, rules.Prefix, "KEYFOLD_PREFIX", &contradicting)
	follow(&o.Environment, rules.Environment, "KEYFOLD_ENVIRONMENT", &contradicting)
	follow(&o.KeyTTL, rules.KeyTTL, "KEYFOLD_KEY_TTL", &contradicting)
	follow(&o.MaxOverlap, rules.MaxOverlap, "KEYFOLD_MAX_OVERLAP", &contradicting)
	follow(&c.PasswordPolicy.MinLength, rules.MinPasswordLength, "KEYFOLD_PASSWORD_MIN_LENGTH", &contradicting)
	if c.PasswordPolicy.MaxLength == 0 {
		c.PasswordPolicy.MaxLength = rules.MaxPasswordLength
	}
	if o.Scopes == nil {
		o.Scopes = slices.Clone(rules.Scopes)
	} else if !slices.Equal(o.Scopes, rules.Scopes) {
		contradicting = append(contradicting, "KEYFOLD_SCOPES")
	}
	return contradicting
}

// follow sets a field that no variable has set.
func follow[T comparable](field *T, rule T, variable string, contradicting *[]string) {
	var unset T
	switch *field {
	case unset:
		*field = rule
	case rule:
	default:
		*contradicting = append(*contradicting, variable)
	}
}

// Options returns the options of the Service, a copy for each call. It holds
// the peppers, which its own methods hide when it is printed.
func (c *Config) Options() *keyfold.Options {
	o := c.options
	o.Scopes = slices.Clone(o.Scopes)
	o.Logger, o.PasswordPolicy = c.Logger, c.PasswordPolicy
	if len(c.peppers) > 0 {
		o.Peppers = make(map[string][]byte, len(c.peppers))
		for id, pepper := range c.peppers {
			o.Peppers[id] = []byte(pepper.Reveal())
		}
	}
	return &o
}
