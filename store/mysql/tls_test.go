package mysql_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	driver "github.com/go-sql-driver/mysql"

	"github.com/keyfold/keyfold/internal/testdb"
	"github.com/keyfold/keyfold/store/mysql"
)

// certificates creates an authority and a server certificate with these names. It returns
// the files of the server and a pool with the authority.
func certificates(t *testing.T, names []string, addresses []net.IP) (certificate, key string, roots *x509.CertPool) {
	t.Helper()
	dir := t.TempDir()
	for _, path := range []string{dir, filepath.Dir(dir)} { // the server runs as another user
		if err := os.Chmod(path, 0o711); err != nil {
			t.Fatal(err)
		}
	}
	newKey := func() *ecdsa.PrivateKey {
		made, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		return made
	}
	authorityKey, serverKey := newKey(), newKey()
	authority := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority of a test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	server := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "server of a test"},
		NotBefore: authority.NotBefore, NotAfter: authority.NotAfter, DNSNames: names, IPAddresses: addresses,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	signed, err := x509.CreateCertificate(rand.Reader, server, authority, &serverKey.PublicKey, authorityKey)
	if err != nil {
		t.Fatal(err)
	}
	root, err := x509.CreateCertificate(rand.Reader, authority, authority, &authorityKey.PublicKey, authorityKey)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(serverKey)
	if err != nil {
		t.Fatal(err)
	}
	roots = x509.NewCertPool()
	parsed, err := x509.ParseCertificate(root)
	if err != nil {
		t.Fatal(err)
	}
	roots.AddCert(parsed)
	write := func(name, kind string, content []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: content}), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	return write("server.pem", "CERTIFICATE", signed), write("server.key", "PRIVATE KEY", private), roots
}

// The certificate is not valid for 127.0.0.1. Mutation tried: a URL that is parsed
// without its host, so that the driver verifies 127.0.0.1 for every host.
func TestTLSVerifiesTheHostOfTheDataSourceName(t *testing.T) {
	t.Parallel()
	certificate, key, roots := certificates(t, []string{"localhost"}, []net.IP{net.IPv6loopback})
	config := testdb.PrivateMariaDB(t, "--ssl-cert="+certificate, "--ssl-key="+key, "--bind-address=*")
	_, port, err := net.SplitHostPort(config.Addr)
	if err != nil {
		t.Fatal(err)
	}
	pool := pool(t, config.FormatDSN(), nil)
	if _, err := pool.ExecContext(t.Context(), "CREATE DATABASE app"); err != nil {
		t.Fatal(err)
	}
	const custom = "authority-of-the-test"
	if err := driver.RegisterTLSConfig(custom, &tls.Config{RootCAs: roots}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { driver.DeregisterTLSConfig(custom) })
	for _, test := range []struct {
		host, tls string
		fault     string // part of the error; empty if the connection succeeds
	}{
		{"localhost", custom, ""},
		{"127.0.0.1", custom, "certificate"},
		{"[::1]", custom, ""},
		{"localhost", "true", "certificate"}, // from an authority that the system does not trust
		{"127.0.0.1", "skip-verify", ""},
		{"127.0.0.1", "preferred", ""},
	} {
		for _, dsn := range []string{
			"mysql://root@" + test.host + ":" + port + "/app?tls=" + test.tls,
			"root@tcp(" + test.host + ":" + port + ")/app?tls=" + test.tls,
		} {
			store, err := mysql.Open(t.Context(), dsn)
			switch {
			case err != nil && (test.fault == "" || !strings.Contains(err.Error(), test.fault)):
				t.Errorf("%s: %v", dsn, err)
			case err == nil && test.fault != "":
				t.Errorf("%s: connected, want an error about the certificate", dsn)
			}
			if err != nil {
				continue
			}
			var name, cipher string
			if err := store.DB().QueryRowContext(t.Context(), "SHOW SESSION STATUS LIKE 'Ssl_cipher'").Scan(&name, &cipher); err != nil || cipher == "" {
				t.Errorf("%s: the connection is not encrypted (%v)", dsn, err)
			}
			_ = store.Close()
		}
	}
}
