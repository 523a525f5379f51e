package fromenv

import (
	"log/slog"
	"slices"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/httpadapter"
)

// Config is the configuration from the variables. It can be printed and logged, because
// secrets in it are hidden.
type Config struct {
	// Database is where keys are stored. The default is SQLite in keyfold.db.
	Database Database

	// Secret is the admin secret, for admin.Options.Secret. It is empty if no variable
	// sets it; admin.Handler then returns an error.
	Secret Secret

	// PreviousSecret is accepted in addition to Secret, until all callers use the new one.
	PreviousSecret Secret

	// ShortSecret reports that Secret comes from a variable of the predecessor and has
	// fewer than 32 characters. The admin API accepts such a secret only with
	// admin.Options.AllowShortSecrets.
	ShortSecret bool

	// HideDocs hides the documentation page of the admin API and its OpenAPI document.
	HideDocs bool

	// Addr is the address to listen on. The default is 127.0.0.1:8080.
	Addr string

	// TrustedProxies are the proxies whose X-Forwarded-For header is trusted.
	TrustedProxies httpadapter.Proxies

	// LogFormat is "text", the default, or "json".
	LogFormat string

	// Warnings describe settings that work but should be changed. [Config.Open] logs them.
	Warnings []string

	// PasswordPolicy is the policy for the passwords of users. A variable sets MinLength.
	// The program can set the other fields before it opens the Service.
	PasswordPolicy keyfold.PasswordPolicy `json:"-"` // functions have no JSON

	// Logger receives the warnings and is the logger of the Service. ReadConfig leaves it
	// nil, which means slog.Default().
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

// FollowKeyRules sets options that no variable sets to the rules of the program that owns
// the database, see [keyfold.Service.PublishRules]. A variable takes precedence over the
// rules. FollowKeyRules returns the names of the variables that contradict them.
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

// Options returns the options of the Service, a new copy for each call. The copy has the
// peppers, which are hidden when it is printed.
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
