package compat

import (
	"log/slog"
	"net/http"
	"time"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/httpadapter"
	"github.com/keyfold/keyfold/httpadapter/internal/adminsecret"
)

// defaultKeyTTL is the predecessor's.
const defaultKeyTTL = 15 * 24 * time.Hour

// Options says who may use the routes and how they are served.
type Options struct {
	// Secret is what callers send in the header "secret-key": at least 32
	// printable ASCII characters, as random as a key. Required.
	Secret string

	// PreviousSecret is accepted in addition to Secret, so that a secret can be
	// replaced without refusing callers that still have the old one. Its use is
	// logged, once an hour for each address. It must differ from Secret. Default
	// none.
	PreviousSecret string

	// AllowShortSecrets admits secrets of 8 to 31 characters, as the
	// predecessor did. Such secrets can be guessed, and so the right one does not
	// always pass: see "Short secrets" in the documentation of the package admin.
	// Default off.
	AllowShortSecrets bool

	// KeyTTL is the life of a new key, and of one that is renewed without a date.
	// Default 15 days, whatever keyfold.Options.KeyTTL is: give both the same.
	// [keyfold.Never] for no end.
	KeyTTL time.Duration

	// TrustedProxies are the proxies whose X-Forwarded-For header tells the
	// client's address, for the count of wrong secrets, the log and the audit log;
	// see [httpadapter.ClientIP]. Default none: all clients of a proxy then have
	// the address of that proxy.
	TrustedProxies httpadapter.Proxies

	// Logger is told once which password policy is in force, of wrong secrets, of
	// the use of the previous one, of weak options, and of requests that failed on
	// this side. Default slog.Default().
	Logger *slog.Logger

	// Now is the clock. Default time.Now.
	Now func() time.Time
}

// handler is the routes on a Service.
type handler struct {
	svc    *keyfold.Service
	gate   *adminsecret.Gate
	keyTTL time.Duration
	routes map[string]route
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
	gate, err := adminsecret.New(svc, adminsecret.Options{
		Secret: o.Secret, PreviousSecret: o.PreviousSecret, AllowShortSecrets: o.AllowShortSecrets,
		TrustedProxies: o.TrustedProxies, Logger: o.Logger, Now: o.Now,
	})
	if err != nil {
		return nil, err
	}
	h := &handler{svc: svc, gate: gate, keyTTL: o.KeyTTL}
	if h.keyTTL == 0 {
		h.keyTTL = defaultKeyTTL
	}
	if h.keyTTL != keyfold.Never && (h.keyTTL < time.Second || h.keyTTL > maxKeyTTL) {
		return nil, &keyfold.InvalidError{Field: "Options.KeyTTL", Reason: "must be between 1 s and 100 years, or Never"}
	}
	h.routes = map[string]route{"/new": h.create, "/revoke": h.revoke, "/renew": h.renew, "/logs": h.logs}
	h.tellPolicy()
	return h, nil
}

const maxKeyTTL = 100 * 365 * 24 * time.Hour // as in keyfold.Options

// ServeHTTP lets a request through one check after the other, in the order of
// the predecessor: route, method, secret, parameters.
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h.gate.SetHeaders(w.Header())
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
	admitted, outcome, wait := h.gate.Check(r)
	if outcome != adminsecret.Right {
		return secretRefusal(outcome, wait)
	}
	p, err := readParams(w, admitted)
	if err != nil {
		return err
	}
	return answer(w, admitted, p)
}

// secretRefusal is the answer to a request without the right secret.
func secretRefusal(outcome adminsecret.Outcome, wait time.Duration) *refusal {
	switch outcome {
	case adminsecret.Limited:
		return &refusal{
			status: http.StatusTooManyRequests, wait: wait,
			detail: "Too many wrong secrets were sent. Wait, then try again.",
		}
	case adminsecret.Missing:
		return &refusal{status: http.StatusForbidden, detail: "secret_key must be passed as a header field"}
	}
	return &refusal{status: http.StatusForbidden, detail: "Wrong secret key. If not set through environment variable " +
		"'FASTAPI_AUTH_SECRET', it was generated automatically at startup and printed there once."}
}
