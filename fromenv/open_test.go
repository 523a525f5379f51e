package fromenv_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/fromenv"
	"github.com/keyfold/keyfold/internal/testdb"
	"github.com/keyfold/keyfold/store/memory"
	"github.com/keyfold/keyfold/store/mysql"
	"github.com/keyfold/keyfold/store/postgres"
	"github.com/keyfold/keyfold/store/sqlite"
)

// inMemory is an Opener for any engine. It opens an in-memory store.
type inMemory struct {
	engine string
	opened func(source string) error
}

func (o inMemory) Engine() string { return o.engine }

func (o inMemory) OpenStore(_ context.Context, source string) (keyfold.Store, error) {
	if o.opened != nil {
		if err := o.opened(source); err != nil {
			return nil, err
		}
	}
	return memory.New(), nil
}

// life creates a key, verifies it and closes the App. Then it opens the App again and
// checks that the use was stored.
func life(t *testing.T, config *fromenv.Config) {
	t.Helper()
	open := func() *fromenv.App {
		app, err := config.Open(t.Context(), sqlite.Opener{}, postgres.Opener{}, mysql.Opener{})
		if err != nil {
			t.Fatal(err)
		}
		return app
	}
	app := open()
	key, token, err := app.Service.CreateKey(t.Context(), keyfold.NewKey{Name: "ci"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := app.Service.Verify(t.Context(), keyfold.Request{Token: token.Reveal()}); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second Close does nothing
		if err := app.Close(context.Background()); err != nil {
			t.Errorf("Close: %v", err)
		}
	}
	if err := app.Store.Ping(t.Context()); err == nil {
		t.Error("the store works after Close")
	}
	app = open()
	defer app.Close(context.Background())
	if got, err := app.Service.Key(t.Context(), key.ID); err != nil || got.Uses != 1 {
		t.Errorf("%d uses, %v; want the one from before Close", got.Uses, err)
	}
}

func TestOpenOnSQLite(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "k d.db")
	life(t, mustRead(t, "KEYFOLD_DATABASE_URL=sqlite:"+path))
	life(t, mustRead(t, "FASTAPI_AUTH_DB_LOCATION="+path))
}

func TestOpenOnPostgres(t *testing.T) {
	t.Parallel()
	dsn := testdb.Postgres(t)
	life(t, mustRead(t, "KEYFOLD_DATABASE_URL="+dsn))
	life(t, mustRead(t, "DATABASE_MODE=postgres", "POSTGRES_URI="+dsn))
	life(t, mustRead(t, "DATABASE_MODE=postgres", "POSTGRES_SSL=prefer", "URI="+strings.Replace(dsn, "sslmode=disable", "", 1)))
	life(t, mustRead(t, append(partsOf(t, "POSTGRES", dsn), "DATABASE_MODE=postgres", "POSTGRES_SSL=disable")...))
	life(t, mustRead(t, append(partsOf(t, "POSTGRES", dsn), "DEV_MODE=False")...))
	dsn = strings.Replace(dsn, "sslmode=disable", "options=-c%20work_mem%3D4MB", 1)
	life(t, mustRead(t, "DATABASE_MODE=postgres", "POSTGRES_SSL=disable", "POSTGRES_URI="+dsn))
}

// A password can contain characters that are special in a URL, a file or a shell. They
// are escaped in a URL and unescaped in the variables for its parts.
func TestOpenOnMariaDB(t *testing.T) {
	t.Parallel()
	dsn := testdb.MariaDBURL(t)
	life(t, mustRead(t, "KEYFOLD_DATABASE_URL="+dsn))
	life(t, mustRead(t, "DATABASE_MODE=mysql", "MYSQL_URI="+dsn))
	life(t, mustRead(t, append(partsOf(t, "MYSQL", dsn), "DATABASE_MODE=mysql")...))

	const password = `pa$WORD@/#?:%41&= "\x`
	location, err := url.Parse(dsn)
	if err != nil {
		t.Fatal("the URL of the test database is none")
	}
	user := mariaDBUser(t, location, password)
	environ := append(partsOf(t, "MYSQL", dsn), "DATABASE_MODE=mysql", "MYSQL_USER="+user, "MYSQL_PASSWORD="+password)
	life(t, mustRead(t, environ...))
	config, err := readFile(t, "DATABASE_MODE='mysql'\nMYSQL_USER='"+user+"'\nMYSQL_PASSWORD='"+password+"'\nMYSQL_HOST='"+location.Hostname()+
		"'\nMYSQL_PORT="+location.Port()+"\nMYSQL_DATABASE='"+strings.TrimPrefix(location.Path, "/")+"'\n")
	if err != nil {
		t.Fatal(err)
	}
	life(t, config)
	location.User = url.UserPassword(user, password)
	life(t, mustRead(t, "KEYFOLD_DATABASE_URL="+location.String()))
	_, err = mustRead(t, append(environ, "MYSQL_PASSWORD=wrong-pass-word")...).Open(t.Context(), mysql.Opener{})
	if err == nil || strings.Contains(err.Error(), "wrong-pass-word") {
		t.Errorf("with a wrong password: %v", err)
	}
}

// partsOf returns the parts of a URL as variables.
func partsOf(t *testing.T, prefix, dsn string) []string {
	t.Helper()
	location, err := url.Parse(dsn)
	if err != nil {
		t.Fatal("the URL of the test database is none")
	}
	password, _ := location.User.Password()
	return []string{
		prefix + "_HOST=" + location.Hostname(), prefix + "_PORT=" + location.Port(), prefix + "_USER=" + location.User.Username(),
		prefix + "_PASSWORD=" + password, prefix + "_DATABASE=" + strings.TrimPrefix(location.Path, "/"),
	}
}

// mariaDBUser creates a user with the password and all privileges on the database.
func mariaDBUser(t *testing.T, location *url.URL, password string) string {
	t.Helper()
	dsn := location.String() // before the caller changes it
	store, err := mysql.Open(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	user := "keyfold_" + strings.ToLower(rand.Text()[:10])
	literal := "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(password) + "'"
	for _, statement := range []string{
		"CREATE USER '" + user + "'@'%' IDENTIFIED BY " + literal,
		"CREATE USER '" + user + "'@'localhost' IDENTIFIED BY " + literal,
		"GRANT ALL ON " + strings.TrimPrefix(location.Path, "/") + ".* TO '" + user + "'@'%', '" + user + "'@'localhost'",
	} {
		if _, err := store.DB().ExecContext(t.Context(), statement); err != nil {
			t.Fatalf("a user for the test: %v", err)
		}
	}
	t.Cleanup(func() {
		store, err := mysql.Open(context.Background(), dsn)
		if err != nil {
			t.Error(err)
			return
		}
		defer store.Close()
		if _, err := store.DB().ExecContext(context.Background(), "DROP USER '"+user+"'@'%', '"+user+"'@'localhost'"); err != nil {
			t.Error(err)
		}
	})
	return user
}

// The predecessor's MongoDB mode checked keys against SQLite.
func TestMongoDBIsNotReplacedBySQLite(t *testing.T) {
	t.Chdir(t.TempDir())
	for environ, name := range map[string]string{
		"KEYFOLD_DATABASE_URL=mongodb://u:hunter-two@h/d":                 "KEYFOLD_DATABASE_URL",
		"KEYFOLD_DATABASE_URL=mongodb+srv://u:hunter-two@h":               "KEYFOLD_DATABASE_URL",
		"DATABASE_MODE=mongodb MONGODB_URL=mongodb://u:hunter-two@h/d":    "MONGODB_URL",
		"DATABASE_MODE=mongodb URI=mongodb://u:hunter-two@h/d":            "URI",
		"DATABASE_MODE=mongodb FASTAPI_AUTH_DB_LOCATION=keyfold.db":       "DATABASE_MODE",
		"DATABASE_MODE=mongodb KEYFOLD_SECRET=" + goodSecret + goodSecret: "DATABASE_MODE",
	} {
		_, err := mustRead(t, strings.Split(environ, " ")...).Open(t.Context(), sqlite.Opener{}, postgres.Opener{}, mysql.Opener{})
		wantsError(t, err, name, "this program supports only sqlite", "hunter")
	}
	if entries, err := os.ReadDir("."); err != nil || len(entries) > 0 {
		t.Errorf("files were made: %v, %v", entries, err)
	}
	// With an Opener, the same configuration works.
	var source string
	opener := inMemory{"mongodb", func(s string) error { source = s; return nil }}
	store, err := mustRead(t, "KEYFOLD_DATABASE_URL=mongodb://u:p@h1,h2/d").OpenStore(t.Context(), sqlite.Opener{}, opener)
	if err != nil || source != "mongodb://u:p@h1,h2/d" {
		t.Errorf("%v, %v", source, err)
	}
	_ = store.Close()
	_, err = mustRead(t, "DATABASE_MODE=mongodb").OpenStore(t.Context(), opener)
	wantsError(t, err, "DATABASE_MODE", "no variable says where")
}

func TestDatabaseWithoutOpenerIsAnError(t *testing.T) {
	t.Parallel()
	_, err := mustRead(t, "KEYFOLD_DATABASE_URL=mysql://u:hunter-two@h/d").Open(t.Context(), postgres.Opener{}, inMemory{engine: "sqlite"})
	wantsError(t, err, "KEYFOLD_DATABASE_URL", "selects mysql://h/d, but this program supports only postgres, sqlite", "hunter")
	_, err = mustRead(t).Open(t.Context(), postgres.Opener{})
	wantsError(t, err, "KEYFOLD_DATABASE_URL", "selects sqlite:keyfold.db, but this program supports only postgres")
}

// The connection string must stay hidden even if the error of an Opener contains it.
func TestErrorsOfOpenersDoNotContainThePassword(t *testing.T) {
	t.Parallel()
	const password = "hunter-two"
	for _, dsn := range []string{"postgres://u:" + password + "@h/d", "postgres://u:" + password + "@h/d?sslmode=disable"} {
		t.Run(dsn, func(t *testing.T) {
			config := mustRead(t, "KEYFOLD_DATABASE_URL="+dsn)
			for _, cause := range []error{
				errors.New("cannot open " + dsn), fmt.Errorf("no user u:%s here", password),
				&url.Error{Op: "parse", URL: dsn, Err: errors.New("bad")},
			} {
				_, err := config.Open(t.Context(), inMemory{"postgres", func(string) error { return cause }})
				if err == nil || strings.Contains(err.Error(), password) || !strings.Contains(err.Error(), "cannot use postgres://h/d: ") {
					t.Errorf("%v", err)
				}
				if errors.Is(err, cause) {
					t.Error("the cause can be unwrapped and printed")
				}
			}
			down := errors.New("the server is down")
			if _, err := config.Open(t.Context(), inMemory{"postgres", func(string) error { return down }}); !errors.Is(err, down) {
				t.Errorf("an error without the password is lost: %v", err)
			}
		})
	}
	for name, opener := range map[string]fromenv.Opener{"postgres": postgres.Opener{}, "mysql": mysql.Opener{}} {
		t.Run(name, func(t *testing.T) {
			for _, rest := range []string{"127.0.0.1:1/d", "127.0.0.1:1/d?no_such_parameter=" + password, "127.0.0.1:1/d?pool_max_conns=" + password + "&timeout=" + password} {
				_, err := mustRead(t, "KEYFOLD_DATABASE_URL="+name+"://u:"+password+"@"+rest).Open(t.Context(), opener)
				if err == nil || strings.Contains(err.Error(), password) {
					t.Errorf("%s: %v", name, err)
				}
			}
		})
	}
}

func TestOpenLogsWarningsAndNoSecret(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	config := mustRead(t, "FASTAPI_AUTH_SECRET="+goodSecret[:12], "KEYFOLD_PEPPERS=a:"+otherSecret, "KEYFOLD_CURRENT_PEPPER=a")
	config.Logger = slog.New(slog.NewTextHandler(&log, nil))
	app, err := config.Open(t.Context(), inMemory{engine: "sqlite"})
	if err != nil {
		t.Fatal(err)
	}
	defer app.Close(context.Background())
	slog.New(slog.NewJSONHandler(&log, nil)).Info("open", "app", app.Config, "database", config.Database)
	if got := log.String(); !strings.Contains(got, "level=WARN") || !strings.Contains(got, "FASTAPI_AUTH_SECRET") ||
		strings.Contains(got, goodSecret[:12]) || strings.Contains(got, otherSecret) {
		t.Errorf("logged %s", got)
	}
	if _, _, err := app.Service.CreateKey(t.Context(), keyfold.NewKey{}); err != nil {
		t.Error(err)
	}
}

func TestOptionsAreACopy(t *testing.T) {
	t.Parallel()
	config := mustRead(t, "KEYFOLD_SCOPES=a:b", "KEYFOLD_PEPPERS=a:"+goodSecret)
	changed := config.Options()
	changed.Scopes[0], changed.Peppers["a"][0] = "x:y", 'X'
	delete(changed.Peppers, "a")
	if got := config.Options(); got.Scopes[0] != "a:b" || string(got.Peppers["a"]) != goodSecret {
		t.Errorf("%+v", got)
	}
}

func TestOpenReadsFileAndEnvironment(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := os.WriteFile(".env", []byte("KEYFOLD_DATABASE_URL='sqlite:from-file.db'\nKEYFOLD_PREFIX='filed'\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("KEYFOLD_PREFIX", "given")
	app, err := fromenv.Open(t.Context(), sqlite.Opener{})
	if err != nil {
		t.Fatal(err)
	}
	defer app.Close(context.Background())
	_, token, err := app.Service.CreateKey(t.Context(), keyfold.NewKey{})
	if err != nil || !strings.HasPrefix(token.Reveal(), "given_") {
		t.Errorf("%v, %v", token, err)
	}
	if _, err := os.Stat("from-file.db"); err != nil {
		t.Error(err)
	}
	t.Setenv("KEYFOLD_PREFIX", "")
	_, err = fromenv.Open(t.Context(), sqlite.Opener{})
	wantsError(t, err, "KEYFOLD_PREFIX", "is set but blank")
}
