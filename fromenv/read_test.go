package fromenv_test

import (
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/fromenv"
)

const day = 24 * time.Hour

func TestDefaultsWithoutVariables(t *testing.T) {
	t.Parallel()
	config := mustRead(t)
	if got := config.Options(); !reflect.DeepEqual(got, &keyfold.Options{}) {
		t.Errorf("options %+v, want the zero ones", got)
	}
	if config.Database.String() != "sqlite:keyfold.db" || config.Database.Engine() != "sqlite" || config.Database.Source() != "keyfold.db" {
		t.Errorf("database %v, source %q", config.Database, config.Database.Source())
	}
	if config.Secret.IsSet() || config.PreviousSecret.IsSet() || config.ShortSecret || config.HideDocs || !config.TrustedProxies.IsZero() ||
		config.Addr != "127.0.0.1:8080" || config.LogFormat != "text" || config.Warnings != nil {
		t.Errorf("%+v", config)
	}
}

// accepted has a valid value for each variable and its meaning.
var accepted = []struct {
	name, value string
	with        []string // other variables that it needs
	get         func(*fromenv.Config) any
	want        any
}{
	{"KEYFOLD_SECRET", goodSecret, nil, func(c *fromenv.Config) any { return c.Secret.Reveal() }, goodSecret},
	{"KEYFOLD_PREVIOUS_SECRET", otherSecret, []string{"KEYFOLD_SECRET=" + goodSecret}, func(c *fromenv.Config) any { return c.PreviousSecret.Reveal() }, otherSecret},
	{"KEYFOLD_DATABASE_URL", "postgres://u:p@h/d", nil, func(c *fromenv.Config) any { return c.Database.Source() }, "postgres://u:p@h/d"},
	{"KEYFOLD_ENV_FILE", os.DevNull, nil, func(c *fromenv.Config) any { return c.Addr }, "127.0.0.1:8080"},
	{"KEYFOLD_ADDR", ":9090", nil, func(c *fromenv.Config) any { return c.Addr }, ":9090"},
	{
		"KEYFOLD_TRUSTED_PROXIES", "10.0.0.0/8,2001:db8::/32 unix", nil, func(c *fromenv.Config) any { return c.TrustedProxies.String() },
		"10.0.0.0/8, 2001:db8::/32, unix",
	},
	{"KEYFOLD_HIDE_DOCS", "true", nil, func(c *fromenv.Config) any { return c.HideDocs }, true},
	{"KEYFOLD_HIDE_DOCS", "Yes", nil, func(c *fromenv.Config) any { return c.HideDocs }, true},
	{"KEYFOLD_HIDE_DOCS", "off", nil, func(c *fromenv.Config) any { return c.HideDocs }, false},
	{"KEYFOLD_LOG_FORMAT", "json", nil, func(c *fromenv.Config) any { return c.LogFormat }, "json"},
	{"KEYFOLD_PREFIX", "acme_key", nil, func(c *fromenv.Config) any { return c.Options().Prefix }, "acme_key"},
	{"KEYFOLD_ENVIRONMENT", "live", nil, func(c *fromenv.Config) any { return c.Options().Environment }, "live"},
	{"KEYFOLD_KEY_TTL", "30d", nil, func(c *fromenv.Config) any { return c.Options().KeyTTL }, 30 * day},
	{"KEYFOLD_KEY_TTL", "never", nil, func(c *fromenv.Config) any { return c.Options().KeyTTL }, keyfold.Never},
	{"KEYFOLD_MAX_OVERLAP", "1d12h", nil, func(c *fromenv.Config) any { return c.Options().MaxOverlap }, 36 * time.Hour},
	{"KEYFOLD_SCOPES", "reports:read, bills:* all:x", nil, func(c *fromenv.Config) any { return c.Options().Scopes }, []string{"reports:read", "bills:*", "all:x"}},
	{
		"KEYFOLD_PEPPERS", "a:" + goodSecret + ",b-2:" + otherSecret, nil, func(c *fromenv.Config) any { return c.Options().Peppers },
		map[string][]byte{"a": []byte(goodSecret), "b-2": []byte(otherSecret)},
	},
	{"KEYFOLD_CURRENT_PEPPER", "a", []string{"KEYFOLD_PEPPERS=a:" + goodSecret}, func(c *fromenv.Config) any { return c.Options().CurrentPepper }, "a"},
	{"KEYFOLD_REQUIRE_PEPPER", "1", []string{"KEYFOLD_PEPPERS=a:" + goodSecret, "KEYFOLD_CURRENT_PEPPER=a"}, func(c *fromenv.Config) any { return c.Options().RequirePepper }, true},
	{"KEYFOLD_VERIFY_TIMEOUT", "250ms", nil, func(c *fromenv.Config) any { return c.Options().VerifyTimeout }, 250 * time.Millisecond},
	{"KEYFOLD_DISABLE_CACHE", "on", nil, func(c *fromenv.Config) any { return c.Options().DisableCache }, true},
	{"KEYFOLD_PASSWORD_MIN_LENGTH", "12", nil, func(c *fromenv.Config) any { return c.Options().PasswordPolicy.MinLength }, 12},
	{"KEYFOLD_SINGLE_SCRIPT_USERNAMES", "true", nil, func(c *fromenv.Config) any { return c.Options().SingleScriptUsernames }, true},
	{"KEYFOLD_CACHE_ENTRIES", "5000", nil, func(c *fromenv.Config) any { return c.Options().CacheEntries }, 5000},
	{"KEYFOLD_CACHE_BYTES", "4096", nil, func(c *fromenv.Config) any { return c.Options().CacheBytes }, 4096},
	{"KEYFOLD_CACHE_BYTES", "1GiB", nil, func(c *fromenv.Config) any { return c.Options().CacheBytes }, 1 << 30},
	{"KEYFOLD_CACHE_MAX_AGE", "30s", nil, func(c *fromenv.Config) any { return c.Options().CacheMaxAge }, 30 * time.Second},
	{"KEYFOLD_POLL_AFTER", "200ms", nil, func(c *fromenv.Config) any { return c.Options().PollAfter }, 200 * time.Millisecond},
	{"KEYFOLD_POLL_INTERVAL", "100ms", nil, func(c *fromenv.Config) any { return c.Options().PollInterval }, 100 * time.Millisecond},
	{"KEYFOLD_MAX_STALENESS", "10s", nil, func(c *fromenv.Config) any { return c.Options().MaxStaleness }, 10 * time.Second},
	{"KEYFOLD_STALE_GRACE", "5m", nil, func(c *fromenv.Config) any { return c.Options().StaleGrace }, 5 * time.Minute},
	{"KEYFOLD_STALE_GRACE", "0s", nil, func(c *fromenv.Config) any { return c.Options().StaleGrace }, time.Duration(0)},
	{"KEYFOLD_USAGE", "sync", nil, func(c *fromenv.Config) any { return c.Options().Usage }, keyfold.UsageSync},
	{"KEYFOLD_USAGE", "async", nil, func(c *fromenv.Config) any { return c.Options().Usage }, keyfold.UsageAsync},
	{"KEYFOLD_FLUSH_INTERVAL", "50ms", nil, func(c *fromenv.Config) any { return c.Options().FlushInterval }, 50 * time.Millisecond},
	{"KEYFOLD_DISABLE_EVENTS", "yes", nil, func(c *fromenv.Config) any { return c.Options().DisableEvents }, true},
	{"KEYFOLD_MAX_PENDING_EVENTS", "10", nil, func(c *fromenv.Config) any { return c.Options().MaxPendingEvents }, 10},
	{"KEYFOLD_MAX_PENDING_BYTES", "8KiB", nil, func(c *fromenv.Config) any { return c.Options().MaxPendingBytes }, 8 << 10},
	{"KEYFOLD_EVENT_RETENTION", "never", nil, func(c *fromenv.Config) any { return c.Options().EventRetention }, keyfold.Never},
	{"KEYFOLD_HOUR_RETENTION", "90d", nil, func(c *fromenv.Config) any { return c.Options().HourRetention }, 90 * day},
	{"KEYFOLD_RECORD_REQUEST_ID", "true", nil, func(c *fromenv.Config) any { return c.Options().RecordRequestID }, true},
	{"KEYFOLD_RECORD_USER_AGENT", "true", nil, func(c *fromenv.Config) any { return c.Options().RecordUserAgent }, true},
}

func TestEveryVariableIsRead(t *testing.T) {
	t.Parallel()
	tried := map[string]bool{}
	for _, row := range accepted {
		tried[row.name] = true
		config, err := fromenv.ReadConfig(&fromenv.Source{File: os.DevNull, Environ: append([]string{row.name + "=" + row.value}, row.with...)})
		if err != nil {
			t.Errorf("%s=%s: %v", row.name, row.value, err)
			continue
		}
		if got := row.get(config); !reflect.DeepEqual(got, row.want) {
			t.Errorf("%s=%s: got %v, want %v", row.name, row.value, got, row.want)
		}
	}
	for _, v := range fromenv.Variables() {
		if !tried[v.Name] {
			t.Errorf("%s has no row here", v.Name)
		}
	}
}

func TestWideProxiesAreAWarning(t *testing.T) {
	t.Parallel()
	config := mustRead(t, "KEYFOLD_TRUSTED_PROXIES=10.0.0.0/7 unix")
	if len(config.Warnings) != 1 || !strings.Contains(config.Warnings[0], "KEYFOLD_TRUSTED_PROXIES: ") || !strings.Contains(config.Warnings[0], "10.0.0.0/7") {
		t.Errorf("warnings %q, want one of 10.0.0.0/7", config.Warnings)
	}
}

// A new option needs a variable, or an entry in this list of options for programs.
func TestEveryOptionHasAVariable(t *testing.T) {
	t.Parallel()
	config := mustRead(t, "KEYFOLD_PREFIX=a", "KEYFOLD_ENVIRONMENT=a", "KEYFOLD_KEY_TTL=2d", "KEYFOLD_MAX_OVERLAP=2d", "KEYFOLD_SCOPES=a:b",
		"KEYFOLD_PEPPERS=a:"+goodSecret, "KEYFOLD_CURRENT_PEPPER=a", "KEYFOLD_REQUIRE_PEPPER=true", "KEYFOLD_VERIFY_TIMEOUT=2s", "KEYFOLD_DISABLE_CACHE=true",
		"KEYFOLD_PASSWORD_MIN_LENGTH=12", "KEYFOLD_SINGLE_SCRIPT_USERNAMES=true", "KEYFOLD_CACHE_ENTRIES=2", "KEYFOLD_CACHE_BYTES=2MiB", "KEYFOLD_CACHE_MAX_AGE=2s", "KEYFOLD_POLL_INTERVAL=2s", "KEYFOLD_POLL_AFTER=2s", "KEYFOLD_MAX_STALENESS=3s",
		"KEYFOLD_STALE_GRACE=2s", "KEYFOLD_USAGE=sync", "KEYFOLD_FLUSH_INTERVAL=2s", "KEYFOLD_DISABLE_EVENTS=true", "KEYFOLD_MAX_PENDING_EVENTS=2", "KEYFOLD_MAX_PENDING_BYTES=2",
		"KEYFOLD_EVENT_RETENTION=2d", "KEYFOLD_HOUR_RETENTION=2d", "KEYFOLD_RECORD_REQUEST_ID=true", "KEYFOLD_RECORD_USER_AGENT=true")
	options := reflect.ValueOf(*config.Options())
	for i := range options.NumField() {
		name := options.Type().Field(i).Name
		if options.Field(i).IsZero() && !slices.Contains([]string{"OnPoll", "Mailer", "Logger", "Now"}, name) {
			t.Errorf("no variable sets Options.%s", name)
		}
	}
}

// The predecessor replaced invalid values with defaults. Keyfold returns an error that
// names the variable and the valid values, and does not repeat the value.
func TestInvalidValuesAreErrors(t *testing.T) {
	t.Parallel()
	const junk = "hunter-two"
	for _, row := range []struct{ name, says, values string }{
		{"KEYFOLD_DATABASE_URL", "it must be sqlite:FILE", junk + " redis://" + junk},
		{"KEYFOLD_ADDR", "must be host:port", junk + " localhost :70000 :http ::1:80"},
		{"KEYFOLD_TRUSTED_PROXIES", "must be networks", junk + " 10.0.0.1/8 10.0.0.1 ::ffff:10.0.0.0/104 10.0.0.0/8,x 0.0.0.0/0 ::/1 10.0.0.0/8,128.0.0.0/1 UNIX unix: ,"},
		{"KEYFOLD_HIDE_DOCS", "must be true or false", junk + " 2 y t"},
		{"KEYFOLD_LOG_FORMAT", "must be text or json", junk + " JSON xml"},
		{"KEYFOLD_PREFIX", "must be 1 to 16 lower-case", junk + " KF kf__x a2345678901234567"},
		{"KEYFOLD_ENVIRONMENT", "must be 1 to 16", junk + " LIVE"},
		{"KEYFOLD_KEY_TTL", `must be a duration above zero, such as "15d" or "1d12h", or "never"`, junk + " 15 0d -1d Never 15days"},
		{"KEYFOLD_KEY_TTL", "must be between 1 ms and 100 years", "40000d 1ns"},
		{"KEYFOLD_MAX_OVERLAP", "must be a duration", junk + " 0s never"},
		{"KEYFOLD_SCOPES", "must be ", junk + "* re*ports"},
		{"KEYFOLD_SCOPES", "must be a list of scopes", ", ,,"},
		{"KEYFOLD_PEPPERS", "must be a list of id:secret", junk + " a:" + goodSecret + ",a:" + otherSecret},
		{"KEYFOLD_PEPPERS", "has a pepper that is shorter than 32", "a:" + junk},
		{"KEYFOLD_PEPPERS", "must have ids", "a.b:" + goodSecret},
		{"KEYFOLD_CURRENT_PEPPER", "must be the id of one of KEYFOLD_PEPPERS", junk},
		{"KEYFOLD_REQUIRE_PEPPER", "must be true or false", junk},
		{"KEYFOLD_REQUIRE_PEPPER", "must not be set without KEYFOLD_CURRENT_PEPPER", "true"},
		{"KEYFOLD_VERIFY_TIMEOUT", "must be a duration", junk},
		{"KEYFOLD_VERIFY_TIMEOUT", "must be between 1 ms and 1 minute", "2m"},
		{"KEYFOLD_DISABLE_CACHE", "must be true or false", junk},
		{"KEYFOLD_PASSWORD_MIN_LENGTH", "must be a whole number", junk + " 0 -1 1e3"},
		{"KEYFOLD_PASSWORD_MIN_LENGTH", "must be between 8 and 256 characters", "7 257"},
		{"KEYFOLD_SINGLE_SCRIPT_USERNAMES", "must be true or false", junk},
		{"KEYFOLD_CACHE_ENTRIES", "must be a whole number", junk + " 0 -1 1e3 1.5 99999999999"},
		{"KEYFOLD_CACHE_BYTES", "must be a number of bytes", junk + " 0 -1 64MB 9999999999999GiB MiB"},
		{"KEYFOLD_CACHE_MAX_AGE", "must be between 1 s and 1 hour", "2h"},
		{"KEYFOLD_POLL_INTERVAL", "must be between 10 ms and 1 minute", "1ms"},
		{"KEYFOLD_MAX_STALENESS", "must be between KEYFOLD_POLL_INTERVAL and 1 hour", "500ms"},
		{"KEYFOLD_STALE_GRACE", "must be a duration", junk},
		{"KEYFOLD_USAGE", "must be async or sync", junk + " Sync"},
		{"KEYFOLD_FLUSH_INTERVAL", "must be between 10 ms and 1 minute", "1h"},
		{"KEYFOLD_DISABLE_EVENTS", "must be true or false", junk},
		{"KEYFOLD_MAX_PENDING_EVENTS", "must be a whole number", junk},
		{"KEYFOLD_MAX_PENDING_BYTES", "must be a number of bytes", junk},
		{"KEYFOLD_EVENT_RETENTION", `or "never"`, junk},
		{"KEYFOLD_EVENT_RETENTION", "must be between 1 hour and", "1m"},
		{"KEYFOLD_HOUR_RETENTION", "must be between 1 hour and", "1m"},
		{"KEYFOLD_RECORD_REQUEST_ID", "must be true or false", junk},
		{"KEYFOLD_RECORD_USER_AGENT", "must be true or false", junk},
		{"FASTAPI_AUTH_AUTOMATIC_EXPIRATION", "must be a whole number of days between 1 and 36500", junk + " 0 -1 1.5 15d 36501"},
		{"FASTAPI_AUTH_HIDE_DOCS", "must be true or false", junk},
		{"DATABASE_MODE", "must be sqlite, postgres, mysql or mongodb", junk + " Postgres postgresql oracle"},
		{"DEV_MODE", "must be true (SQLite) or false (PostgreSQL)", junk + " production"},
		{"FASTAPI_AUTH_DB_LOCATION", "has parameters", "a.db?mode=" + junk},
	} {
		for value := range strings.SplitSeq(row.values, " ") {
			_, err := read(row.name + "=" + value)
			wantsError(t, err, row.name, row.says, junk)
		}
	}
}

// A mistake in a file or on a command line often leads to a blank value, a comment or
// quotes.
func TestUntidyValuesAreErrors(t *testing.T) {
	t.Parallel()
	for _, v := range fromenv.Variables() {
		if v.Name == "KEYFOLD_ENV_FILE" {
			continue
		}
		for value, says := range map[string]string{
			"":                        "is set but blank",
			" \t":                     "is set but blank",
			"# what stands here once": "is a comment, not a value",
			" # after a blank":        "is a comment, not a value",
			"'hunter-two'":            "has quotes around it",
			`"hunter-two"`:            "has quotes around it",
			" hunter-two":             "has white space around it",
			"hunter\x00two":           "",
		} {
			if v.Name == "KEYFOLD_PEPPERS" && value != "" {
				says = "" // refused for its form
			}
			_, err := read(v.Name + "=" + value)
			wantsError(t, err, v.Name, says, "hunter", "what stands here")
		}
	}
	if _, err := read("KEYFOLD_ENV_FILE="); err != nil {
		t.Errorf("KEYFOLD_ENV_FILE is read although Source.File is set: %v", err)
	}
	_, err := fromenv.ReadConfig(&fromenv.Source{Environ: []string{"KEYFOLD_ENV_FILE="}})
	wantsError(t, err, "KEYFOLD_ENV_FILE", "is set but blank")
}

func TestAllErrorsAreReportedAtOnce(t *testing.T) {
	t.Parallel()
	_, err := read("KEYFOLD_ADDR=x", "KEYFOLD_KEY_TTL=x", "KEYFOLD_SECRET=x", "DATABASE_MODE=x", "KEYFOLD_NO_SUCH_THING=x")
	for _, name := range []string{"KEYFOLD_ADDR", "KEYFOLD_KEY_TTL", "KEYFOLD_SECRET", "DATABASE_MODE", "KEYFOLD_NO_SUCH_THING"} {
		wantsError(t, err, name, "")
	}
}

func TestMisspeltVariableIsAnError(t *testing.T) {
	t.Parallel()
	for name, meant := range map[string]string{
		"KEYFOLD_SECERT":             "KEYFOLD_SECRET",
		"KEYFOLD_SECRET_FIEL":        "KEYFOLD_SECRET_FILE",
		"KEYFOLD_DATABASE_URI":       "KEYFOLD_DATABASE_URL",
		"KEYFOLD_KEYTTL":             "KEYFOLD_KEY_TTL",
		"KEYFOLD_TRUSTED_PROXY":      "KEYFOLD_TRUSTED_PROXIES",
		"KEYFOLD_ADDRESS":            "KEYFOLD_ADDR",
		"KEYFOLD_MAX_PENDING_EVENT":  "KEYFOLD_MAX_PENDING_EVENTS",
		"KEYFOLD_KEY_TTL_FILE":       "",
		"KEYFOLD_AN_ELEPHANT_AT_SEA": "",
		"KEYFOLD_PORT":               "", // Kubernetes sets it to tcp://…
		"KEYFOLD_HTTP_PORT":          "",
	} {
		t.Run(name, func(t *testing.T) {
			_, err := read(name + "=hunter-two")
			says := "is not a Keyfold variable"
			if meant != "" {
				says += "; did you mean " + meant + "?"
			}
			wantsError(t, err, name, says, "hunter")
			if meant == "" && strings.Contains(err.Error(), "did you mean") {
				t.Errorf("%s: %v", name, err)
			}
			_, err = readFile(t, name+"='hunter-two'\n")
			wantsError(t, err, name, says, "hunter")
		})
	}
}

// If a user writes "NAME value" instead of "NAME=value", and the value contains "=", as in
// base64, the parser reads a part of the value as the name.
func TestNameThatMayContainASecretIsNotRepeated(t *testing.T) {
	t.Parallel()
	for name, entry := range map[string]string{
		"a space": "KEYFOLD_SECRET aHVudGVyLXR3bw==", "a long name": "KEYFOLD_SECRET_" + strings.Repeat("HUNTER", 6) + "=1", "a typo": "KEYFOLD_SECRETaHVudGVyLXR3bw=x",
	} {
		t.Run(name, func(t *testing.T) {
			_, err := read(entry)
			wantsError(t, err, "KEYFOLD_…", "", "aHVud", "HUNTER")
			if _, err := readFile(t, entry+"\n"); err == nil || strings.Contains(err.Error(), "aHVud") || strings.Contains(err.Error(), "HUNTER") {
				t.Errorf("in a file: %v", err)
			}
		})
	}
}

func TestVariablesOfOtherProgramsAreIgnored(t *testing.T) {
	t.Parallel()
	mustRead(t,
		// Kubernetes, next to services named keyfold, keyfold-admin:
		"KEYFOLD_SERVICE_HOST=10.0.0.1", "KEYFOLD_SERVICE_PORT=8080", "KEYFOLD_SERVICE_PORT_HTTP=8080", "KEYFOLD_PORT=tcp://10.0.0.1:8080",
		"KEYFOLD_PORT_8080_TCP=tcp://10.0.0.1:8080", "KEYFOLD_PORT_8080_TCP_PROTO=tcp", "KEYFOLD_PORT_8080_TCP_PORT=8080", "KEYFOLD_PORT_8080_TCP_ADDR=10.0.0.1",
		"KEYFOLD_ADMIN_SERVICE_HOST=10.0.0.2", "KEYFOLD_ADMIN_PORT_53_UDP_ADDR=10.0.0.2",
		// The tests of Keyfold:
		"KEYFOLD_TEST_POSTGRES_DSN=x", "KEYFOLD_BENCH_FULL=1", "KEYFOLD_SERVICES_DIR=x",
		// Other programs:
		"POSTGRES_USER=$x", "POSTGRES_PORT=x", "URI=# x", "MYSQL_PASSWORD=", "NO_EQUALS_SIGN",
	)
}

func TestEnvironmentTakesPrecedenceOverTheFile(t *testing.T) {
	t.Parallel()
	const file = "KEYFOLD_ADDR='127.0.0.1:1111'\nKEYFOLD_PREFIX='filed'\nKEYFOLD_KEY_TTL=junk # which is not read\n"
	config, err := readFile(t, file, "KEYFOLD_ADDR=127.0.0.1:2222", "KEYFOLD_KEY_TTL=1d")
	if err != nil || config.Addr != "127.0.0.1:2222" || config.Options().Prefix != "filed" || config.Options().KeyTTL != day {
		t.Errorf("%+v, %v", config, err)
	}
}

func TestSettingTakesPrecedence(t *testing.T) {
	t.Parallel()
	config, err := fromenv.ReadConfig(&fromenv.Source{
		File:    write(t, ".env", "KEYFOLD_ADDR='junk'\n"),
		Environ: []string{"KEYFOLD_DATABASE_URL=junk", "KEYFOLD_DATABASE_URL_FILE=/no/such/file", "DATABASE_MODE=junk", "FASTAPI_AUTH_AUTOMATIC_EXPIRATION=junk"},
		Settings: []fromenv.Setting{
			{Variable: "KEYFOLD_DATABASE_URL", Value: "sqlite:a.db", From: "--db"},
			{Variable: "KEYFOLD_ADDR", Value: ":1"},
			{Variable: "KEYFOLD_KEY_TTL", Value: "1d"},
		},
	})
	if err != nil || config.Database.Source() != "a.db" || config.Addr != ":1" || config.Options().KeyTTL != day {
		t.Errorf("%+v, %v", config, err)
	}
	_, err = fromenv.ReadConfig(&fromenv.Source{File: os.DevNull, Environ: []string{}, Settings: []fromenv.Setting{
		{Variable: "KEYFOLD_DATABASE_URL", Value: "hunter-two", From: "--db"}, {Variable: "KEYFOLD_PREFIX", Value: "HUNTER", From: "--prefix"}, {Variable: "KEYFOLD_ADDR", Value: ""},
	}})
	wantsError(t, err, "--db", "is not a connection string", "hunter")
	wantsError(t, err, "KEYFOLD_ADDR", "is set but blank")
	_, err = fromenv.ReadConfig(&fromenv.Source{File: os.DevNull, Environ: []string{}, Settings: []fromenv.Setting{{Variable: "KEYFOLD_PREFIX", Value: "HUNTER", From: "--prefix"}}})
	wantsError(t, err, "--prefix", "must be 1 to 16 lower-case", "HUNTER")
}

func TestKeyfoldNameTakesPrecedenceOverItsAlias(t *testing.T) {
	t.Parallel()
	config := mustRead(t,
		"KEYFOLD_SECRET="+goodSecret, "FASTAPI_AUTH_SECRET=# set your secret key here", "FASTAPI_SIMPLE_SECURITY_SECRET=x",
		"KEYFOLD_KEY_TTL=2d", "FASTAPI_AUTH_AUTOMATIC_EXPIRATION=junk",
		"KEYFOLD_HIDE_DOCS=false", "FASTAPI_AUTH_HIDE_DOCS=true",
		"KEYFOLD_DATABASE_URL=sqlite:a.db", "DATABASE_MODE=junk", "DEV_MODE=junk", "FASTAPI_AUTH_DB_LOCATION=b.db", "POSTGRES_URI=junk")
	if config.Secret.Reveal() != goodSecret || config.ShortSecret || config.Options().KeyTTL != 2*day || config.HideDocs ||
		config.Database.Source() != "a.db" || config.Warnings != nil {
		t.Errorf("%+v", config)
	}
}

func TestAliasesAreRead(t *testing.T) {
	t.Parallel()
	config := mustRead(t, "FASTAPI_AUTH_SECRET="+goodSecret, "FASTAPI_AUTH_AUTOMATIC_EXPIRATION=30", "FASTAPI_AUTH_HIDE_DOCS=", "FASTAPI_AUTH_DB_LOCATION=data/old.db")
	if config.Secret.Reveal() != goodSecret || config.Options().KeyTTL != 30*day || !config.HideDocs || config.Database.Source() != "data/old.db" {
		t.Errorf("%+v", config)
	}
	for value, want := range map[string]bool{"True": true, "1": true, "False": false, "0": false} {
		t.Run(value, func(t *testing.T) {
			if got := mustRead(t, "FASTAPI_AUTH_HIDE_DOCS="+value).HideDocs; got != want {
				t.Errorf("FASTAPI_AUTH_HIDE_DOCS=%s hides: %v, want %v", value, got, want)
			}
		})
	}
	if got := mustRead(t, "FASTAPI_SIMPLE_SECURITY_SECRET="+goodSecret, "FASTAPI_AUTH_SECRET="+goodSecret).Secret.Reveal(); got != goodSecret {
		t.Error("two names with one value are refused")
	}
	_, err := read("FASTAPI_SIMPLE_SECURITY_SECRET="+goodSecret, "FASTAPI_AUTH_SECRET="+otherSecret)
	wantsError(t, err, "FASTAPI_AUTH_SECRET", "and FASTAPI_SIMPLE_SECURITY_SECRET are names for the same setting and differ", goodSecret, otherSecret)
}

func TestSecretsCanBeReadFromFiles(t *testing.T) {
	t.Parallel()
	for name, ending := range map[string]string{"no line break": "", "LF": "\n", "CRLF": "\r\n"} {
		t.Run(name, func(t *testing.T) {
			config := mustRead(t, "KEYFOLD_SECRET_FILE="+write(t, "a", goodSecret+ending), "KEYFOLD_PREVIOUS_SECRET_FILE="+write(t, "b", otherSecret+ending),
				"KEYFOLD_DATABASE_URL_FILE="+write(t, "c", "postgres://u:pa$WORD@h/d"+ending), "KEYFOLD_PEPPERS_FILE="+write(t, "d", "a:"+goodSecret+"\nb:"+otherSecret+ending))
			if config.Secret.Reveal() != goodSecret || config.PreviousSecret.Reveal() != otherSecret || config.Database.Source() != "postgres://u:pa$WORD@h/d" ||
				len(config.Options().Peppers) != 2 {
				t.Errorf("%s: %+v", name, config)
			}
		})
	}
	for _, v := range fromenv.Variables() {
		if !v.Secret {
			continue
		}
		file := v.Name + "_FILE"
		_, err := read(v.Name+"=x", file+"="+write(t, "x", "x"))
		wantsError(t, err, v.Name, "and "+file+" are both set; unset one")
		_, err = read(file + "=/hunter-two/no/such/file")
		wantsError(t, err, file, "names a file that cannot be read: no such file", "hunter")
		_, err = read(file + "=" + t.TempDir())
		wantsError(t, err, file, "cannot be read: is a directory")
		_, err = read(file + "=" + write(t, "x", strings.Repeat("x", 64<<10+1)))
		wantsError(t, err, file, "larger than 64 KiB")
		_, err = read(file + "=/dev/zero")
		wantsError(t, err, file, "cannot be read: it is not a regular file")
		_, err = read(file + "=" + write(t, "x", " \n"))
		wantsError(t, err, file, "names a file that is empty")
		_, err = read(file + "=")
		wantsError(t, err, file, "is set but blank; set it to the path of a file")
	}
	_, err := read("KEYFOLD_SECRET_FILE=" + write(t, "x", goodSecret+"\n\n"))
	wantsError(t, err, "KEYFOLD_SECRET_FILE", "printable ASCII", goodSecret)
}

// Mutation tried: godotenv.Load in place of UnmarshalBytes.
func TestReadConfigDoesNotChangeTheEnvironment(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := os.WriteFile(".env", []byte("KEYFOLD_ADDR=':1'\nSOMETHING_ELSE=1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	before := os.Environ()
	config, err := fromenv.ReadConfig(nil)
	if err != nil || config.Addr != ":1" {
		t.Fatalf("%+v, %v", config, err)
	}
	if after := os.Environ(); !slices.Equal(before, after) {
		t.Errorf("ReadConfig changed the environment to %v", after)
	}
}

func TestFileIsFoundByNameAndByVariable(t *testing.T) {
	t.Parallel()
	a, b := write(t, "a.env", "KEYFOLD_ADDR=':1'\n"), write(t, "b.env", "KEYFOLD_ADDR=':2'\n")
	for want, source := range map[string]fromenv.Source{
		":1": {File: a, Environ: []string{"KEYFOLD_ENV_FILE=" + b}},
		":2": {Environ: []string{"KEYFOLD_ENV_FILE=" + b}},
	} {
		t.Run(want, func(t *testing.T) {
			if config, err := fromenv.ReadConfig(&source); err != nil || config.Addr != want {
				t.Errorf("%+v: %v, %v", source, config, err)
			}
		})
	}
	missing := filepath.Join(t.TempDir(), "missing.env")
	_, err := fromenv.ReadConfig(&fromenv.Source{File: missing, Environ: []string{}})
	wantsError(t, err, missing, "cannot be read: no such file")
	_, err = fromenv.ReadConfig(&fromenv.Source{Environ: []string{"KEYFOLD_ENV_FILE=" + missing}})
	wantsError(t, err, "KEYFOLD_ENV_FILE="+missing, "cannot be read: no such file")
	malformed := write(t, "c.env", "hunter-two")
	_, err = fromenv.ReadConfig(&fromenv.Source{Environ: []string{"KEYFOLD_ENV_FILE=" + malformed}})
	wantsError(t, err, "KEYFOLD_ENV_FILE="+malformed, "in line 1", "hunter-two")
	_, err = readFile(t, "KEYFOLD_ENV_FILE='other.env'\n")
	wantsError(t, err, "KEYFOLD_ENV_FILE", "must be set in the environment")
}

func TestFileNamedDotEnvNeedNotExist(t *testing.T) {
	t.Chdir(t.TempDir())
	if _, err := fromenv.ReadConfig(&fromenv.Source{Environ: []string{}}); err != nil {
		t.Errorf("no .env: %v", err)
	}
	if err := os.Mkdir(".env", 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := fromenv.ReadConfig(&fromenv.Source{Environ: []string{}}); err != nil {
		t.Errorf("a directory named .env, as Python has: %v", err)
	}
	_, err := fromenv.ReadConfig(&fromenv.Source{File: ".env", Environ: []string{}})
	wantsError(t, err, ".env", "is a directory")
}
