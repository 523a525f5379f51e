package httpadapter

import (
	"maps"
	"net/http"
	"strings"
	"sync/atomic"
)

// maxRoutes bounds the names that are remembered. Patterns are the host's own,
// so programs have fewer; beyond it a name is made anew for each request.
const maxRoutes = 1000

// routeNames makes the names of routes and remembers those that had to be put
// together, so that naming a route allocates nothing.
type routeNames struct {
	made atomic.Pointer[map[routeOf]string] // replaced, never changed
}

type routeOf struct{ method, pattern string }

// of returns the request's pattern, with a method. It is empty without a pattern:
// the path is no substitute, it has ids in it.
//
// A method that HTTP does not know is left out. Clients can make up any number,
// and each would be a route of its own in the usage log.
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

// remember does nothing when another request has changed the names meanwhile;
// the next one tries again.
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
