package compat

import (
	"log/slog"
	"net/http"
	"time"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/httpadapter"
	"github.com/keyfold/keyfold/httpadapter/internal/adminsecret"
)

// defaultKeyTTL is the default of the predecessor.
const defaultKeyTTL = 15 * 24 * time.Hour

// Options are the options of [Handler].
type Options struct {
	// Secret is the admin secret, which callers send in the header "secret-key". It is
	// required, must have 32 to 512 printable ASCII characters, and should be random.
	Secret string

	// PreviousSecret is accepted in addition to Secret, so that you can replace a secret
	// without refusing callers that still send the old one. Its use is logged once an
	// hour for each address. It must differ from Secret. The default is none.
	PreviousSecret string

	// AllowShortSecrets allows secrets of 8 to 31 characters, as the predecessor did.
	// Such a secret can be guessed. To slow guesses down, the right secret does not
	// always pass: see "Short secrets" in the package admin. The default is false.
	AllowShortSecrets bool

	// KeyTTL is the lifetime of a new key, and of a key that is renewed without a date. It
	// must be between 1 s and 100 years, or [keyfold.Never] for keys that do not expire.
	// The default is 15 days and does not depend on keyfold.Options.KeyTTL: set both to
	// the same value.
	KeyTTL time.Duration

	// TrustedProxies are the proxies whose X-Forwarded-For header is trusted for the
	// address of the client, see [httpadapter.ClientIP]. The address is used to count
	// wrong secrets, in the log and in the audit log. The default is none: all clients
	// behind a proxy then have the address of the proxy.
	TrustedProxies httpadapter.Proxies

	// Logger receives a line about the password policy at start, warnings about weak
	// options, wrong secrets and the use of the previous secret, and errors of requests
	// that the server could not answer. The default is slog.Default().
	Logger *slog.Logger

	// Now is the clock. The default is time.Now.
	Now func() time.Time
}

// handler serves the routes of a Service.
type handler struct {
	svc    *keyfold.Service
	gate   *adminsecret.Gate
	keyTTL time.Duration
	routes map[string]route
}

// route answers a request that has the secret. If it returns an error, it has not
// answered, and refuse does.
type route func(w http.ResponseWriter, r *http.Request, p params) error

// Paths returns the paths that [Handler] answers: "/new", "/revoke", "/renew" and "/logs".
// None of them is a path of the admin API, so both can have the same prefix: mount this
// handler at these paths only.
func Paths() []string { return []string{"/new", "/revoke", "/renew", "/logs"} }

// Handler returns a handler that serves the routes of this Service at its root. The error
// is a [keyfold.InvalidError] that names the option and does not repeat a secret.
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
	h.logPolicy()
	return h, nil
}

const maxKeyTTL = 100 * 365 * 24 * time.Hour // as in keyfold.Options

// ServeHTTP checks a request in the order of the predecessor: route, method, secret,
// parameters.
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

// secretRefusal returns the answer to a request without the right secret.
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
