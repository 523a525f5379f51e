package admin

import (
	"context"
	"net/http"
	"net/url"
	"reflect"
	"strconv"

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
	a.usageRoutes(r)
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
	if rt.body != noBody {
		op.RequestBody = &huma.RequestBody{
			Required: rt.body == bodyRequired,
			Content: map[string]*huma.MediaType{
				"application/json": {Schema: r.huma.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[B](), true, rt.id)},
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
	if rt.onKey() {
		failures = append(failures, http.StatusNotFound)
		if rt.method != http.MethodGet && rt.method != http.MethodDelete && rt.id != "revoke-key" {
			failures = append(failures, http.StatusConflict)
		}
	}
	if rt.method == http.MethodPatch {
		failures = append(failures, http.StatusPreconditionFailed, http.StatusPreconditionRequired)
	}
	op := huma.Operation{
		Method: rt.method, Path: rt.path, OperationID: rt.id, Summary: rt.summary, Description: description,
		DefaultStatus: rt.status, Responses: map[string]*huma.Response{},
	}
	schema := r.huma.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[problem](), true, "Problem")
	for _, status := range failures {
		op.Responses[strconv.Itoa(status)] = &huma.Response{
			Description: http.StatusText(status),
			Content:     map[string]*huma.MediaType{problemType: {Schema: schema}},
		}
	}
	return op
}

// onKey reports whether the route's path names a key.
func (rt route) onKey() bool {
	return len(rt.path) > len("/keys/{") && rt.path[:len("/keys/{")] == "/keys/{"
}

// checkQuery refuses a query that readers could take in different ways.
func checkQuery(raw string) *problem {
	query, err := url.ParseQuery(raw)
	if err != nil {
		return newProblem(http.StatusBadRequest, "malformed_query", "The query is not well formed.")
	}
	for name, values := range query {
		if len(values) > 1 && name != "outcome" {
			return invalidProblem(shorten(name), "given once")
		}
	}
	return nil
}
