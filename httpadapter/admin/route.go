package admin

import (
	"context"
	"net/http"
	"net/url"
	"reflect"
	"slices"
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

// route is an operation of the API.
type route struct {
	method, path, id, summary string
	status                    int
	body                      bodyRule
}

// routes registers the routes of an API.
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

// addRead registers a GET route.
func addRead[I, O any](r *routes, path, id, summary, description string, handle func(context.Context, *I) (*O, error)) {
	op := route{http.MethodGet, path, id, summary, http.StatusOK, noBody}.operation(description)
	huma.Register(r.huma, op, func(ctx context.Context, in *I) (*O, error) {
		out, err := handle(ctx, in)
		if err != nil {
			return nil, r.api.refuse(ctx, err)
		}
		return out, nil
	})
}

// add registers a route that makes a change. Huma only describes the body B, and
// decodeBody reads it, because huma accepts unknown, duplicate and differently
// spelled members, and repeats refused values in its errors.
func add[I, B, O any](r *routes, rt route, description string, handle func(context.Context, *I, *B) (*O, error)) {
	op := rt.operation(description)
	op.SkipValidateBody = true
	r.api.inputs[rt.method+" "+rt.path] = input{needsBody: rt.body == bodyRequired, members: membersOf(reflect.TypeFor[B]())}
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

// operation describes a route and its failures.
func (rt route) operation(description string) huma.Operation {
	return huma.Operation{
		Method: rt.method, Path: rt.path, OperationID: rt.id, Summary: rt.summary, Description: description,
		DefaultStatus: rt.status, Responses: rt.responseReferences(), Tags: tagsOf(rt.path),
	}
}

// input is the input of a route. Other names come from the client and may be a token
// that was pasted into the wrong place: no response repeats them.
type input struct {
	parameters []string // of the query
	needsBody  bool
	members    []string // of the body
}

// collectParameters adds the query parameters, which huma derives from the inputs of
// the routes.
func (a *api) collectParameters(document *huma.OpenAPI) {
	for path, item := range document.Paths {
		for _, op := range [...]*huma.Operation{item.Get, item.Post, item.Patch, item.Delete} {
			if op == nil {
				continue
			}
			pattern := op.Method + " " + path
			in := a.inputs[pattern]
			for _, parameter := range op.Parameters {
				if parameter.In == "query" {
					in.parameters = append(in.parameters, parameter.Name)
				}
			}
			a.inputs[pattern] = in
		}
	}
}

// checkQuery refuses unknown parameters and ambiguous queries.
func checkQuery(raw string, parameters []string) *problem {
	query, err := url.ParseQuery(raw)
	if err != nil {
		return malformedQuery()
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
		if name == "limit" && (strings.Trim(values[0], "0123456789") != "" || strings.HasPrefix(values[0], "0")) {
			return invalidProblem(name, limitRule)
		}
		if name != "cursor" && slices.Contains(values, "") {
			return invalidProblem(name, "must not be empty; omit the parameter instead")
		}
	}
	return nil
}

const limitRule = "must be a whole number between 1 and 200, without a sign or leading zeros"

// onlyThese says which names are permitted.
func onlyThese(kind string, names []string) string {
	if len(names) == 0 {
		return "must have no " + kind
	}
	return "must have no " + kind + " other than " + strings.Join(slices.Sorted(slices.Values(names)), ", ")
}
