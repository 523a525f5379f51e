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

// challenge names the header that must hold the secret. RFC 9110 section 11.6.1
// requires a challenge in responses with the status 401.
const challenge = `Secret-Key realm="keyfold admin"`

// projectURL is the contact in the OpenAPI document.
const projectURL = "https://github.com/keyfold/keyfold"

// Options configures [Handler].
type Options struct {
	// Secret is the admin secret, which clients send in the header "secret-key". It
	// must have at least 32 printable ASCII characters and should be random.
	// Required.
	Secret string

	// PreviousSecret is accepted in addition to Secret, so that a secret can be
	// replaced while some clients still send the old one. Its use is logged, once an
	// hour for each address. It must differ from Secret. The default is none.
	PreviousSecret string

	// AllowShortSecrets permits secrets of 8 to 31 characters, for clients whose
	// secret cannot be replaced yet. Such secrets can be guessed. Attempts are
	// therefore limited, and the correct secret is not always accepted: see "Short
	// secrets" in the package documentation. The default is false.
	AllowShortSecrets bool

	// TrustedProxies are the proxies whose X-Forwarded-For header is trusted to
	// contain the client's address. The address is used to count wrong secrets, in
	// the log and in the audit log; see [httpadapter.ClientIP]. The default is none:
	// all clients of a proxy then have the address of that proxy.
	TrustedProxies httpadapter.Proxies

	// HideDocs removes the page at /docs and the document at /openapi.json. The
	// default is false.
	HideDocs bool

	// Logger receives messages about wrong secrets, the use of the previous secret,
	// insecure options and server errors. The default is slog.Default().
	Logger *slog.Logger

	// Now returns the current time. The default is time.Now.
	Now func() time.Time
}

// api is the handler and its state.
type api struct {
	svc     *keyfold.Service
	log     *slog.Logger
	gate    *adminsecret.Gate
	origins *http.CrossOriginProtection
	routes  *http.ServeMux
	inputs  map[string]input // by the pattern of the route
	openAPI http.HandlerFunc // nil if the document and its page are hidden
}

// Handler returns a handler that serves the admin API of svc. It serves the API at
// its root. Use [http.StripPrefix] to mount it under a prefix:
//
//	mux.Handle("/auth/", http.StripPrefix("/auth", handler))
//
// If the rest of the program is public, consider a separate listener. Handler
// returns a [keyfold.InvalidError] that names the invalid option and never repeats
// a secret.
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
		origins: http.NewCrossOriginProtection(), routes: http.NewServeMux(), inputs: map[string]input{},
	}

	humaAPI := humago.New(a.routes, config())
	a.register(humaAPI)
	a.collectParameters(humaAPI.OpenAPI())
	if !o.HideDocs {
		// The schemas of huma's own errors, which replaceHumaErrors replaces.
		delete(humaAPI.OpenAPI().Components.Schemas.Map(), "ErrorModel")
		delete(humaAPI.OpenAPI().Components.Schemas.Map(), "ErrorDetail")
		document, err := json.Marshal(humaAPI.OpenAPI())
		if err != nil {
			return nil, fmt.Errorf("keyfold: describe the admin API: %w", err)
		}
		a.openAPI = docspage.Document(document)
	}
	return a, nil
}

// config configures huma. It turns off huma's documentation page, which loads
// scripts from other hosts, and the links and $schema members that huma adds to
// responses. Package docspage serves the page instead.
func config() huma.Config {
	format := huma.Format{
		Marshal:   encodeJSON,
		Unmarshal: json.Unmarshal,
	}
	c := huma.DefaultConfig("Keyfold admin API", "1")
	c.Info.Description = description
	c.Info.License = &huma.License{Name: "MIT License", Identifier: "MIT"}
	c.Info.Contact = &huma.Contact{Name: "Keyfold", URL: projectURL}
	c.OpenAPIPath, c.DocsPath, c.SchemasPath, c.CreateHooks = "", "", "", nil
	c.Formats = map[string]huma.Format{"application/json": format, "json": format} // "json" stands for every type that ends in +json
	c.DefaultFormat = "application/json"
	c.RejectUnknownQueryParameters = true
	c.Transformers = []huma.Transformer{replaceHumaErrors}
	c.Servers = []*huma.Server{{URL: ".", Description: "The directory of this document"}}
	aliasRecords(c.Components.Schemas)
	c.Components.Responses = failureComponents(c.Components.Schemas)
	c.Components.SecuritySchemes = map[string]*huma.SecurityScheme{
		"secret": {Type: "apiKey", In: "header", Name: "secret-key", Description: "The admin secret of the server."},
	}
	c.Security = []map[string][]string{{"secret": {}}}
	c.Tags = tags()
	return c
}

// ServeHTTP checks the request and passes it to its route.
func (a *api) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.gate.SetHeaders(w.Header())
	if a.serveDocs(w, r) {
		return
	}
	admitted, outcome, wait := a.gate.Check(r)
	if p := refusalOf(outcome, wait); p != nil {
		p.write(w)
		return
	}
	r = admitted
	if err := a.origins.Check(r); err != nil {
		crossOrigin().write(w)
		return
	}
	pattern, p := a.findRoute(r)
	if p != nil {
		p.write(w)
		return
	}
	in := a.inputs[pattern]
	if p := checkQuery(r.URL.RawQuery, in.parameters); p != nil {
		p.write(w)
		return
	}
	if r, p = withBody(w, r, in); p != nil {
		p.write(w)
		return
	}
	a.routes.ServeHTTP(w, r)
}

// serveDocs answers requests for the OpenAPI document and the page that shows it,
// and reports whether r was such a request. Neither requires the secret, because a
// browser can send it only after it has been typed into the page.
func (a *api) serveDocs(w http.ResponseWriter, r *http.Request) bool {
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

// refusalOf returns the response to a request without the correct secret, and nil
// for the correct one. A missing secret and a wrong one get the same response.
func refusalOf(outcome adminsecret.Outcome, wait time.Duration) *problem {
	switch outcome {
	case adminsecret.Right:
		return nil
	case adminsecret.Limited:
		p := newProblem(http.StatusTooManyRequests, "too_many_failures", "Too many wrong admin secrets came from this address. Try again later.")
		p.RetryAfter = wait
		return p
	}
	p := newProblem(http.StatusUnauthorized, "invalid_secret", "Send the admin secret in the header secret-key.")
	p.Challenge = challenge
	return p
}

// findRoute returns the pattern of the route of r, or the response if no route
// matches. A path that is not clean never matches: the mux would redirect it, and
// leave out the prefix that the handler is mounted under.
func (a *api) findRoute(r *http.Request) (pattern string, refused *problem) {
	notFound := newProblem(http.StatusNotFound, "not_found", "This path does not exist.")
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
		p := newProblem(http.StatusMethodNotAllowed, "method_not_allowed", "This path supports "+allow+".")
		p.Allow = allow
		return "", p
	}
	return "", notFound
}

// headerOnly is a response that keeps only the header.
type headerOnly struct{ header http.Header }

func (h *headerOnly) Header() http.Header         { return h.header }
func (h *headerOnly) Write(b []byte) (int, error) { return len(b), nil }
func (h *headerOnly) WriteHeader(int)             {}
