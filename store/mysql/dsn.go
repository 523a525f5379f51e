package mysql

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-sql-driver/mysql"
)

// settings is a parsed data source name.
type settings struct {
	config *mysql.Config // of each connection
	pool   poolSettings
}

// poolSettings configure the pool that Open makes. The parameters of a data source name
// have the same names as those of pgxpool.
type poolSettings struct {
	maxConns    int
	maxLifetime time.Duration
	maxIdleTime time.Duration
}

const (
	defaultMaxConns    = 32
	defaultMaxLifetime = 5 * time.Minute // maximum time for which a process uses a server that was replaced
	defaultMaxIdleTime = time.Minute     // shorter than the idle timeouts of servers

	leastConns   = 2 // so that verifies have a connection during a transaction
	mostConns    = 10_000
	leastTime    = time.Second
	mostTime     = 24 * time.Hour
	defaultPort  = "3306"
	poolPrefix   = "pool_"
	maxConnsName = "pool_max_conns"
	lifetimeName = "pool_max_conn_lifetime"
	idleTimeName = "pool_max_conn_idle_time"
)

var errMalformed = errors.New(name + ": the data source name is malformed; " +
	"it must look like user:password@tcp(host:3306)/database or mysql://user:password@host:3306/database")

// parse parses a data source name. It does not return the errors of other parsers, which
// may contain a part of the password. Its own errors contain names of parameters and no
// values.
func parse(dsn string) (settings, error) {
	location, isURL, err := parseURL(dsn)
	if err != nil {
		return settings{}, err
	}
	base, query := "tcp("+address(location)+")/", location.RawQuery
	if !isURL {
		// The driver looks for the last slash too, so a password may contain slashes.
		slash := strings.LastIndexByte(dsn, '/')
		mark := strings.IndexByte(dsn[slash+1:], '?')
		base, query = dsn, ""
		if slash >= 0 && mark >= 0 {
			base, query = dsn[:slash+1+mark], dsn[slash+1+mark+1:]
		}
	}
	parameters, pool, err := cutPool(query)
	if err != nil {
		return settings{}, err
	}
	// The driver must know the host, because with tls=true it verifies the certificate
	// for that host.
	config, err := mysql.ParseDSN(base + "?" + parameters)
	if err != nil {
		return settings{}, errMalformed
	}
	if isURL {
		config.User = location.User.Username()
		config.Passwd, _ = location.User.Password()
		config.DBName = strings.TrimPrefix(location.Path, "/")
	}
	return settings{config, pool}, refuse(config)
}

// parseURL returns an empty URL for a data source name in the driver's form.
func parseURL(dsn string) (location *url.URL, isURL bool, err error) {
	if !strings.HasPrefix(dsn, "mysql://") {
		return &url.URL{}, false, nil
	}
	location, err = url.Parse(dsn)
	if err != nil || location.Hostname() == "" || strings.ContainsAny(location.Host, "()/") {
		return nil, false, errMalformed
	}
	// The driver looks for the last slash, even in a value such as loc=Europe/Rome.
	location.RawQuery = strings.ReplaceAll(location.RawQuery, "/", "%2F")
	return location, true, nil
}

func address(location *url.URL) string {
	port := location.Port()
	if port == "" {
		port = defaultPort
	}
	return net.JoinHostPort(location.Hostname(), port)
}

// cutPool removes the parameters of the pool from a query. The driver would send them to
// the server as system variables.
func cutPool(query string) (rest string, pool poolSettings, err error) {
	pool = poolSettings{defaultMaxConns, defaultMaxLifetime, defaultMaxIdleTime}
	var kept, seen []string
	for parameter := range strings.SplitSeq(query, "&") {
		key, value, _ := strings.Cut(parameter, "=")
		if !strings.HasPrefix(strings.ToLower(key), poolPrefix) {
			if key == "strict" { // the driver would panic
				return "", pool, errors.New(name + ": the parameter strict must not be set: the driver no longer supports it")
			}
			kept = append(kept, parameter)
			continue
		}
		if slices.Contains(seen, key) {
			return "", pool, fmt.Errorf("%s: %s must be set only once", name, key) // one of the three below
		}
		switch key {
		case maxConnsName:
			pool.maxConns, err = strconv.Atoi(value)
			if err != nil || pool.maxConns < leastConns || pool.maxConns > mostConns {
				return "", pool, fmt.Errorf("%s: %s must be a whole number from %d to %d", name, key, leastConns, mostConns)
			}
		case lifetimeName:
			pool.maxLifetime, err = poolTime(key, value)
		case idleTimeName:
			pool.maxIdleTime, err = poolTime(key, value)
		default:
			err = fmt.Errorf("%s: a parameter that begins with %s must be %s, %s or %s",
				name, poolPrefix, maxConnsName, lifetimeName, idleTimeName)
		}
		if err != nil {
			return "", pool, err
		}
		seen = append(seen, key)
	}
	return strings.Join(kept, "&"), pool, nil
}

func poolTime(key, value string) (time.Duration, error) {
	d, err := time.ParseDuration(value)
	if err != nil || d < leastTime || d > mostTime {
		return 0, fmt.Errorf("%s: %s must be a duration from 1s to 24h, such as 90s or 5m", name, key)
	}
	return d, nil
}

// refuse returns an error for settings with which a server, or an attacker between this
// process and the server, could read files or the password. It accepts connections
// without TLS or without a verified certificate, because many networks are private.
func refuse(config *mysql.Config) error {
	not := func(parameter, reason string) error {
		return errors.New(name + ": " + parameter + " must not be set: " + reason)
	}
	switch {
	case config.AllowAllFiles:
		return not("allowAllFiles", "the server could then read every file that this process can read")
	case config.AllowOldPasswords:
		return not("allowOldPasswords", "an attacker could compute the password from the network traffic; give the account a newer kind of password")
	case config.AllowFallbackToPlaintext && config.TLSConfig != "preferred":
		return not("allowFallbackToPlaintext", "an attacker could then switch TLS off; "+
			"use tls=preferred where encryption is optional, or tls=true")
	case config.AllowCleartextPasswords && config.Net != "unix" && !verified(config.TLS):
		return errors.New(name + ": allowCleartextPasswords must be used with tls=true or another TLS configuration that verifies the server, " +
			"because the password is sent in clear text")
	case config.MultiStatements:
		return not("multiStatements", "Keyfold sends one statement at a time")
	}
	return nil
}

func verified(config *tls.Config) bool {
	return config != nil && (!config.InsecureSkipVerify || config.VerifyConnection != nil || config.VerifyPeerCertificate != nil)
}
