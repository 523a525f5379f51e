package fromenv

import (
	"errors"
	"log/slog"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

const (
	sqliteEngine   = "sqlite"
	postgresEngine = "postgres"
	mysqlEngine    = "mysql"
	mongoEngine    = "mongodb"

	databaseVariable = "KEYFOLD_DATABASE_URL"
	defaultPath      = "keyfold.db"

	databaseForms  = "want sqlite:FILE, postgres://user@host/name, mysql://user@host/name or mongodb://user@host/name"
	sqliteForm     = "want sqlite:FILE or sqlite:/DIRECTORY/FILE"
	pathForm       = "want the path of a file"
	verbatimPrefix = `\\?\` // of a path that Windows takes as it is

	portReason = "wants a port: 1 to 65535"
)

// Database is a connection string that was read. It shows engine, host and
// name, and never user, password or parameters.
type Database struct {
	engine string
	name   string
	source Secret // as an Opener takes it
	from   string // what it was found under
}

// Engine returns "sqlite", "postgres", "mysql" or "mongodb".
func (d Database) Engine() string { return d.engine }

// Source returns what an [Opener] takes: the path of the SQLite file, or the
// URL with its password.
func (d Database) Source() string { return d.source.Reveal() }

// String returns what may be shown: "sqlite:keyfold.db",
// "postgres://db.example.com:5432/app".
func (d Database) String() string { return d.name }

// GoString is String.
func (d Database) GoString() string { return d.name }

// LogValue is String, for log/slog.
func (d Database) LogValue() slog.Value { return slog.StringValue(d.name) }

// MarshalText is String: encoding a Database reveals no password.
func (d Database) MarshalText() ([]byte, error) { return []byte(d.name), nil }

// withoutSource drops an error that holds the connection string or the user and
// password in it, as those of parsers do.
func (d Database) withoutSource(err error) error {
	if d.engine == sqliteEngine {
		return err
	}
	text, source := err.Error(), d.Source()
	_, rest, _ := strings.Cut(source, "//")
	if user, _, found := strings.Cut(rest, "@"); strings.Contains(text, source) || found && strings.Contains(user, ":") && strings.Contains(text, user) {
		return errors.New("the reason is not shown, because it holds the connection string")
	}
	return err
}

// ParseDatabase reads a connection string: sqlite:FILE,
// postgres://user:password@host:5432/name, mysql://user:password@host:3306/name
// or mongodb://…. In an [Error] it goes by the name from, a variable or a flag.
//
// Of the parameters it checks sslmode (PostgreSQL), which may be what libpq
// knows, and tls (MySQL): true, false, skip-verify or preferred. A program with
// a TLS configuration of its own opens its store by mysql.Open.
func ParseDatabase(from, text string) (Database, error) {
	if reason := untidy(text); reason != "" {
		return Database{}, refuse(from, "%s", reason)
	}
	scheme, rest, found := strings.Cut(text, ":")
	switch {
	case !found:
		return Database{}, refuse(from, "is no database; %s", databaseForms)
	case scheme == sqliteEngine && strings.HasPrefix(rest, "//"):
		return Database{}, refuse(from, "has slashes after sqlite:, which programs read in two ways; %s", sqliteForm)
	case scheme == sqliteEngine:
		return sqliteDatabase(from, rest, sqliteForm)
	case scheme == mongoEngine, scheme == "mongodb+srv":
		return Database{engine: mongoEngine, name: mongoEngine, source: NewSecret(text), from: from}, nil
	case len(scheme) == 1:
		return Database{}, refuse(from, "looks like a path of Windows without sqlite: before it; %s", databaseForms)
	case scheme == "postgresql":
		scheme = postgresEngine
	case scheme == "mariadb":
		scheme = mysqlEngine
	case scheme != postgresEngine && scheme != mysqlEngine:
		return Database{}, refuse(from, "is of no kind that keyfold knows; %s", databaseForms)
	}
	return serverDatabase(from, scheme, rest)
}

// sqliteDatabase reads the path of a file. wants is the form to ask for in its
// place.
func sqliteDatabase(from, path, wants string) (Database, error) {
	switch {
	case path == "":
		return Database{}, refuse(from, "names no file; %s", wants)
	case strings.HasPrefix(path, ":memory:"):
		return Database{}, refuse(from, "is a database in memory, which every connection would have another of; %s", wants)
	case strings.HasPrefix(path, "file:"):
		return Database{}, refuse(from, "is a URI of SQLite; %s", wants)
	case strings.Contains(strings.TrimPrefix(path, verbatimPrefix), "?"):
		return Database{}, refuse(from, "has parameters; %s", wants)
	}
	return Database{engine: sqliteEngine, name: "sqlite:" + path, source: NewSecret(path), from: from}, nil
}

// serverDatabase reads what follows the scheme of a URL. Errors never repeat
// any of it: even its beginning may be a password.
func serverDatabase(from, scheme, rest string) (Database, error) {
	location, err := url.Parse(scheme + ":" + rest)
	if err != nil || !strings.HasPrefix(rest, "//") || location.Opaque != "" {
		return Database{}, refuse(from, "is no URL; characters such as @ / # %% in a password have to be written as %%40 %%2F %%23 %%25")
	}
	name := strings.TrimPrefix(location.Path, "/")
	switch {
	case location.Host == "" && scheme == mysqlEngine || name == "":
		return Database{}, refuse(from, "names no host or no database; %s", databaseForms)
	case location.Fragment != "" || strings.ContainsAny(name, "/@") || location.User == nil && strings.Contains(location.RawQuery, "@"):
		return Database{}, refuse(from, "has more than a host and a database; write / in a password as %%2F, ? as %%3F and # as %%23")
	case hasBadPort(location.Host):
		return Database{}, refuse(from, "has a port that is none; it %s", portReason)
	}
	if reason := badParameter(scheme, location.Query()); reason != "" {
		return Database{}, refuse(from, "%s", reason)
	}
	return Database{engine: scheme, name: scheme + "://" + location.Host + "/" + name, source: NewSecret(scheme + ":" + rest), from: from}, nil
}

// hasBadPort looks at each of the hosts: PostgreSQL takes several.
func hasBadPort(hosts string) bool {
	for host := range strings.SplitSeq(hosts, ",") {
		_, port, found := strings.Cut(host[strings.LastIndexByte(host, ']')+1:], ":")
		if found && !isPort(port) {
			return true
		}
	}
	return false
}

func isPort(text string) bool {
	port, err := strconv.ParseUint(text, 10, 16)
	return err == nil && port != 0
}

func sslModes() []string {
	return []string{"disable", "allow", "prefer", "require", "verify-ca", "verify-full"}
}

// tlsModes are what the driver knows without a program that registers more.
func tlsModes() []string { return []string{"true", "false", "skip-verify", "preferred"} }

// badParameter says what is wrong with how the connection is to be encrypted,
// or nothing. Without this check the driver finds it, and says less.
func badParameter(scheme string, query url.Values) string {
	for _, mode := range query["sslmode"] {
		if scheme == postgresEngine && !slices.Contains(sslModes(), mode) {
			return "has an sslmode that is none; it wants " + oneOf(sslModes())
		}
	}
	for _, mode := range query["tls"] {
		if scheme == mysqlEngine && mode != "0" && mode != "1" && !slices.Contains(tlsModes(), strings.ToLower(mode)) {
			return "has a tls that is none; it wants " + oneOf(tlsModes())
		}
	}
	return ""
}

// oneOf lists what may be chosen: "a, b or c".
func oneOf(choices []string) string {
	last := len(choices) - 1
	return strings.Join(choices[:last], ", ") + " or " + choices[last]
}

// readDatabase reads KEYFOLD_DATABASE_URL, or else what the predecessor has in
// many variables.
func (r *reader) readDatabase() {
	before := len(r.problems)
	v, set := r.lookupSecret(databaseVariable)
	if len(r.problems) > before {
		return
	}
	var err error
	if set {
		r.config.Database, err = ParseDatabase(v.from, v.text)
	} else {
		err = r.readAliasedDatabase()
	}
	if err != nil {
		r.problems = append(r.problems, err)
	}
}

// aliasedServer says where the predecessor has the parts of a connection.
type aliasedServer struct {
	engine string
	urls   []string // names of one thing
	prefix string   // of the parts; "" if there are none
	port   string
}

func aliasedServers() []aliasedServer {
	return []aliasedServer{
		{postgresEngine, []string{"POSTGRES_URI", "URI"}, "POSTGRES_", "5432"},
		{mysqlEngine, []string{"MYSQL_URI"}, "MYSQL_", "3306"},
		{mongoEngine, []string{"MONGODB_URL", "URI"}, "", ""},
	}
}

// readAliasedDatabase looks at the variables of the engine that is chosen and
// at no others: POSTGRES_USER may well be there for another program.
func (r *reader) readAliasedDatabase() error {
	mode, from, err := r.aliasedMode()
	if err != nil {
		return err
	}
	for _, server := range aliasedServers() {
		if server.engine == mode {
			return r.readAliasedServer(&server, from)
		}
	}
	v, set, err := r.lookupOne("FASTAPI_AUTH_DB_LOCATION", "FASTAPI_SIMPLE_SECURITY_DB_LOCATION")
	if err != nil {
		return err
	}
	if set {
		if reason := untidy(v.text); reason != "" {
			return refuse(v.from, "%s", reason)
		}
		r.config.Database, err = sqliteDatabase(v.from, v.text, pathForm)
	}
	if from != "" || err != nil || !r.isOfPredecessor() {
		return err
	}
	for _, name := range []string{"POSTGRES_URI", "MYSQL_URI", "MONGODB_URL"} {
		if _, set := r.values[name]; set {
			r.warn("%s is set and not used, for neither %s nor DATABASE_MODE is; the database is %s", name, databaseVariable, r.config.Database)
		}
	}
	return nil
}

// isOfPredecessor reports whether the variables are meant for a program that
// fastapi_auth was in. Other programs have a DATABASE_MODE and a DEV_MODE, too.
func (r *reader) isOfPredecessor() bool {
	if r.compat {
		return true
	}
	for name := range r.values {
		if strings.HasPrefix(name, "FASTAPI_") || strings.HasPrefix(name, "FAST_API_") {
			return true
		}
	}
	return false
}

// aliasedMode is the engine by DATABASE_MODE, or by the older DEV_MODE; and
// which of them says so, "" for neither.
func (r *reader) aliasedMode() (mode, from string, err error) {
	if !r.isOfPredecessor() {
		return sqliteEngine, "", nil
	}
	if v, set := r.lookup("DATABASE_MODE"); set {
		if v.text == "mongo" {
			return mongoEngine, v.from, nil
		}
		if !slices.Contains([]string{sqliteEngine, postgresEngine, mysqlEngine, mongoEngine}, v.text) {
			return "", "", refuse(v.from, "wants sqlite, postgres, mysql or mongodb")
		}
		return v.text, v.from, nil
	}
	if v, set := r.lookup("DEV_MODE"); set {
		dev, ok := parseBool(v.text)
		switch {
		case !ok:
			return "", "", refuse(v.from, "wants true (SQLite) or false (PostgreSQL); or set %s, and it is not read", databaseVariable)
		case dev:
			return sqliteEngine, v.from, nil
		}
		return postgresEngine, v.from, nil
	}
	return sqliteEngine, "", nil
}

func (r *reader) readAliasedServer(server *aliasedServer, mode string) error {
	v, set, err := r.lookupOne(server.urls...)
	switch {
	case err != nil:
		return err
	case set:
		r.config.Database, err = ParseDatabase(v.from, v.text)
		if err == nil && r.config.Database.engine != server.engine {
			err = refuse(v.from, "is not for %s, which %s says", server.engine, mode)
		}
	case server.prefix == "":
		r.config.Database = Database{engine: server.engine, name: server.engine, from: mode}
	default:
		r.config.Database, err = r.databaseOfParts(server, mode)
	}
	if err != nil || server.engine != postgresEngine {
		return err
	}
	return r.addSSLMode()
}

// databaseOfParts makes a URL of user, password, host, port and database. There
// is no default for a user, and none for a password.
func (r *reader) databaseOfParts(server *aliasedServer, mode string) (Database, error) {
	parts := map[string]string{"PORT": server.port}
	for _, part := range []string{"HOST", "USER", "DATABASE", "PORT", "PASSWORD"} {
		name := server.prefix + part
		v, set := r.lookup(name)
		switch {
		case set && part == "PASSWORD":
			if reason := unlikelyPassword(v.text); reason != "" {
				return Database{}, refuse(name, "%s", reason)
			}
		case set:
			if reason := untidy(v.text); reason != "" {
				return Database{}, refuse(name, "%s", reason)
			}
		case part != "PORT" && part != "PASSWORD":
			return Database{}, refuse(name, "is not set; for %s of %s set %s, or %[4]sHOST, %[4]sUSER and %[4]sDATABASE",
				mode, server.engine, server.urls[0], server.prefix)
		}
		if set {
			parts[part] = v.text
		}
	}
	if !isPort(parts["PORT"]) {
		return Database{}, refuse(server.prefix+"PORT", portReason)
	}
	if strings.ContainsAny(parts["HOST"], "/@?#%[] ") {
		return Database{}, refuse(server.prefix+"HOST", "wants a host name or an address, nothing else")
	}
	u := url.URL{Scheme: server.engine, User: url.User(parts["USER"]), Host: net.JoinHostPort(parts["HOST"], parts["PORT"]), Path: "/" + parts["DATABASE"]}
	if parts["PASSWORD"] != "" {
		u.User = url.UserPassword(parts["USER"], parts["PASSWORD"])
	}
	d, err := ParseDatabase(server.prefix+"HOST", u.String())
	if err != nil {
		return d, refuse(server.prefix+"DATABASE", "wants the name of a database, without / and @")
	}
	return d, nil
}

// unlikelyPassword is untidy for what may hold anything, and may be empty.
func unlikelyPassword(text string) string {
	switch {
	case strings.HasPrefix(strings.TrimSpace(text), "# "):
		return "is a comment, not a value"
	case strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return "holds a line break or another control character"
	}
	return ""
}

// addSSLMode puts POSTGRES_SSL into the URL.
func (r *reader) addSSLMode() error {
	v, set := r.lookup("POSTGRES_SSL")
	if !set {
		return nil
	}
	if !slices.Contains(sslModes(), v.text) {
		return refuse(v.from, "wants %s", oneOf(sslModes()))
	}
	d := &r.config.Database
	location, err := url.Parse(d.Source())
	if err != nil {
		return refuse(d.from, "is no URL")
	}
	switch location.Query().Get("sslmode") {
	case v.text:
		return nil
	case "":
		// The rest stays as it is written: Encode would make "+" of a blank,
		// which PostgreSQL does not read as one.
		location.RawQuery = strings.TrimPrefix(location.RawQuery+"&sslmode="+v.text, "&")
		d.source = NewSecret(location.String())
		return nil
	}
	return refuse(v.from, "is not the sslmode that %s says", d.from)
}

// lookupOne finds the value of a thing that has several names. Names that
// disagree are an error: nobody can say which was meant.
func (r *reader) lookupOne(names ...string) (found value, set bool, err error) {
	for _, name := range names {
		v, isSet := r.lookup(name)
		switch {
		case !isSet:
		case !set:
			found, set = v, true
		case v.text != found.text:
			return value{}, false, refuse(found.from, "and %s are names of one thing and differ; unset one", v.from)
		}
	}
	return found, set, nil
}
