package httpadapter_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/httpadapter"
)

// Mutations tried: no check of the width; a check of each network separately; no check
// of the parts of IPv6 that represent IPv4.
func TestProxiesThatHoldHalfOfAllAddressesAreRefused(t *testing.T) {
	t.Parallel()
	for _, list := range []string{
		"0.0.0.0/0", "0.0.0.0/1", "128.0.0.0/1", "::/0", "::/1", "8000::/1", "2000::/3", "2000::/4", "3000::/4",
		"10.0.0.0/8, 0.0.0.0/0", "unix 0.0.0.0/0",
		"0.0.0.0/2 64.0.0.0/2", "0.0.0.0/2, 64.0.0.0/3, 96.0.0.0/3", "0.0.0.0/2,64.0.0.0/2,128.0.0.0/2,192.0.0.0/2",
		"2000::/5 2800::/5", "::ffff:0:0/96", "::ffff:0:0/95", "::fffe:0:0/95", "::/80", "::/16", "64:ff9b::/96", "64:ff9b::/97", "2002::/16", "2002::/17",
	} {
		t.Run(list, func(t *testing.T) {
			got, err := httpadapter.ParseProxies(list)
			if !errors.Is(err, keyfold.ErrInvalid) || !got.IsZero() {
				t.Errorf("%s: %v, %v; want it refused", list, got, err)
			}
		})
	}
	for _, list := range []string{
		"", " , ", "10.0.0.0/8", "0.0.0.0/2", "0.0.0.0/2, 64.0.0.0/3, 64.0.0.0/4, 64.0.0.0/3", "2001:db8::/32, fd00::/8", "2800::/5", "fc00::/7", "unix", "::1/128 127.0.0.0/8",
	} {
		t.Run(list, func(t *testing.T) {
			if _, err := httpadapter.ParseProxies(list); err != nil {
				t.Errorf("%q: %v, want it taken", list, err)
			}
		})
	}
}

func TestProxiesAreReadStrictly(t *testing.T) {
	t.Parallel()
	const junk = "hunter-two"
	for _, list := range []string{
		junk, "10.0.0.1", "10.0.0.1/8", "10.0.0.0/33", "10.0.0.0/8 " + junk, "::ffff:10.0.0.0/104", "fe80::%eth0/64", "Unix", "unix:/run/x", "10.0.0.0/8;unix",
	} {
		t.Run(list, func(t *testing.T) {
			_, err := httpadapter.ParseProxies(list)
			invalid, ok := errors.AsType[*keyfold.InvalidError](err)
			if !ok || invalid.Field != "proxies" || strings.Contains(err.Error(), junk) {
				t.Errorf("%q: %v, want an InvalidError that does not repeat it", list, err)
			}
		})
	}
	got := proxies(t, "2001:db8::/32\tunix,10.0.0.0/8")
	text, err := json.Marshal(struct{ Proxies httpadapter.Proxies }{got})
	if want := `{"Proxies":"2001:db8::/32, 10.0.0.0/8, unix"}`; string(text) != want || err != nil {
		t.Errorf("as JSON: %s, %v; want %s", text, err, want)
	}
	var back struct{ Proxies httpadapter.Proxies }
	if err := json.Unmarshal(text, &back); err != nil || back.Proxies.String() != got.String() {
		t.Errorf("from JSON: %v, %v; want %v", back.Proxies, err, got)
	}
	if err := json.Unmarshal([]byte(`{"Proxies":"0.0.0.0/0"}`), &back); !errors.Is(err, keyfold.ErrInvalid) {
		t.Errorf("0.0.0.0/0 from JSON: %v, want ErrInvalid", err)
	}
}

func TestWideProxiesAreWarnedOf(t *testing.T) {
	t.Parallel()
	for list, want := range map[string]int{
		"":                                   0,
		"10.0.0.0/8, 192.0.2.0/24, unix":     0,
		"10.0.0.0/7":                         1,
		"0.0.0.0/2, 10.0.0.0/8":              1,
		"2001::/16, fc00::/7, fe80::/10":     0,
		"2600::/12, 2a00::/15, 2a02::/16":    2,
		"fc00::/6":                           1,
		"12.0.0.0/6, 2a00::/15, ::1/128":     2,
		"127.0.0.0/8, ::1/128, fd00:1::/128": 0,
	} {
		t.Run(list, func(t *testing.T) {
			if got := proxies(t, list).Warnings(); len(got) != want {
				t.Errorf("%s: %q, want %d warnings", list, got, want)
			}
		})
	}
}

// This test is not parallel, because it replaces slog.Default().
func TestMiddlewareWarnsOfWideProxiesOnce(t *testing.T) {
	var log bytes.Buffer
	before := slog.Default()
	slog.SetDefault(slog.New(slog.NewTextHandler(&log, nil)))
	defer slog.SetDefault(before)
	svc := newService(t, nil)
	for range 3 {
		httpadapter.RequireKey(svc, httpadapter.TrustedProxies(proxies(t, "10.0.0.0/7")))
	}
	if got := strings.Count(log.String(), "10.0.0.0/7"); got != 1 {
		t.Errorf("%d warnings, want one: %s", got, &log)
	}
	httpadapter.RequireKey(&spy{}, httpadapter.TrustedProxies(proxies(t, "12.0.0.0/7")))
	if !strings.Contains(log.String(), "12.0.0.0/7") {
		t.Errorf("no warning for a Verifier of the host's own: %s", &log)
	}
	guard := httpadapter.NewGuard(&spy{}, httpadapter.TrustedProxies(proxies(t, "14.0.0.0/7")))
	guard.RequireKey()
	guard.OptionalKey(httpadapter.TrustedProxies(proxies(t, "16.0.0.0/7")))
	if got := strings.Count(log.String(), "14.0.0.0/7"); got != 1 || strings.Contains(log.String(), "16.0.0.0/7") {
		t.Errorf("%d warnings of a Guard, want one: %s", got, &log)
	}
}

// serveUnix starts a server on a Unix socket and returns a client for it.
func serveUnix(t *testing.T, h http.Handler) *http.Client {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	server := &httptest.Server{Listener: listener, Config: &http.Server{Handler: h}}
	server.Start()
	t.Cleanup(server.Close)
	return &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", path)
		},
	}}
}

// Mutation tried: trustPeer that reads every peer as an address.
func TestProxyOnAUnixSocketIsTrustedWhenItIsNamed(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name    string
		proxies httpadapter.Proxies
		want    netip.Addr
	}{
		{"not named", proxies(t, "10.0.0.0/8"), netip.Addr{}},
		{"named", proxies(t, "unix"), netip.MustParseAddr("203.0.113.9")},
	} {
		t.Run(row.name, func(t *testing.T) {
			verifier := &spy{id: somebody(t)}
			guarded := httpadapter.RequireKey(verifier, httpadapter.TrustedProxies(row.proxies))(http.HandlerFunc(
				func(w http.ResponseWriter, r *http.Request) {
					_, _ = io.WriteString(w, row.proxies.ClientIP(r).String())
				}))
			client := serveUnix(t, guarded)
			r, err := http.NewRequestWithContext(t.Context(), "GET", "http://unix/", nil)
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("X-Forwarded-For", "127.0.0.1, 203.0.113.9")
			response, err := client.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			body, _ := io.ReadAll(response.Body)
			response.Body.Close()
			if got := verifier.seen[0].IP; got != row.want || string(body) != row.want.String() {
				t.Errorf("%s: the guard saw %v and the handler %s, want %v", row.name, got, body, row.want)
			}
		})
	}
}

// A client of a Unix socket chooses the name of its end, which the server sees as
// RemoteAddr. Mutation tried: ClientIP that reads RemoteAddr.
func TestUnixPeerNameIsNotAnAddress(t *testing.T) {
	t.Parallel()
	r := httptest.NewRequest("GET", "/", nil)
	r.RemoteAddr = "127.0.0.1:80" // a path relative to the working directory
	r = r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, net.Addr(&net.UnixAddr{Name: "/run/app.sock", Net: "unix"})))
	if got := (httpadapter.Proxies{}).ClientIP(r); got.IsValid() {
		t.Errorf("got %v, want an unknown address", got)
	}
}
