package admin

import (
	"context"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"
)

// bodyRule says whether a route takes a body.
type bodyRule int

const (
	noBody bodyRule = iota
	bodyOptional
	bodyRequired
)

// route is what differs between the routes that change something.
type route struct {
	method, path, id, summary string
	status                    int
	body                      bodyRule
}

// routes is where routes are added to.
type routes struct {
	api  *api
	huma huma.API
}

func (a *api) register(described huma.API) {
	r := &routes{api: a, huma: described}
	a.keyRoutes(r)
	a.lifecycleRoutes(r)
	a.userRoutes(r)
	a.oneTimeRoutes(r)
	a.usageRoutes(r)
	a.auditRoutes(r)
}

// addRead adds a GET route.
func addRead[I, O any](r *routes, path, id, summary, description string, handle func(context.Context, *I) (*O, error)) {
	op := r.operation(route{http.MethodGet, path, id, summary, http.StatusOK, noBody}, description)
	huma.Register(r.huma, op, func(ctx context.Context, in *I) (*O, error) {
		out, err := handle(ctx, in)
		if err != nil {
			return nil, r.api.refuse(ctx, err)
		}
		return out, nil
	})
}

// add adds a route that changes something. Its body B is described to huma and
// read by decodeBody, because huma takes unknown, doubled and differently
// spelled names, and sends refused values back.
func add[I, B, O any](r *routes, rt route, description string, handle func(context.Context, *I, *B) (*O, error)) {
	op := r.operation(rt, description)
	op.SkipValidateBody = true
	r.api.accepts[rt.method+" "+rt.path] = accepted{needsBody: rt.body == bodyRequired, members: membersOf(reflect.TypeFor[B]())}
	if rt.body != noBody {
		op.RequestBody = &huma.RequestBody{
			Required: rt.body == bodyRequired,
			Content: map[string]*huma.MediaType{
				"application/json": {
					Schema:  r.huma.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[B](), true, rt.id),
					Example: exampleBody(rt.id),
				},
			},
		}
	}
	huma.Register(r.huma, op, func(ctx context.Context, in *I) (*O, error) {
		var body B
		err := decodeBody(ctx, &body)
		if err != nil {
			return nil, r.api.refuse(ctx, err)
		}
		out, err := handle(ctx, in, &body)
		if err != nil {
			return nil, r.api.refuse(ctx, err)
		}
		return out, nil
	})
}

// operation describes a route and how it can fail.
func (r *routes) operation(rt route, description string) huma.Operation {
	failures := []int{http.StatusUnauthorized, http.StatusUnprocessableEntity, http.StatusTooManyRequests, http.StatusServiceUnavailable}
	if rt.method != http.MethodGet {
		failures = append(failures, http.StatusBadRequest, http.StatusForbidden, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType)
	}
	failures = append(failures, rt.ownFailures()...)
	op := huma.Operation{
		Method: rt.method, Path: rt.path, OperationID: rt.id, Summary: rt.summary, Description: description,
		DefaultStatus: rt.status, Responses: map[string]*huma.Response{}, Tags: tagsOf(rt.path),
	}
	schema := r.huma.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[problem](), true, "Problem")
	for _, status := range failures {
		op.Responses[strconv.Itoa(status)] = &huma.Response{
			Description: describeStatus(status),
			Content:     map[string]*huma.MediaType{problemType: {Schema: schema}},
		}
	}
	return op
}

// describeStatus says when a route answers with a status of failure, where the
// status alone does not.
func describeStatus(status int) string {
	if status == http.StatusTooManyRequests {
		return "More than ten wrong secrets in a minute came from this address, which must wait for the time in Retry-After. The right secret always passes, " +
			"unless it has fewer than 32 characters: such secrets are compared at most ten times a second for new addresses."
	}
	return http.StatusText(status)
}

// ownFailures are the statuses that not every route can answer with.
func (rt route) ownFailures() []int {
	var statuses []int
	if strings.Contains(rt.path, "/{id}") {
		statuses = append(statuses, http.StatusNotFound)
	}
	switch rt.id {
	case "update-key", "update-user":
		return append(statuses, http.StatusConflict, http.StatusPreconditionFailed, http.StatusPreconditionRequired)
	case "disable-key", "enable-key", "renew-key", "rotate-key", "create-user", "create-one-time-token", "use-change-email":
		return append(statuses, http.StatusConflict)
	case sendRoute:
		return append(statuses, http.StatusNotImplemented)
	}
	return statuses
}

// accepted is what a route takes. Names outside these lists were chosen by the
// client and may be a token that was pasted into the wrong place: no answer
// repeats them.
type accepted struct {
	parameters []string // of the query
	needsBody  bool
	members    []string // of the body
}

// learnParameters takes over the parameters that huma found in the inputs of the
// routes.
func (a *api) learnParameters(document *huma.OpenAPI) {
	for path, item := range document.Paths {
		for _, op := range [...]*huma.Operation{item.Get, item.Post, item.Patch, item.Delete} {
			if op == nil {
				continue
			}
			pattern := op.Method + " " + path
			route := a.accepts[pattern]
			for _, parameter := range op.Parameters {
				if parameter.In == "query" {
					route.parameters = append(route.parameters, parameter.Name)
				}
			}
			a.accepts[pattern] = route
		}
	}
}

// checkQuery refuses unknown parameters, and a query that readers could take in
// different ways.
func checkQuery(raw string, parameters []string) *problem {
	query, err := url.ParseQuery(raw)
	if err != nil {
		return newProblem(http.StatusBadRequest, "malformed_query", "The query is not well formed.")
	}
	for name := range query {
		if !slices.Contains(parameters, name) {
			return invalidProblem("query", onlyThese("parameters", parameters))
		}
	}
	for name, values := range query {
		if len(values) > 1 && name != "outcome" {
			return invalidProblem(name, "must be given once")
		}
		if name == "limit" && strings.Trim(values[0], "0123456789") != "" {
			return invalidProblem(name, "must be a whole number in digits")
		}
		if name != "cursor" && slices.Contains(values, "") {
			return invalidProblem(name, "must not be empty; omit the parameter to list everything")
		}
	}
	return nil
}

// onlyThese says which names are taken.
func onlyThese(kind string, names []string) string {
	if len(names) == 0 {
		return "must have no " + kind
	}
	return "must have no " + kind + " other than " + strings.Join(slices.Sorted(slices.Values(names)), ", ")
}
