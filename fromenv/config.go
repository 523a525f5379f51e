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
	// has less than 32 characters: the admin API has to be told to take it, by
	// AllowShortSecrets.
	ShortSecret bool

	// HideDocs removes the page of the admin API and its description.
	HideDocs bool

	// Addr is the address to listen on. Default 127.0.0.1:8080.
	Addr string

	// TrustedProxies are the proxies whose X-Forwarded-For header is believed.
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
