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

// Variable describes a variable that [ReadConfig] reads.
type Variable struct {
	Name    string   // such as "KEYFOLD_KEY_TTL"
	Default string   // the default as it would be written; "" if there is none
	Meaning string   // a description of one line
	Secret  bool     // the value is never shown, and NAME_FILE may name a file that contains it
	Aliases []string // the predecessor's names for it
}

// variable is a Variable together with the functions that read it.
type variable struct {
	Variable
	option string // the field of keyfold.Options, if it is one
	read   func(*Config, string) string
	alias  alias
}

// alias describes the predecessor's names for a variable. Their values may have another
// form.
type alias struct {
	names      []string
	read       func(*Config, string) string
	mayBeEmpty bool
}

// Variables returns all variables that [ReadConfig] reads, in the order of
// docs/configuration.md.
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

// names returns all names, including aliases and the names with _FILE.
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
		{Variable: Variable{Name: previousVariable, Secret: true, Meaning: "a previous admin secret that is still accepted"}},
		{Variable: Variable{
			Name: databaseVariable, Secret: true, Default: "sqlite:" + defaultPath, Meaning: "the connection string of the database",
			Aliases: []string{
				"DATABASE_MODE", "DEV_MODE", "FASTAPI_AUTH_DB_LOCATION", "FASTAPI_SIMPLE_SECURITY_DB_LOCATION", "URI",
				"POSTGRES_URI", "POSTGRES_SSL", "POSTGRES_HOST", "POSTGRES_PORT", "POSTGRES_USER", "POSTGRES_PASSWORD", "POSTGRES_DATABASE",
				"MYSQL_URI", "MYSQL_HOST", "MYSQL_PORT", "MYSQL_USER", "MYSQL_PASSWORD", "MYSQL_DATABASE", "MONGODB_URL",
			},
		}},
		{Variable: Variable{Name: fileVariable, Default: defaultFile, Meaning: "the file of variables; set it in the environment only"}},

		{
			Variable: Variable{Name: "KEYFOLD_ADDR", Default: "127.0.0.1:8080", Meaning: "the address to listen on; port 0 picks a free port"},
			read:     readAddr,
		},
		{
			Variable: Variable{Name: "KEYFOLD_TRUSTED_PROXIES", Meaning: "the networks of proxies whose X-Forwarded-For header is trusted; unix for proxies on a Unix socket"},
			read:     readProxies,
		},
		{
			Variable: Variable{Name: "KEYFOLD_HIDE_DOCS", Default: "false", Meaning: "hides the documentation page of the admin API and its OpenAPI document"},
			read:     asBool(func(c *Config) *bool { return &c.HideDocs }),
			alias:    alias{names: []string{"FASTAPI_AUTH_HIDE_DOCS", "FASTAPI_SIMPLE_SECURITY_HIDE_DOCS"}, read: readAliasedHideDocs, mayBeEmpty: true},
		},
		{
			Variable: Variable{Name: "KEYFOLD_LOG_FORMAT", Default: "text", Meaning: "the format of the log on standard error: text or json"},
			read:     readLogFormat,
		},

		{
			Variable: Variable{Name: "KEYFOLD_PREFIX", Default: "kf", Meaning: "the beginning of new tokens"},
			option:   "Prefix", read: asText(func(c *Config) *string { return &c.options.Prefix }),
		},
		{
			Variable: Variable{Name: "KEYFOLD_ENVIRONMENT", Meaning: "the second part of new tokens, such as live or test"},
			option:   "Environment", read: asText(func(c *Config) *string { return &c.options.Environment }),
		},
		{
			Variable: Variable{Name: "KEYFOLD_KEY_TTL", Default: "15d", Meaning: "the lifetime of a key created without a TTL or an expiry time; never for keys that do not expire"},
			option:   "KeyTTL", read: asPeriodOrNever(func(c *Config) *time.Duration { return &c.options.KeyTTL }),
			alias: alias{
				names: []string{"FASTAPI_AUTH_AUTOMATIC_EXPIRATION", "FAST_API_SIMPLE_SECURITY_AUTOMATIC_EXPIRATION"},
				read:  asDays(func(c *Config) *time.Duration { return &c.options.KeyTTL }),
			},
		},
		{
			Variable: Variable{Name: "KEYFOLD_MAX_OVERLAP", Default: "7d", Meaning: "the longest time that a key keeps working after its rotation"},
			option:   "MaxOverlap", read: asPeriod(func(c *Config) *time.Duration { return &c.options.MaxOverlap }),
		},
		{
			Variable: Variable{Name: "KEYFOLD_SCOPES", Meaning: "the scopes that keys may have; any if it is not set"},
			option:   "Scopes", read: readScopes,
		},
		{
			Variable: Variable{Name: "KEYFOLD_PEPPERS", Secret: true, Meaning: "peppers, as id:secret, separated by commas"},
			option:   "Peppers", read: readPeppers,
		},
		{
			Variable: Variable{Name: "KEYFOLD_CURRENT_PEPPER", Meaning: "the ID of the pepper for new keys"},
			option:   "CurrentPepper", read: asText(func(c *Config) *string { return &c.options.CurrentPepper }),
		},
		{
			Variable: Variable{Name: "KEYFOLD_REQUIRE_PEPPER", Default: "false", Meaning: "refuses keys that are hashed without a pepper"},
			option:   "RequirePepper", read: asBool(func(c *Config) *bool { return &c.options.RequirePepper }),
		},

		{
			Variable: Variable{Name: "KEYFOLD_PASSWORD_MIN_LENGTH", Default: "15", Meaning: "the minimum length of a user's password, 8 to 256 characters"},
			option:   "PasswordPolicy.MinLength", read: asNumber(func(c *Config) *int { return &c.PasswordPolicy.MinLength }),
		},
		{
			Variable: Variable{Name: "KEYFOLD_SINGLE_SCRIPT_USERNAMES", Default: "false", Meaning: "refuses new usernames that mix scripts, such as Latin and Cyrillic"},
			option:   "SingleScriptUsernames", read: asBool(func(c *Config) *bool { return &c.options.SingleScriptUsernames }),
		},
		{
			Variable: Variable{Name: "KEYFOLD_VERIFY_TIMEOUT", Default: "1s", Meaning: "the longest time that a verify may take"},
			option:   "VerifyTimeout", read: asPeriod(func(c *Config) *time.Duration { return &c.options.VerifyTimeout }),
		},
		{
			Variable: Variable{Name: "KEYFOLD_DISABLE_CACHE", Default: "false", Meaning: "makes every verify read the database"},
			option:   "DisableCache", read: asBool(func(c *Config) *bool { return &c.options.DisableCache }),
		},
		{
			Variable: Variable{Name: "KEYFOLD_CACHE_ENTRIES", Default: "100000", Meaning: "the maximum number of cached keys"},
			option:   "CacheEntries", read: asNumber(func(c *Config) *int { return &c.options.CacheEntries }),
		},
		{
			Variable: Variable{Name: "KEYFOLD_CACHE_BYTES", Default: "64MiB", Meaning: "the approximate memory for cached keys"},
			option:   "CacheBytes", read: asBytes(func(c *Config) *int { return &c.options.CacheBytes }),
		},
		{
			Variable: Variable{Name: "KEYFOLD_CACHE_MAX_AGE", Default: "1m", Meaning: "the longest time that a cached key is used before it is read again"},
			option:   "CacheMaxAge", read: asPeriod(func(c *Config) *time.Duration { return &c.options.CacheMaxAge }),
		},
		{
			Variable: Variable{Name: "KEYFOLD_POLL_INTERVAL", Default: "1s", Meaning: "how often the change feed is read for changes by other processes while no key is verified"},
			option:   "PollInterval", read: asPeriod(func(c *Config) *time.Duration { return &c.options.PollInterval }),
		},
		{
			Variable: Variable{Name: "KEYFOLD_POLL_AFTER", Meaning: "the age of the last read of the change feed at which a verify causes the next one; by default 20ms on SQLite, 50ms on MariaDB, MySQL and MongoDB, and never on PostgreSQL, which reports changes by itself"},
			option:   "PollAfter", read: asPeriodOrNever(func(c *Config) *time.Duration { return &c.options.PollAfter }),
		},
		{
			Variable: Variable{Name: "KEYFOLD_MAX_STALENESS", Default: "5s", Meaning: "how long cached keys are used while the change feed cannot be read"},
			option:   "MaxStaleness", read: asPeriod(func(c *Config) *time.Duration { return &c.options.MaxStaleness }),
		},
		{
			Variable: Variable{Name: "KEYFOLD_STALE_GRACE", Default: "0s", Meaning: "how much longer cached keys are used while the database does not respond at all"},
			option:   "StaleGrace", read: readStaleGrace,
		},

		{
			Variable: Variable{Name: "KEYFOLD_USAGE", Default: "async", Meaning: "async; or sync: a verify returns when its use is stored"},
			option:   "Usage", read: readUsage,
		},
		{
			Variable: Variable{Name: "KEYFOLD_FLUSH_INTERVAL", Default: "1s", Meaning: "how long usage is collected before it is written"},
			option:   "FlushInterval", read: asPeriod(func(c *Config) *time.Duration { return &c.options.FlushInterval }),
		},
		{
			Variable: Variable{Name: "KEYFOLD_DISABLE_EVENTS", Default: "false", Meaning: "stores only totals and hourly counts, and no usage events"},
			option:   "DisableEvents", read: asBool(func(c *Config) *bool { return &c.options.DisableEvents }),
		},
		{
			Variable: Variable{Name: "KEYFOLD_MAX_PENDING_EVENTS", Default: "100000", Meaning: "the maximum number of usage events that wait to be written"},
			option:   "MaxPendingEvents", read: asNumber(func(c *Config) *int { return &c.options.MaxPendingEvents }),
		},
		{
			Variable: Variable{Name: "KEYFOLD_MAX_PENDING_BYTES", Default: "32MiB", Meaning: "the approximate memory for usage events that wait to be written"},
			option:   "MaxPendingBytes", read: asBytes(func(c *Config) *int { return &c.options.MaxPendingBytes }),
		},
		{
			Variable: Variable{Name: "KEYFOLD_EVENT_RETENTION", Default: "30d", Meaning: "how long usage events are kept; never to keep them all"},
			option:   "EventRetention", read: asPeriodOrNever(func(c *Config) *time.Duration { return &c.options.EventRetention }),
		},
		{
			Variable: Variable{Name: "KEYFOLD_HOUR_RETENTION", Default: "400d", Meaning: "how long hourly counts are kept; never to keep them all"},
			option:   "HourRetention", read: asPeriodOrNever(func(c *Config) *time.Duration { return &c.options.HourRetention }),
		},
		{
			Variable: Variable{Name: "KEYFOLD_RECORD_REQUEST_ID", Default: "false", Meaning: "stores request IDs with usage events"},
			option:   "RecordRequestID", read: asBool(func(c *Config) *bool { return &c.options.RecordRequestID }),
		},
		{
			Variable: Variable{Name: "KEYFOLD_RECORD_USER_AGENT", Default: "false", Meaning: "stores user agents with usage events"},
			option:   "RecordUserAgent", read: asBool(func(c *Config) *bool { return &c.options.RecordUserAgent }),
		},
	}
}

// readAliasedHideDocs reads an empty value as true: the predecessor only checked whether
// the variable is set, but its README documents the value False.
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
		r.warn("%s is shorter than %d characters, can be guessed, and is compared at most ten times a second for new addresses; set %s to a longer secret", v.from, minSecret, secretVariable)
	}
	previous, hasPrevious := r.lookupSecret(previousVariable)
	if !hasPrevious {
		return
	}
	if !set {
		r.refuse(previous.from, "is set, but %s is not", secretVariable)
	}
	r.config.PreviousSecret = r.secret(previous, minSecret)
	if r.config.PreviousSecret.IsSet() && r.config.PreviousSecret.Reveal() == r.config.Secret.Reveal() {
		r.refuse(previous.from, "must differ from %s; set it to the previous secret, or unset it", v.from)
	}
}

func (r *reader) secret(v value, shortest int) Secret {
	if reason := weakness(v.text, shortest); reason != "" {
		r.refuse(v.from, "%s", reason+createSecret)
		return Secret{}
	}
	return NewSecret(v.text)
}

// unused is a Store for New, which does not call it.
type unused struct{ keyfold.Store }

var optionName = regexp.MustCompile(`Options\.(\w+(?:\.\w+)?)(\[[^\]]*\])?`)

// checkOptions lets keyfold.New check the options, so that there is one set of rules, and
// names the variable in place of the field.
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
