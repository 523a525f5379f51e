package httpadapter

import (
	"maps"
	"net/http"
	"strings"
	"sync/atomic"
)

// maxRoutes bounds the number of names that are kept. Programs have fewer patterns; after
// that, the name is built for each request.
const maxRoutes = 1000

// routeNames builds the names of routes and keeps them, so that naming a route does not
// allocate.
type routeNames struct {
	made atomic.Pointer[map[routeOf]string] // replaced, never changed
}

type routeOf struct{ method, pattern string }

// of returns the method and the pattern of the request, or "" if there is no pattern. The
// path cannot take its place, because it contains IDs.
//
// A method that HTTP does not define is left out. Clients can invent any number of
// methods, and each would be another route in the usage log.
func (n *routeNames) of(r *http.Request) string {
	if r.Pattern == "" || strings.ContainsAny(r.Pattern, " \t") || !isMethod(r.Method) {
		return r.Pattern
	}
	route := routeOf{method: r.Method, pattern: r.Pattern}
	made := n.made.Load()
	if made != nil {
		if name, ok := (*made)[route]; ok {
			return name
		}
	}
	name := route.method + " " + route.pattern
	n.remember(made, route, name)
	return name
}

// remember does nothing if another request changed the names at the same time; the next
// request tries again.
func (n *routeNames) remember(made *map[routeOf]string, route routeOf, name string) {
	names := map[routeOf]string{}
	if made != nil {
		if len(*made) >= maxRoutes {
			return
		}
		names = maps.Clone(*made)
	}
	names[route] = name
	n.made.CompareAndSwap(made, &names)
}

func isMethod(method string) bool {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch,
		http.MethodDelete, http.MethodConnect, http.MethodOptions, http.MethodTrace:
		return true
	}
	return false
}
