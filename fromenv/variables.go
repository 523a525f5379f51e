package fromenv

import (
	"errors"
	"fmt"
	"regexp"
	"time"

	"github.com/keyfold/keyfold"
)

const (
	fileVariable     = "KEYFOLD_ENV_FILE"
	secretVariable   = "KEYFOLD_SECRET"
	previousVariable = "KEYFOLD_PREVIOUS_SECRET"
)

// Variable describes a variable that is read.
type Variable struct {
	Name    string   // KEYFOLD_KEY_TTL
	Default string   // as it would be written; "" for none
	Meaning string   // a line
	Secret  bool     // its value is never shown, and NAME_FILE may name a file that holds it
	Aliases []string // what the predecessor has for it
}

// variable is a Variable with how it is read.
type variable struct {
	Variable
	option string // the field of keyfold.Options, if it is one
	read   func(*Config, string) string
	alias  alias
}

// alias is what the predecessor has for a variable. Its values may be written in
// another way, and it may have several names.
type alias struct {
	names      []string
	read       func(*Config, string) string
	mayBeEmpty bool
}

// Variables returns what is read, in the order of docs/configuration.md.
func Variables() []Variable {
	all := variables()
	public := make([]Variable, len(all))
	for i := range all {
		public[i] = all[i].Variable
		if all[i].alias.names != nil {
			public[i].Aliases = all[i].alias.names
		}
	}
	return public
}

// names returns every name of ours, those of files and aliases included.
func names() []string {
	var all []string
	for _, v := range Variables() {
		all = append(append(all, v.Name), v.Aliases...)
		if v.Secret {
			all = append(all, v.Name+"_FILE")
		}
	}
	return all
}

func variables() []variable {
	return []variable{
		{Variable: Variable{
			Name: secretVariable, Secret: true, Meaning: "the admin secret, 32 to 512 characters",
			Aliases: []string{"FASTAPI_AUTH_SECRET", "FASTAPI_SIMPLE_SECURITY_SECRET"},
		}},
		{Variable: Variable{Name: previousVariable, Secret: true, Meaning: "accepted beside it while callers change over"}},
		{Variable: Variable{
			Name: databaseVariable, Secret: true, Default: "sqlite:" + defaultPath, Meaning: "where keys are kept",
			Aliases: []string{
				"DATABASE_MODE", "DEV_MODE", "FASTAPI_AUTH_DB_LOCATION", "FASTAPI_SIMPLE_SECURITY_DB_LOCATION", "URI",
				"POSTGRES_URI", "POSTGRES_SSL", "POSTGRES_HOST", "POSTGRES_PORT", "POSTGRES_USER", "POSTGRES_PASSWORD", "POSTGRES_DATABASE",
				"MYSQL_URI", "MYSQL_HOST", "MYSQL_PORT", "MYSQL_USER", "MYSQL_PASSWORD", "MYSQL_DATABASE", "MONGODB_URL",
			},
		}},
		{Variable: Variable{Name: fileVariable, Default: defaultFile, Meaning: "the file of variables; from the environment only"}},

		{
			Variable: Variable{Name: "KEYFOLD_ADDR", Default: "127.0.0.1:8080", Meaning: "address to listen on; port 0 picks one"},
			read:     readAddr,
		},
		{
			Variable: Variable{Name: "KEYFOLD_TRUSTED_PROXIES", Meaning: "networks of proxies whose X-Forwarded-For is trusted; unix for proxies on a Unix socket"},
			read:     readProxies,
		},
		{
			Variable: Variable{Name: "KEYFOLD_HIDE_DOCS", Default: "false", Meaning: "removes the page of the admin API and its description"},
			read:     asBool(func(c *Config) *bool { return &c.HideDocs }),
			alias:    alias{names: []string{"FASTAPI_AUTH_HIDE_DOCS", "FASTAPI_SIMPLE_SECURITY_HIDE_DOCS"}, read: readAliasedHideDocs, mayBeEmpty: true},
		},
		{
			Variable: Variable{Name: "KEYFOLD_LOG_FORMAT", Default: "text", Meaning: "text or json, on standard error"},
			read:     readLogFormat,
		},

		{
			Variable: Variable{Name: "KEYFOLD_PREFIX", Default: "kf", Meaning: "beginning of new tokens"},
			option:   "Prefix", read: asText(func(c *Config) *string { return &c.options.Prefix }),
		},
		{
			Variable: Variable{Name: "KEYFOLD_ENVIRONMENT", Meaning: "second part of new tokens: live, test"},
			option:   "Environment", read: asText(func(c *Config) *string { return &c.options.Environment }),
		},
		{
			Variable: Variable{Name: "KEYFOLD_KEY_TTL", Default: "15d", Meaning: "life of a key whose creator says nothing; never for no end"},
			option:   "KeyTTL", read: asPeriodOrNever(func(c *Config) *time.Duration { return &c.options.KeyTTL }),
			alias: alias{
				names: []string{"FASTAPI_AUTH_AUTOMATIC_EXPIRATION", "FAST_API_SIMPLE_SECURITY_AUTOMATIC_EXPIRATION"},
				read:  asDays(func(c *Config) *time.Duration { return &c.options.KeyTTL }),
			},
		},
		{
			Variable: Variable{Name: "KEYFOLD_MAX_OVERLAP", Default: "7d", Meaning: "longest life of a rotated key beside its successor"},
			option:   "MaxOverlap", read: asPeriod(func(c *Config) *time.Duration { return &c.options.MaxOverlap }),
		},
		{
			Variable: Variable{Name: "KEYFOLD_SCOPES", Meaning: "scopes that keys may be given; without it, any"},
			option:   "Scopes", read: readScopes,
		},
		{
			Variable: Variable{Name: "KEYFOLD_PEPPERS", Secret: true, Meaning: "peppers, as id:secret, a comma between two"},
			option:   "Peppers", read: readPeppers,
		},
		{
			Variable: Variable{Name: "KEYFOLD_CURRENT_PEPPER", Meaning: "id of the pepper for new keys"},
			option:   "CurrentPepper", read: asText(func(c *Config) *string { return &c.options.CurrentPepper }),
		},
		{
			Variable: Variable{Name: "KEYFOLD_REQUIRE_PEPPER", Default: "false", Meaning: "refuses keys that are hashed without a pepper"},
			option:   "RequirePepper", read: asBool(func(c *Config) *bool { return &c.options.RequirePepper }),
		},

		{
			Variable: Variable{Name: "KEYFOLD_PASSWORD_MIN_LENGTH", Default: "15", Meaning: "characters of the shortest password of a user: 8 to 256"},
			option:   "PasswordPolicy.MinLength", read: asNumber(func(c *Config) *int { return &c.PasswordPolicy.MinLength }),
		},
		{
			Variable: Variable{Name: "KEYFOLD_SINGLE_SCRIPT_USERNAMES", Default: "false", Meaning: "refuses new usernames that mix scripts, such as Latin and Cyrillic"},
			option:   "SingleScriptUsernames", read: asBool(func(c *Config) *bool { return &c.options.SingleScriptUsernames }),
		},
		{
			Variable: Variable{Name: "KEYFOLD_VERIFY_TIMEOUT", Default: "1s", Meaning: "longest that a verify may take"},
			option:   "VerifyTimeout", read: asPeriod(func(c *Config) *time.Duration { return &c.options.VerifyTimeout }),
		},
		{
			Variable: Variable{Name: "KEYFOLD_DISABLE_CACHE", Default: "false", Meaning: "makes every verify read the database"},
			option:   "DisableCache", read: asBool(func(c *Config) *bool { return &c.options.DisableCache }),
		},
		{
			Variable: Variable{Name: "KEYFOLD_CACHE_ENTRIES", Default: "100000", Meaning: "keys that are remembered at most"},
			option:   "CacheEntries", read: asNumber(func(c *Config) *int { return &c.options.CacheEntries }),
		},
		{
			Variable: Variable{Name: "KEYFOLD_CACHE_BYTES", Default: "64MiB", Meaning: "memory for them, about"},
			option:   "CacheBytes", read: asBytes(func(c *Config) *int { return &c.options.CacheBytes }),
		},
		{
			Variable: Variable{Name: "KEYFOLD_CACHE_MAX_AGE", Default: "1m", Meaning: "longest that a key is served from memory"},
			option:   "CacheMaxAge", read: asPeriod(func(c *Config) *time.Duration { return &c.options.CacheMaxAge }),
		},
		{
			Variable: Variable{Name: "KEYFOLD_POLL_INTERVAL", Default: "1s", Meaning: "how often changes of other processes are looked for"},
			option:   "PollInterval", read: asPeriod(func(c *Config) *time.Duration { return &c.options.PollInterval }),
		},
		{
			Variable: Variable{Name: "KEYFOLD_MAX_STALENESS", Default: "5s", Meaning: "how long memory is trusted while they cannot be read"},
			option:   "MaxStaleness", read: asPeriod(func(c *Config) *time.Duration { return &c.options.MaxStaleness }),
		},
		{
			Variable: Variable{Name: "KEYFOLD_STALE_GRACE", Default: "0s", Meaning: "how much longer while the database does not answer at all"},
			option:   "StaleGrace", read: readStaleGrace,
		},

		{
			Variable: Variable{Name: "KEYFOLD_USAGE", Default: "async", Meaning: "sync: a verify answers when its use is stored"},
			option:   "Usage", read: readUsage,
		},
		{
			Variable: Variable{Name: "KEYFOLD_FLUSH_INTERVAL", Default: "1s", Meaning: "how long uses are gathered before they are written"},
			option:   "FlushInterval", read: asPeriod(func(c *Config) *time.Duration { return &c.options.FlushInterval }),
		},
		{
			Variable: Variable{Name: "KEYFOLD_DISABLE_EVENTS", Default: "false", Meaning: "keeps totals and counts by hour alone, no usage events"},
			option:   "DisableEvents", read: asBool(func(c *Config) *bool { return &c.options.DisableEvents }),
		},
		{
			Variable: Variable{Name: "KEYFOLD_MAX_PENDING_EVENTS", Default: "100000", Meaning: "usage events that wait to be written at most"},
			option:   "MaxPendingEvents", read: asNumber(func(c *Config) *int { return &c.options.MaxPendingEvents }),
		},
		{
			Variable: Variable{Name: "KEYFOLD_MAX_PENDING_BYTES", Default: "32MiB", Meaning: "memory for them, about"},
			option:   "MaxPendingBytes", read: asBytes(func(c *Config) *int { return &c.options.MaxPendingBytes }),
		},
		{
			Variable: Variable{Name: "KEYFOLD_EVENT_RETENTION", Default: "30d", Meaning: "how long usage events are kept; never deletes none"},
			option:   "EventRetention", read: asPeriodOrNever(func(c *Config) *time.Duration { return &c.options.EventRetention }),
		},
		{
			Variable: Variable{Name: "KEYFOLD_HOUR_RETENTION", Default: "400d", Meaning: "how long counts by hour are kept; never deletes none"},
			option:   "HourRetention", read: asPeriodOrNever(func(c *Config) *time.Duration { return &c.options.HourRetention }),
		},
		{
			Variable: Variable{Name: "KEYFOLD_RECORD_REQUEST_ID", Default: "false", Meaning: "keeps request ids with usage events"},
			option:   "RecordRequestID", read: asBool(func(c *Config) *bool { return &c.options.RecordRequestID }),
		},
		{
			Variable: Variable{Name: "KEYFOLD_RECORD_USER_AGENT", Default: "false", Meaning: "keeps user agents with usage events"},
			option:   "RecordUserAgent", read: asBool(func(c *Config) *bool { return &c.options.RecordUserAgent }),
		},
	}
}

// readAliasedHideDocs: for the predecessor the variable need only be there, but
// its README says False for no.
func readAliasedHideDocs(c *Config, text string) string {
	if text == "" {
		text = "true"
	}
	return asBool(func(c *Config) *bool { return &c.HideDocs })(c, text)
}

// readSecrets reads the admin secrets.
func (r *reader) readSecrets() {
	before := len(r.problems)
	v, set := r.lookupSecret(secretVariable)
	if len(r.problems) > before {
		return
	}
	shortest := minSecret
	if !set {
		shortest = minShortSecret
		var err error
		if v, set, err = r.lookupOne("FASTAPI_AUTH_SECRET", "FASTAPI_SIMPLE_SECURITY_SECRET"); err != nil {
			r.problems = append(r.problems, err)
		}
	}
	if set {
		r.config.Secret = r.secret(v, shortest)
		r.config.ShortSecret = r.config.Secret.IsSet() && len(v.text) < minSecret
	}
	if r.config.ShortSecret {
		r.warn("%s is shorter than %d characters, can be guessed, and is compared at most ten times a second for new addresses; set %s to a longer one", v.from, minSecret, secretVariable)
	}
	previous, hasPrevious := r.lookupSecret(previousVariable)
	if !hasPrevious {
		return
	}
	if !set {
		r.refuse(previous.from, "is set and %s is not", secretVariable)
	}
	r.config.PreviousSecret = r.secret(previous, minSecret)
	if r.config.PreviousSecret.IsSet() && r.config.PreviousSecret.Reveal() == r.config.Secret.Reveal() {
		r.refuse(previous.from, "is the same secret as %s; unset it, or set it to the secret before", v.from)
	}
}

func (r *reader) secret(v value, shortest int) Secret {
	if reason := weakness(v.text, shortest); reason != "" {
		r.refuse(v.from, "%s", reason+makeSecret)
		return Secret{}
	}
	return NewSecret(v.text)
}

// unused is a Store that New takes and nobody calls.
type unused struct{ keyfold.Store }

var optionName = regexp.MustCompile(`Options\.(\w+(?:\.\w+)?)(\[[^\]]*\])?`)

// checkOptions has New check what it takes, so that it is checked by the same
// rules, and gives the variable for the field.
func (r *reader) checkOptions() {
	_, err := keyfold.New(unused{}, r.config.Options()) // which runs nothing before its first use
	if err == nil {
		return
	}
	refused, ok := errors.AsType[*keyfold.InvalidError](err)
	if !ok {
		r.problems = append(r.problems, err)
		return
	}
	variableOf := func(field string) string {
		field = optionName.FindStringSubmatch(field)[1]
		for _, v := range variables() {
			if v.option == field {
				return v.Name
			}
		}
		return "Options." + field
	}
	name := refused.Field
	if optionName.MatchString(name) {
		name = variableOf(name)
	}
	if from, found := r.from[name]; found {
		name = from
	}
	r.refuse(name, "%s", optionName.ReplaceAllStringFunc(refused.Reason, variableOf))
}

func (r *reader) warn(format string, args ...any) {
	r.config.Warnings = append(r.config.Warnings, fmt.Sprintf(format, args...))
}
