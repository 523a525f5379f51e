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

	databaseForms  = "it must be sqlite:FILE, postgres://user@host/name, mysql://user@host/name or mongodb://user@host/name"
	sqliteForm     = "it must be sqlite:FILE or sqlite:/DIRECTORY/FILE"
	pathForm       = "it must be the path of a file"
	verbatimPrefix = `\\?\` // of a path that Windows does not interpret

	portReason = "must be a port between 1 and 65535"
)

// Database is a connection string that was read. When it is printed, it shows the engine,
// the host and the name, and never the user, the password or the parameters.
type Database struct {
	engine string
	name   string
	source Secret // for an Opener
	from   string // the name to use in errors
}

// Engine returns "sqlite", "postgres", "mysql" or "mongodb".
func (d Database) Engine() string { return d.engine }

// Source returns the source for an [Opener]: the path of the SQLite file, or the URL with
// its password.
func (d Database) Source() string { return d.source.Reveal() }

// String returns the part that may be shown, such as "sqlite:keyfold.db" or
// "postgres://db.example.com:5432/app".
func (d Database) String() string { return d.name }

// GoString is String.
func (d Database) GoString() string { return d.name }

// LogValue is String, for log/slog.
func (d Database) LogValue() slog.Value { return slog.StringValue(d.name) }

// MarshalText is String: encoding a Database reveals no password.
func (d Database) MarshalText() ([]byte, error) { return []byte(d.name), nil }

// withoutSource replaces an error that contains the connection string, or its user and
// password, as the errors of parsers do.
func (d Database) withoutSource(err error) error {
	if d.engine == sqliteEngine {
		return err
	}
	text, source := err.Error(), d.Source()
	_, rest, _ := strings.Cut(source, "//")
	if user, _, found := strings.Cut(rest, "@"); strings.Contains(text, source) || found && strings.Contains(user, ":") && strings.Contains(text, user) {
		return errors.New("the reason is not shown, because it contains the connection string")
	}
	return err
}

// ParseDatabase reads a connection string: sqlite:FILE,
// postgres://user:password@host:5432/name, mysql://user:password@host:3306/name
// or mongodb://…. Errors are an [Error] with the name from, such as a variable or a flag.
//
// ParseDatabase checks two parameters: sslmode (PostgreSQL) must be a value that libpq
// knows, and tls (MySQL) must be true, false, skip-verify or preferred. A program with a
// TLS configuration of its own opens its store with mysql.Open.
func ParseDatabase(from, text string) (Database, error) {
	if reason := untidy(text); reason != "" {
		return Database{}, refuse(from, "%s", reason)
	}
	scheme, rest, found := strings.Cut(text, ":")
	switch {
	case !found:
		return Database{}, refuse(from, "is not a connection string; %s", databaseForms)
	case scheme == sqliteEngine && strings.HasPrefix(rest, "//"):
		return Database{}, refuse(from, "has slashes after sqlite:, which programs interpret differently; %s", sqliteForm)
	case scheme == sqliteEngine:
		return sqliteDatabase(from, rest, sqliteForm)
	case scheme == mongoEngine, scheme == "mongodb+srv":
		return Database{engine: mongoEngine, name: mongoEngine, source: NewSecret(text), from: from}, nil
	case len(scheme) == 1:
		return Database{}, refuse(from, "looks like a Windows path without sqlite: before it; %s", databaseForms)
	case scheme == "postgresql":
		scheme = postgresEngine
	case scheme == "mariadb":
		scheme = mysqlEngine
	case scheme != postgresEngine && scheme != mysqlEngine:
		return Database{}, refuse(from, "is for a kind of database that Keyfold does not support; %s", databaseForms)
	}
	return serverDatabase(from, scheme, rest)
}

// sqliteDatabase reads the path of a file. form says what the value must be.
func sqliteDatabase(from, path, form string) (Database, error) {
	switch {
	case path == "":
		return Database{}, refuse(from, "does not name a file; %s", form)
	case strings.HasPrefix(path, ":memory:"):
		return Database{}, refuse(from, "is a database in memory, of which every connection would have its own; %s", form)
	case strings.HasPrefix(path, "file:"):
		return Database{}, refuse(from, "is a SQLite URI; %s", form)
	case strings.Contains(strings.TrimPrefix(path, verbatimPrefix), "?"):
		return Database{}, refuse(from, "has parameters; %s", form)
	}
	return Database{engine: sqliteEngine, name: "sqlite:" + path, source: NewSecret(path), from: from}, nil
}

// serverDatabase reads the part of a URL after the scheme. Errors never repeat any of it,
// because even its beginning may be a password.
func serverDatabase(from, scheme, rest string) (Database, error) {
	location, err := url.Parse(scheme + ":" + rest)
	if err != nil || !strings.HasPrefix(rest, "//") || location.Opaque != "" {
		return Database{}, refuse(from, "is not a valid URL; write characters such as @ / # %% in a password as %%40 %%2F %%23 %%25")
	}
	name := strings.TrimPrefix(location.Path, "/")
	switch {
	case location.Host == "" && scheme == mysqlEngine || name == "":
		return Database{}, refuse(from, "does not name a host and a database; %s", databaseForms)
	case location.Fragment != "" || strings.ContainsAny(name, "/@") || location.User == nil && strings.Contains(location.RawQuery, "@"):
		return Database{}, refuse(from, "has more parts than a host and a database; write / in a password as %%2F, ? as %%3F and # as %%23")
	case hasBadPort(location.Host):
		return Database{}, refuse(from, "has an invalid port; it %s", portReason)
	}
	if reason := badParameter(scheme, location.Query()); reason != "" {
		return Database{}, refuse(from, "%s", reason)
	}
	return Database{engine: scheme, name: scheme + "://" + location.Host + "/" + name, source: NewSecret(scheme + ":" + rest), from: from}, nil
}

// hasBadPort checks the port of each host: PostgreSQL accepts several hosts.
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

// tlsModes are the modes that the driver knows if the program does not register others.
func tlsModes() []string { return []string{"true", "false", "skip-verify", "preferred"} }

// badParameter says what is wrong with the parameters for encryption, or "". The driver
// would find the error as well, but its message says less.
func badParameter(scheme string, query url.Values) string {
	for _, mode := range query["sslmode"] {
		if scheme == postgresEngine && !slices.Contains(sslModes(), mode) {
			return "has an unknown sslmode; it must be " + oneOf(sslModes())
		}
	}
	for _, mode := range query["tls"] {
		if scheme == mysqlEngine && mode != "0" && mode != "1" && !slices.Contains(tlsModes(), strings.ToLower(mode)) {
			return "has an unknown tls mode; it must be " + oneOf(tlsModes())
		}
	}
	return ""
}

// oneOf lists the choices: "a, b or c".
func oneOf(choices []string) string {
	last := len(choices) - 1
	return strings.Join(choices[:last], ", ") + " or " + choices[last]
}

// readDatabase reads KEYFOLD_DATABASE_URL, or else the predecessor's variables.
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

// aliasedServer describes the predecessor's variables for the connection to a server.
type aliasedServer struct {
	engine string
	urls   []string // names for the URL
	prefix string   // of the names for the parts; "" if there are none
	port   string
}

func aliasedServers() []aliasedServer {
	return []aliasedServer{
		{postgresEngine, []string{"POSTGRES_URI", "URI"}, "POSTGRES_", "5432"},
		{mysqlEngine, []string{"MYSQL_URI"}, "MYSQL_", "3306"},
		{mongoEngine, []string{"MONGODB_URL", "URI"}, "", ""},
	}
}

// readAliasedDatabase reads only the variables of the selected engine: POSTGRES_USER may
// be set for another program.
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
			r.warn("%s is set but not used, because neither %s nor DATABASE_MODE is set; the database is %s", name, databaseVariable, r.config.Database)
		}
	}
	return nil
}

// isOfPredecessor reports whether the variables were written for fastapi_auth. Other
// programs use DATABASE_MODE and DEV_MODE as well.
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

// aliasedMode returns the engine that DATABASE_MODE or the older DEV_MODE selects, and the
// name of that variable. The name is "" if neither is set.
func (r *reader) aliasedMode() (mode, from string, err error) {
	if !r.isOfPredecessor() {
		return sqliteEngine, "", nil
	}
	if v, set := r.lookup("DATABASE_MODE"); set {
		if v.text == "mongo" {
			return mongoEngine, v.from, nil
		}
		if !slices.Contains([]string{sqliteEngine, postgresEngine, mysqlEngine, mongoEngine}, v.text) {
			return "", "", refuse(v.from, "must be sqlite, postgres, mysql or mongodb")
		}
		return v.text, v.from, nil
	}
	if v, set := r.lookup("DEV_MODE"); set {
		dev, ok := parseBool(v.text)
		switch {
		case !ok:
			return "", "", refuse(v.from, "must be true (SQLite) or false (PostgreSQL); it is not read if %s is set", databaseVariable)
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
			err = refuse(v.from, "is not a URL for %s, which %s selects", server.engine, mode)
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

// databaseOfParts builds the URL from user, password, host, port and database. Only the
// port has a default.
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
			return Database{}, refuse(name, "is not set; %s selects %s, so set %s, or %[4]sHOST, %[4]sUSER and %[4]sDATABASE",
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
		return Database{}, refuse(server.prefix+"HOST", "must be a host name or an address, without a port")
	}
	u := url.URL{Scheme: server.engine, User: url.User(parts["USER"]), Host: net.JoinHostPort(parts["HOST"], parts["PORT"]), Path: "/" + parts["DATABASE"]}
	if parts["PASSWORD"] != "" {
		u.User = url.UserPassword(parts["USER"], parts["PASSWORD"])
	}
	d, err := ParseDatabase(server.prefix+"HOST", u.String())
	if err != nil {
		return d, refuse(server.prefix+"DATABASE", "must be the name of a database, without / and @")
	}
	return d, nil
}

// unlikelyPassword says what is wrong with a password, or "". A password may be empty and
// may contain more characters than other values.
func unlikelyPassword(text string) string {
	switch {
	case strings.HasPrefix(strings.TrimSpace(text), "# "):
		return "is a comment, not a value"
	case strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return "contains a line break or another control character"
	}
	return ""
}

// addSSLMode adds POSTGRES_SSL to the URL.
func (r *reader) addSSLMode() error {
	v, set := r.lookup("POSTGRES_SSL")
	if !set {
		return nil
	}
	if !slices.Contains(sslModes(), v.text) {
		return refuse(v.from, "must be %s", oneOf(sslModes()))
	}
	d := &r.config.Database
	location, err := url.Parse(d.Source())
	if err != nil {
		return refuse(d.from, "is not a valid URL")
	}
	switch location.Query().Get("sslmode") {
	case v.text:
		return nil
	case "":
		// The other parameters stay as they are: Encode would write a space as "+",
		// which PostgreSQL does not read as a space.
		location.RawQuery = strings.TrimPrefix(location.RawQuery+"&sslmode="+v.text, "&")
		d.source = NewSecret(location.String())
		return nil
	}
	return refuse(v.from, "differs from the sslmode in %s", d.from)
}

// lookupOne finds the value of a setting that has several names. It is an error if their
// values differ.
func (r *reader) lookupOne(names ...string) (found value, set bool, err error) {
	for _, name := range names {
		v, isSet := r.lookup(name)
		switch {
		case !isSet:
		case !set:
			found, set = v, true
		case v.text != found.text:
			return value{}, false, refuse(found.from, "and %s are names for the same setting and differ; unset one of them", v.from)
		}
	}
	return found, set, nil
}
