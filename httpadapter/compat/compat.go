package compat

import (
	"log/slog"
	"net/http"
	"net/netip"
	"slices"
	"time"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/httpadapter"
	"github.com/keyfold/keyfold/httpadapter/internal/adminsecret"
	"github.com/keyfold/keyfold/httpadapter/internal/failures"
)

// defaultKeyTTL is the predecessor's.
const defaultKeyTTL = 15 * 24 * time.Hour

// Options says who may use the routes and how they are served.
type Options struct {
	// Secret is what callers send in the header "secret-key": at least 32
	// printable ASCII characters, as random as a key. Required.
	Secret string

	// PreviousSecret is accepted beside Secret, so that a secret can be replaced
	// without a moment in which some callers are refused. Default none.
	PreviousSecret string

	// AllowShortSecrets admits secrets from 8 characters on, as the predecessor
	// did. The limit on failures is for one address: whoever has many can guess a
	// short secret. Default off.
	AllowShortSecrets bool

	// KeyTTL is the life of a new key, and of one that is renewed without a date.
	// Default 15 days, whatever keyfold.Options.KeyTTL is: give both the same.
	// [keyfold.Never] for no end.
	KeyTTL time.Duration

	// TrustedProxies are the networks of proxies whose X-Forwarded-For tells the
	// client's address, for the limit on failures and the audit log; see
	// [httpadapter.ClientIP]. Default none. Behind a proxy that is not named here
	// all clients have one address, and any of them can use up the failures of
	// all.
	TrustedProxies []netip.Prefix

	// Logger is told once which password policy is in force, and of requests that
	// failed on this side. Default slog.Default().
	Logger *slog.Logger

	// Now is the clock. Default time.Now.
	Now func() time.Time
}

// handler is the routes on a Service.
type handler struct {
	svc      *keyfold.Service
	log      *slog.Logger
	now      func() time.Time
	keyTTL   time.Duration
	trusted  []netip.Prefix
	secret   *adminsecret.Slots
	failures *failures.Limiter
	routes   map[string]route
}

// route answers a request whose sender has the secret. What it returns instead
// of answering, refuse answers.
type route func(w http.ResponseWriter, r *http.Request, p params) error

// Paths returns the paths that [Handler] answers: "/new", "/revoke", "/renew" and
// "/logs". Under one prefix with the package admin, mount it at these alone:
// none of them is a path of the admin API.
func Paths() []string { return []string{"/new", "/revoke", "/renew", "/logs"} }

// Handler returns the routes on that Service, at its root. Errors: an
// [keyfold.InvalidError] that names the option, and never repeats a secret.
func Handler(svc *keyfold.Service, o Options) (http.Handler, error) {
	if svc == nil {
		return nil, &keyfold.InvalidError{Field: "svc", Allowed: "a Service; keyfold.New makes one"}
	}
	secret, err := adminsecret.New(o.Secret, o.PreviousSecret, o.AllowShortSecrets)
	if err != nil {
		return nil, err
	}
	h := &handler{
		svc: svc, log: o.Logger, now: o.Now, keyTTL: o.KeyTTL, trusted: slices.Clone(o.TrustedProxies), secret: secret,
	}
	if h.log == nil {
		h.log = slog.Default()
	}
	if h.now == nil {
		h.now = time.Now
	}
	if h.keyTTL == 0 {
		h.keyTTL = defaultKeyTTL
	}
	if h.keyTTL != keyfold.Never && (h.keyTTL < time.Second || h.keyTTL > maxKeyTTL) {
		return nil, &keyfold.InvalidError{Field: "Options.KeyTTL", Allowed: "1 s to 100 years, or Never"}
	}
	h.failures = failures.New(h.now)
	h.routes = map[string]route{"/new": h.create, "/revoke": h.revoke, "/renew": h.renew, "/logs": h.logs}
	h.tellPolicy()
	return h, nil
}

const maxKeyTTL = 100 * 365 * 24 * time.Hour // as in keyfold.Options

// ServeHTTP lets a request through one check after the other, in the order of
// the predecessor: route, method, secret, parameters.
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	header := w.Header()
	header.Set("Cache-Control", "no-store")
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Referrer-Policy", "no-referrer")
	header.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")

	if err := h.serve(w, r); err != nil {
		h.refuse(w, r, err)
	}
}

func (h *handler) serve(w http.ResponseWriter, r *http.Request) error {
	answer, ok := h.routes[r.URL.Path]
	if !ok {
		return &refusal{status: http.StatusNotFound, detail: "Not Found"}
	}
	if r.Method != http.MethodGet && r.Method != http.MethodPost {
		w.Header().Set("Allow", "GET, POST")
		return &refusal{status: http.StatusMethodNotAllowed, detail: "Method Not Allowed"}
	}
	address := httpadapter.ClientIP(r.RemoteAddr, r.Header["X-Forwarded-For"], h.trusted...)
	if err := h.admit(r, address); err != nil {
		return err
	}
	p, err := readParams(w, r)
	if err != nil {
		return err
	}
	actor := keyfold.Actor{Name: "admin", RequestID: r.Header.Get("X-Request-Id")}
	if address.IsValid() {
		actor.Address = address.String()
	}
	return answer(w, r.WithContext(keyfold.WithActor(r.Context(), actor)), p)
}

// admit asks for the secret. An address that failed too often is refused
// whatever it sends, so that guessing on is of no use.
func (h *handler) admit(r *http.Request, address netip.Addr) error {
	good := h.secret.Admit(r)
	if wait := h.failures.Attempt(address, good); wait > 0 {
		return &refusal{
			status: http.StatusTooManyRequests, wait: wait,
			detail: "Too many requests without the secret came from this address.",
		}
	}
	switch {
	case good:
		return nil
	case r.Header.Get(adminsecret.Header) == "":
		return &refusal{status: http.StatusForbidden, detail: "secret_key must be passed as a header field"}
	}
	return &refusal{status: http.StatusForbidden, detail: "Wrong secret key. If not set through environment variable " +
		"'FASTAPI_AUTH_SECRET', it was generated automatically at startup and printed there once."}
}
