package fromenv_test

import (
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"

	"github.com/keyfold/keyfold/fromenv"
)

func TestParseDatabase(t *testing.T) {
	t.Parallel()
	for text, want := range map[string][3]string{
		"sqlite:keyfold.db":                            {"sqlite", "sqlite:keyfold.db", "keyfold.db"},
		"sqlite:/var/lib/k d.db":                       {"sqlite", "sqlite:/var/lib/k d.db", "/var/lib/k d.db"},
		`sqlite:C:\data\k d.db`:                        {"sqlite", `sqlite:C:\data\k d.db`, `C:\data\k d.db`},
		`sqlite:c:/data/keyfold.db`:                    {"sqlite", `sqlite:c:/data/keyfold.db`, `c:/data/keyfold.db`},
		`sqlite:\\server\share\keyfold.db`:             {"sqlite", `sqlite:\\server\share\keyfold.db`, `\\server\share\keyfold.db`},
		`sqlite:\\?\C:\data\keyfold.db`:                {"sqlite", `sqlite:\\?\C:\data\keyfold.db`, `\\?\C:\data\keyfold.db`},
		"postgres://u:p%40ss@h:5432/d?sslmode=require": {"postgres", "postgres://h:5432/d", "postgres://u:p%40ss@h:5432/d?sslmode=require"},
		"postgres://h1:1,h2,h3:65535/d":                {"postgres", "postgres://h1:1,h2,h3:65535/d", "postgres://h1:1,h2,h3:65535/d"},
		"postgresql://h/d":                             {"postgres", "postgres://h/d", "postgres://h/d"},
		"postgres:///d?host=/run/postgresql":           {"postgres", "postgres:///d", "postgres:///d?host=/run/postgresql"},
		"mysql://u:p@[::1]:3307/d":                     {"mysql", "mysql://[::1]:3307/d", "mysql://u:p@[::1]:3307/d"},
		"mariadb://u@h/d":                              {"mysql", "mysql://h/d", "mysql://u@h/d"},
		"mysql://h/d?tls=Skip-Verify":                  {"mysql", "mysql://h/d", "mysql://h/d?tls=Skip-Verify"},
		"mysql://h/d?tls=1&sslmode=x":                  {"mysql", "mysql://h/d", "mysql://h/d?tls=1&sslmode=x"},
		"mongodb://u:p@h1:1,h2:2/d":                    {"mongodb", "mongodb", "mongodb://u:p@h1:1,h2:2/d"},
		"mongodb+srv://u:p@h/d":                        {"mongodb", "mongodb", "mongodb+srv://u:p@h/d"},
	} {
		t.Run(text, func(t *testing.T) {
			got, err := fromenv.ParseDatabase("--db", text)
			if err != nil || [3]string{got.Engine(), got.String(), got.Source()} != want {
				t.Errorf("ParseDatabase(%q) = %v, %v; want %v", text, got, err, want)
			}
			for _, shown := range []string{fmt.Sprintf("%#v", got), got.LogValue().String(), slog.AnyValue(got).Resolve().String()} {
				if shown != want[1] {
					t.Errorf("%q is shown as %q", text, shown)
				}
			}
		})
	}
	for _, text := range []string{
		"", " ", "keyfold.db", "hunter-two", "sqlite:", "sqlite:///abs.db", "sqlite:a.db?mode=memory", "sqlite:a\x00b", "redis://h", ":memory:",
		"postgres:hunter-two", "postgres://u:hunter-two@h", "postgres://u:hunter-two@h/", "postgres://u:hunter-two%zz@h/d", "postgres://u:hunter-two/x@h/d",
		"postgres://u:hunter-two#@h/d", "postgres://u:1/hunter-two@h/d", "postgres://u:1/hunter-two@h", "mysql://u:hunter-two@/d", "mysql://h", "mysql:u:hunter-two@tcp(h:1)/d", "mysql://u:hunter-two@tcp(h:1)/d",
		"u:hunter-two@tcp(h:1)/d", "postgres://u:hunter-two@h:port/d", "postgres://u:hunter-two@h/d\n", "'postgres://u:hunter-two@h/d'", "postgres://u:1/hunter?two@h/d",
	} {
		_, err := fromenv.ParseDatabase("--db", text)
		wantsError(t, err, "--db", "", "hunter")
	}
}

// ParseDatabase finds errors that otherwise only the driver would find. Each error names
// a form that is accepted.
func TestDatabaseURLThatNoDriverAccepts(t *testing.T) {
	t.Parallel()
	for text, reason := range map[string]string{
		"sqlite::memory:":                     "it must be sqlite:FILE or sqlite:/DIRECTORY/FILE",
		`C:\hunter.db`:                        "looks like a Windows path without sqlite: before it; it must be sqlite:FILE",
		`sqlite:\\?\C:\hunter.db?mode=ro`:     "has parameters; it must be sqlite:FILE or sqlite:/DIRECTORY/FILE",
		"sqlite:file:hunter.db":               "it must be sqlite:FILE or sqlite:/DIRECTORY/FILE",
		"sqlite:hunter.db?mode=ro":            "has parameters; it must be sqlite:FILE or sqlite:/DIRECTORY/FILE",
		"postgres://u:hunter@h:0/d":           "must be a port between 1 and 65535",
		"postgres://u:hunter@h:65536/d":       "must be a port between 1 and 65535",
		"postgres://u:hunter@h1:70000,h2:5/d": "must be a port between 1 and 65535",
		"postgres://u:hunter@h1:x,h2:5432/d":  "must be a port between 1 and 65535",
		"postgres://u:hunter@[::1]:99999/d":   "must be a port between 1 and 65535",
		"mysql://u:hunter@h:99999/d":          "must be a port between 1 and 65535",
		"mysql://u:hunter@h:/d":               "must be a port between 1 and 65535",
		"mysql://u:p@h/d?tls=hunter":          "it must be true, false, skip-verify or preferred",
		"mysql://u:p@h/d?tls=true&tls=hunter": "it must be true, false, skip-verify or preferred",
		"postgres://u:p@h/d?sslmode=hunter":   "it must be disable, allow, prefer, require, verify-ca or verify-full",
		"postgres://u:p@h/d?a=b&sslmode=":     "it must be disable, allow, prefer, require, verify-ca or verify-full",
	} {
		_, err := read("KEYFOLD_DATABASE_URL=" + text)
		wantsError(t, err, "KEYFOLD_DATABASE_URL", reason, "hunter")
	}
	for _, path := range []string{":memory:", "file:keys.db"} {
		_, err := read("FASTAPI_AUTH_DB_LOCATION=" + path)
		wantsError(t, err, "FASTAPI_AUTH_DB_LOCATION", "it must be the path of a file")
	}
}

const parts = "POSTGRES_HOST=db.example.com POSTGRES_USER=app POSTGRES_DATABASE=keys"

func TestPredecessorsDatabaseVariables(t *testing.T) {
	t.Parallel()
	for environ, want := range map[string]string{
		"DATABASE_MODE=sqlite": "keyfold.db",
		"DATABASE_MODE=sqlite FASTAPI_AUTH_DB_LOCATION=/data/keys.db":                                       "/data/keys.db",
		"DATABASE_MODE=sqlite POSTGRES_URI=junk URI=junk MYSQL_HOST=h":                                      "keyfold.db",
		"FASTAPI_AUTH_DB_LOCATION=keys.db":                                                                  "keys.db",
		"DEV_MODE=True FASTAPI_AUTH_DB_LOCATION=keys.db":                                                    "keys.db",
		"DEV_MODE=False URI=postgres://u@h/d":                                                               "postgres://u@h/d",
		"DEV_MODE=junk DATABASE_MODE=sqlite":                                                                "keyfold.db",
		"DATABASE_MODE=postgres POSTGRES_URI=postgresql://u:p@h/d":                                          "postgres://u:p@h/d",
		"DATABASE_MODE=postgres URI=postgres://u:p@h/d FASTAPI_AUTH_DB_LOCATION=x":                          "postgres://u:p@h/d",
		"DATABASE_MODE=postgres URI=postgres://u@h/d POSTGRES_URI=postgres://u@h/d":                         "postgres://u@h/d",
		"DATABASE_MODE=postgres POSTGRES_URI=postgres://u@h/d POSTGRES_USER=other POSTGRES_PORT=junk":       "postgres://u@h/d",
		"DATABASE_MODE=postgres POSTGRES_URI=postgres://u@h/d POSTGRES_SSL=require":                         "postgres://u@h/d?sslmode=require",
		"DATABASE_MODE=postgres POSTGRES_URI=postgres://u@h/d?sslmode=require POSTGRES_SSL=require":         "postgres://u@h/d?sslmode=require",
		"DATABASE_MODE=postgres " + parts:                                                                   "postgres://app@db.example.com:5432/keys",
		"DATABASE_MODE=postgres POSTGRES_PASSWORD= " + parts:                                                "postgres://app@db.example.com:5432/keys",
		"DATABASE_MODE=postgres POSTGRES_PORT=6543 POSTGRES_SSL=verify-full " + parts:                       "postgres://app@db.example.com:6543/keys?sslmode=verify-full",
		"DATABASE_MODE=postgres POSTGRES_PASSWORD=p@s/s:w#o$r%d?&='\" " + parts:                             "postgres://app:p%40s%2Fs%3Aw%23o$r%25d%3F&=%27%22@db.example.com:5432/keys",
		"DATABASE_MODE=postgres POSTGRES_HOST=::1 POSTGRES_USER=a@b POSTGRES_DATABASE=k?s":                  "postgres://a%40b@[::1]:5432/k%3Fs",
		"DATABASE_MODE=mysql MYSQL_URI=mysql://u:p@h/d URI=junk":                                            "mysql://u:p@h/d",
		"DATABASE_MODE=mysql MYSQL_HOST=h MYSQL_USER=u MYSQL_DATABASE=d MYSQL_PASSWORD=p POSTGRES_SSL=junk": "mysql://u:p@h:3306/d",
		"DATABASE_MODE=mongodb MONGODB_URL=mongodb://u:p@h/d":                                               "mongodb://u:p@h/d",
		"DATABASE_MODE=mongodb URI=mongodb+srv://u:p@h/d":                                                   "mongodb+srv://u:p@h/d",
		"DATABASE_MODE=mongo MONGODB_URL=mongodb://u:p@h/d":                                                 "mongodb://u:p@h/d",
		"DATABASE_MODE=mongodb": "",
	} {
		t.Run(environ, func(t *testing.T) {
			config := mustRead(t, strings.Split(environ, " ")...)
			if got := config.Database.Source(); got != want {
				t.Errorf("%s: %s, want %s", environ, got, want)
			}
			if config.Warnings != nil {
				t.Errorf("%s: %v", environ, config.Warnings)
			}
		})
	}
}

func TestInvalidPredecessorsDatabaseVariables(t *testing.T) {
	t.Parallel()
	for environ, want := range map[string]string{
		"DATABASE_MODE=":         "DATABASE_MODE must be sqlite",
		"DEV_MODE=False":         "POSTGRES_HOST is not set; DEV_MODE selects postgres, so set POSTGRES_URI, or POSTGRES_HOST, POSTGRES_USER and POSTGRES_DATABASE",
		"DATABASE_MODE=postgres": "POSTGRES_HOST is not set; DATABASE_MODE selects postgres",
		"DATABASE_MODE=postgres POSTGRES_HOST=h POSTGRES_DATABASE=d":                                  "POSTGRES_USER is not set",
		"DATABASE_MODE=postgres POSTGRES_HOST=h POSTGRES_USER=u":                                      "POSTGRES_DATABASE is not set",
		"DATABASE_MODE=postgres POSTGRES_PORT=hunter " + parts:                                        "POSTGRES_PORT must be a port between 1 and 65535",
		"DATABASE_MODE=postgres POSTGRES_PORT=0 " + parts:                                             "POSTGRES_PORT must be a port",
		"DATABASE_MODE=postgres POSTGRES_SSL=hunter " + parts:                                         "POSTGRES_SSL must be disable, allow",
		"DATABASE_MODE=postgres POSTGRES_SSL= " + parts:                                               "POSTGRES_SSL must be disable, allow",
		"DATABASE_MODE=postgres POSTGRES_HOST=u:hunter@h POSTGRES_USER=u POSTGRES_DATABASE=d":         "POSTGRES_HOST must be a host name",
		"DATABASE_MODE=postgres POSTGRES_HOST= POSTGRES_USER=u POSTGRES_DATABASE=d":                   "POSTGRES_HOST is set but blank",
		"DATABASE_MODE=postgres POSTGRES_HOST=h POSTGRES_USER=u POSTGRES_DATABASE=hunter/x":           "POSTGRES_DATABASE must be the name",
		"DATABASE_MODE=postgres POSTGRES_URI=hunter":                                                  "POSTGRES_URI is not a connection string",
		"DATABASE_MODE=postgres POSTGRES_URI=":                                                        "POSTGRES_URI is set but blank",
		"DATABASE_MODE=postgres POSTGRES_URI=mysql://u:hunter@h/d":                                    "POSTGRES_URI is not a URL for postgres, which DATABASE_MODE selects",
		"DATABASE_MODE=mongodb MONGODB_URL=postgres://u:hunter@h/d":                                   "MONGODB_URL is not a URL for mongodb",
		"DATABASE_MODE=postgres POSTGRES_URI=postgres://u:hunter@h/d URI=postgres://u:hunter@h/e":     "POSTGRES_URI and URI are names for the same setting and differ",
		"DATABASE_MODE=postgres POSTGRES_URI=postgres://u@h/d?sslmode=disable POSTGRES_SSL=require":   "POSTGRES_SSL differs from the sslmode in POSTGRES_URI",
		"DATABASE_MODE=mysql MYSQL_PASSWORD=hunter":                                                   "MYSQL_HOST is not set",
		"DATABASE_MODE=mysql MYSQL_HOST=h MYSQL_USER=u MYSQL_DATABASE=d MYSQL_PASSWORD=hunter\x01":    "MYSQL_PASSWORD contains a line break",
		"DATABASE_MODE=mysql MYSQL_HOST=h MYSQL_USER=u MYSQL_DATABASE=d MYSQL_PASSWORD=#\u00a0hunter": "",
	} {
		t.Run(environ, func(t *testing.T) {
			_, err := read(strings.Split(environ, " ")...)
			if want == "" { // a password may begin with #
				if err != nil {
					t.Errorf("%s: %v", environ, err)
				}
				return
			}
			name, reason, _ := strings.Cut(want, " ")
			wantsError(t, err, name, reason, "hunter")
		})
	}
	_, err := read("DATABASE_MODE=mysql", "MYSQL_HOST=h", "MYSQL_USER=u", "MYSQL_DATABASE=d", "MYSQL_PASSWORD= # your password")
	wantsError(t, err, "MYSQL_PASSWORD", "is a comment", "your password")
}

// The predecessor connected to MySQL as root with a built-in password.
func TestMySQLHasNoDefaultUserOrPassword(t *testing.T) {
	t.Parallel()
	_, err := read("DATABASE_MODE=mysql", "MYSQL_HOST=h", "MYSQL_DATABASE=d")
	wantsError(t, err, "MYSQL_USER", "is not set")
	if got := mustRead(t, "DATABASE_MODE=mysql", "MYSQL_HOST=h", "MYSQL_DATABASE=d", "MYSQL_USER=app").Database.Source(); got != "mysql://app@h:3306/d" {
		t.Errorf("connects to %s", got)
	}
}

// Other programs use these names too. Their values must not select another database for
// the keys, and must not cause errors.
func TestCommonNamesAreReadOnlyWithThePredecessors(t *testing.T) {
	t.Parallel()
	for environ, want := range map[string]string{
		"DATABASE_MODE=postgres POSTGRES_URI=postgres://u@h/d":                              "keyfold.db",
		"DATABASE_MODE=cluster":                                                             "keyfold.db",
		"DEV_MODE=False URI=postgres://u@h/d":                                               "keyfold.db",
		"DEV_MODE=staging KEYFOLD_PREFIX=kf":                                                "keyfold.db",
		"DEV_MODE=False URI=postgres://u@h/d FASTAPI_AUTH_SECRET=" + goodSecret:             "postgres://u@h/d",
		"DATABASE_MODE=mysql MYSQL_URI=mysql://u@h/d FASTAPI_SIMPLE_SECURITY_HIDE_DOCS=":    "mysql://u@h/d",
		"DATABASE_MODE=mysql MYSQL_URI=mysql://u@h/d FAST_API_SIMPLE_SECURITY_ANYTHING=1":   "mysql://u@h/d",
		"DATABASE_MODE=mysql MYSQL_URI=mysql://u@h/d KEYFOLD_DATABASE_URL=sqlite:chosen.db": "chosen.db",
		"DATABASE_MODE=sqlite FASTAPI_SIMPLE_SECURITY_DB_LOCATION=/data/old.db":             "/data/old.db",
		"FASTAPI_SIMPLE_SECURITY_DB_LOCATION=old.db FASTAPI_AUTH_DB_LOCATION=old.db":        "old.db",
	} {
		t.Run(environ, func(t *testing.T) {
			config, err := fromenv.ReadConfig(&fromenv.Source{File: os.DevNull, Environ: strings.Split(environ, " ")})
			if err != nil {
				t.Errorf("%s: %v", environ, err)
				return
			}
			if got := config.Database.Source(); got != want {
				t.Errorf("%s: %s, want %s", environ, got, want)
			}
			if want == "keyfold.db" && config.Warnings != nil {
				t.Errorf("%s: warns %q of what is none of its business", environ, config.Warnings)
			}
		})
	}
	_, err := read("FASTAPI_SIMPLE_SECURITY_DB_LOCATION=one.db", "FASTAPI_AUTH_DB_LOCATION=two.db")
	wantsError(t, err, "FASTAPI_AUTH_DB_LOCATION", "differ")
}

func TestUnusedURLCausesAWarning(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"POSTGRES_URI", "MYSQL_URI", "MONGODB_URL"} {
		t.Run(name, func(t *testing.T) {
			warnings := mustRead(t, name+"=postgres://u:hunter-two@h/d").Warnings
			if len(warnings) != 1 || !strings.Contains(warnings[0], name+" is set but not used") || strings.Contains(warnings[0], "hunter") {
				t.Errorf("%s: %q", name, warnings)
			}
		})
	}
}
