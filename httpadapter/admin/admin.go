package admin

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"path"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/httpadapter"
	"github.com/keyfold/keyfold/httpadapter/admin/internal/docspage"
	"github.com/keyfold/keyfold/httpadapter/internal/adminsecret"
)

// challenge names the header to send, as RFC 9110 section 11.6.1 asks of a 401.
const challenge = `Secret-Key realm="keyfold admin"`

// Options says who may use the API and how it is served.
type Options struct {
	// Secret is what callers send in the header "secret-key": at least 32
	// printable ASCII characters, as random as a key. Required.
	Secret string

	// PreviousSecret is accepted in addition to Secret, so that a secret can be
	// replaced without refusing callers that still have the old one. Its use is
	// logged, once an hour for each address. It must differ from Secret. Default
	// none.
	PreviousSecret string

	// AllowShortSecrets admits secrets of 8 to 31 characters, for callers that
	// cannot be given another one at once. Such secrets can be guessed, and so the
	// right one does not always pass: see "Short secrets" in the package
	// documentation. Default off.
	AllowShortSecrets bool

	// TrustedProxies are the proxies whose X-Forwarded-For header tells the
	// client's address, for the count of wrong secrets, the log and the audit log;
	// see [httpadapter.ClientIP]. Default none: all clients of a proxy then have
	// the address of that proxy.
	TrustedProxies httpadapter.Proxies

	// HideDocs removes the page at /docs and the document at /openapi.json.
	HideDocs bool

	// Logger is told of wrong secrets, of the use of the previous one, of weak
	// options, and of requests that failed on this side. Default slog.Default().
	Logger *slog.Logger

	// Now is the clock. Default time.Now.
	Now func() time.Time
}

// api is the state behind a handler.
type api struct {
	svc     *keyfold.Service
	log     *slog.Logger
	gate    *adminsecret.Gate
	origins *http.CrossOriginProtection
	routes  *http.ServeMux
	accepts map[string]accepted // by the pattern of the route
	openAPI http.HandlerFunc    // nil when it and its page are hidden
}

// Handler returns the API on that Service. It answers at its root: mount it
// under a prefix with [http.StripPrefix],
//
//	mux.Handle("/auth/", http.StripPrefix("/auth", handler))
//
// on a listener of its own if the rest of the program is public. Errors: an
// [keyfold.InvalidError] that names the option, and never repeats a secret.
func Handler(svc *keyfold.Service, o Options) (http.Handler, error) {
	gate, err := adminsecret.New(svc, adminsecret.Options{
		Secret: o.Secret, PreviousSecret: o.PreviousSecret, AllowShortSecrets: o.AllowShortSecrets,
		TrustedProxies: o.TrustedProxies, Logger: o.Logger, Now: o.Now,
	})
	if err != nil {
		return nil, err
	}
	a := &api{
		svc: svc, log: gate.Logger(), gate: gate,
		origins: http.NewCrossOriginProtection(), routes: http.NewServeMux(), accepts: map[string]accepted{},
	}

	described := humago.New(a.routes, config())
	a.register(described)
	a.learnParameters(described.OpenAPI())
	if !o.HideDocs {
		// The schemas of huma's own errors, which ownProblems replaces.
		delete(described.OpenAPI().Components.Schemas.Map(), "ErrorModel")
		delete(described.OpenAPI().Components.Schemas.Map(), "ErrorDetail")
		document, err := json.Marshal(described.OpenAPI())
		if err != nil {
			return nil, fmt.Errorf("keyfold: describe the admin API: %w", err)
		}
		a.openAPI = docspage.Document(document)
	}
	return a, nil
}

// config is huma without its documentation page, which loads scripts from
// elsewhere (docspage is in its place), and without the links and $schema members that it adds to answers.
func config() huma.Config {
	format := huma.Format{
		Marshal:   encodeJSON,
		Unmarshal: json.Unmarshal,
	}
	c := huma.DefaultConfig("Keyfold admin API", "1")
	c.Info.Description = description
	c.OpenAPIPath, c.DocsPath, c.SchemasPath, c.CreateHooks = "", "", "", nil
	c.Formats = map[string]huma.Format{"application/json": format, "json": format} // "json" is every type that ends in +json
	c.DefaultFormat = "application/json"
	c.RejectUnknownQueryParameters = true
	c.Transformers = []huma.Transformer{ownProblems}
	c.Servers = []*huma.Server{{URL: ".", Description: "Where this document is"}}
	aliasRecords(c.Components.Schemas)
	c.Components.SecuritySchemes = map[string]*huma.SecurityScheme{
		"secret": {Type: "apiKey", In: "header", Name: "secret-key", Description: "The admin secret"},
	}
	c.Security = []map[string][]string{{"secret": {}}}
	c.Tags = tags()
	return c
}

// ServeHTTP lets a request through one check after the other.
func (a *api) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.gate.SetHeaders(w.Header())
	if a.document(w, r) {
		return
	}
	admitted, outcome, wait := a.gate.Check(r)
	if p := refusalOf(outcome, wait); p != nil {
		p.write(w)
		return
	}
	r = admitted
	if err := a.origins.Check(r); err != nil {
		newProblem(http.StatusForbidden, "cross_origin", "A browser sent this from another origin.").write(w)
		return
	}
	pattern, p := a.findRoute(r)
	if p != nil {
		p.write(w)
		return
	}
	accepted := a.accepts[pattern]
	if p := checkQuery(r.URL.RawQuery, accepted.parameters); p != nil {
		p.write(w)
		return
	}
	if r, p = withBody(w, r, accepted); p != nil {
		p.write(w)
		return
	}
	a.routes.ServeHTTP(w, r)
}

// document answers with the description of this API, or with the page that shows
// it, if that is what is asked for. Neither needs the secret: a browser has none
// to send before there is a page to type it into.
func (a *api) document(w http.ResponseWriter, r *http.Request) bool {
	if a.openAPI == nil || r.Method != http.MethodGet && r.Method != http.MethodHead {
		return false
	}
	switch r.URL.Path {
	case "/docs":
		docspage.Serve(w, r)
	case "/openapi.json":
		a.openAPI(w, r)
	default:
		return false
	}
	return true
}

// refusalOf is the answer to a request without the right secret. A missing secret
// and a wrong one get the same answer.
func refusalOf(outcome adminsecret.Outcome, wait time.Duration) *problem {
	switch outcome {
	case adminsecret.Right:
		return nil
	case adminsecret.Limited:
		p := newProblem(http.StatusTooManyRequests, "too_many_failures", "Too many wrong secrets were sent. Wait, then try again.")
		p.RetryAfter = wait
		return p
	}
	p := newProblem(http.StatusUnauthorized, "invalid_secret", "Send the admin secret in the header secret-key.")
	p.Challenge = challenge
	return p
}

// findRoute returns the pattern of a route, or the answer to what is none. A path that is not clean is no
// route: the mux would redirect it, without the prefix it is mounted under.
func (a *api) findRoute(r *http.Request) (pattern string, refused *problem) {
	notFound := newProblem(http.StatusNotFound, "not_found", "There is no such route.")
	if escaped := r.URL.EscapedPath(); !strings.HasPrefix(escaped, "/") || path.Clean(escaped) != escaped {
		return "", notFound
	}
	handler, pattern := a.routes.Handler(r)
	if pattern != "" {
		return pattern, nil
	}
	refusal := &headerOnly{header: http.Header{}}
	handler.ServeHTTP(refusal, r)
	if allow := refusal.header.Get("Allow"); allow != "" {
		p := newProblem(http.StatusMethodNotAllowed, "method_not_allowed", "This route takes "+allow+".")
		p.Allow = allow
		return "", p
	}
	return "", notFound
}

// headerOnly is a response of which only the header is of interest.
type headerOnly struct{ header http.Header }

func (h *headerOnly) Header() http.Header         { return h.header }
func (h *headerOnly) Write(b []byte) (int, error) { return len(b), nil }
func (h *headerOnly) WriteHeader(int)             {}
