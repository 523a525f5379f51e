package httpadapter_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/httpadapter"
	"github.com/keyfold/keyfold/store/memory"
)

// exampleService returns a Service and the token of a key with the scope.
func exampleService(scope string) (*keyfold.Service, string) {
	svc, err := keyfold.New(memory.New(), nil)
	if err != nil {
		panic(err)
	}
	_, token, err := svc.CreateKey(context.Background(), keyfold.NewKey{
		Name: "ci", OwnerID: "cust_42", Scopes: []string{scope},
	})
	if err != nil {
		panic(err)
	}
	return svc, token.Reveal()
}

// get prints the answer to a request with the token.
func get(h http.Handler, target, token string) {
	r := httptest.NewRequest("GET", target, nil)
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	fmt.Println(w.Code, w.Body)
}

func ExampleRequireKey() {
	svc, token := exampleService("reports:read")
	reports := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id, _ := httpadapter.IdentityFrom(r.Context())
		fmt.Fprintf(w, "the reports of %s", id.OwnerID())
	})
	mux := http.NewServeMux()
	mux.Handle("GET /reports", httpadapter.RequireKey(svc, httpadapter.Scopes("reports:read"))(reports))
	mux.Handle("POST /reports", httpadapter.RequireKey(svc, httpadapter.Scopes("reports:write"))(reports))

	get(mux, "/reports", token)
	get(mux, "/reports", "")
	// Output:
	// 200 the reports of cust_42
	// 401 {"title":"Unauthorized","status":401,"detail":"Present a valid API key, as Authorization: Bearer or X-API-Key.","code":"invalid_token"}
}

func ExampleNewGuard() {
	svc, token := exampleService("reports:read")
	guard := httpadapter.NewGuard(svc, httpadapter.ErrorHandler(func(w http.ResponseWriter, _ *http.Request, err error) {
		w.WriteHeader(httpadapter.ProblemOf(err).Status)
		fmt.Fprint(w, "Please check your API key.")
	}))
	reports := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "the reports") })
	mux := http.NewServeMux()
	mux.Handle("GET /reports", guard.RequireKey(httpadapter.Scopes("reports:read"))(reports))
	mux.Handle("GET /orders", guard.RequireKey(httpadapter.Scopes("orders:read"))(reports))

	get(mux, "/reports", token)
	get(mux, "/orders", token)
	// Output:
	// 200 the reports
	// 403 Please check your API key.
}

func ExampleGuard_LimitFailures() {
	svc, _ := exampleService("reports:read")
	guard := httpadapter.NewGuard(svc)
	client := netip.MustParseAddr("192.0.2.7")
	call := func(token string) error { // an interceptor of a framework that does not use net/http
		_, err := svc.Verify(context.Background(), keyfold.Request{Token: token, IP: client})
		return guard.LimitFailures(client, err)
	}
	var err error
	for range 11 {
		err = call("kf_not_a_key")
	}
	fmt.Println(err)
	// Output: keyfold: too many bad keys came from this address
}

func ExampleOptionalKey() {
	svc, token := exampleService("reports:read")
	h := httpadapter.OptionalKey(svc)(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if id, ok := httpadapter.IdentityFrom(r.Context()); ok {
			fmt.Fprintf(w, "hello %s", id.Name())
			return
		}
		fmt.Fprint(w, "hello, guest")
	}))
	get(h, "/", token)
	get(h, "/", "")
	// Output:
	// 200 hello ci
	// 200 hello, guest
}

func ExampleIdentityFrom() {
	handler := func(w http.ResponseWriter, r *http.Request) {
		id, ok := httpadapter.IdentityFrom(r.Context())
		if !ok {
			httpadapter.ProblemOf(keyfold.ErrUnauthenticated).Write(w)
			return
		}
		if !id.HasScope("reports:read") {
			httpadapter.ProblemOf(keyfold.ErrForbidden).Write(w)
			return
		}
		fmt.Fprintf(w, "%s may read", id.Name())
	}
	svc, token := exampleService("reports:*")
	get(httpadapter.RequireKey(svc)(http.HandlerFunc(handler)), "/", token)
	// Output: 200 ci may read
}

func ExampleScopes() {
	svc, token := exampleService("reports:read")
	h := httpadapter.RequireKey(svc, httpadapter.Scopes("reports:write"))(http.NotFoundHandler())
	get(h, "/", token)
	// Output: 403 {"title":"Forbidden","status":403,"detail":"The key does not hold a scope that this needs.","code":"scope"}
}

func ExampleQueryParam() {
	svc, token := exampleService("feed:read")
	feed := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<rss/>") })
	h := httpadapter.RequireKey(svc, httpadapter.QueryParam("key"), httpadapter.Scopes("feed:read"))(feed)
	get(h, "/feed.xml?key="+token, "")
	// Output: 200 <rss/>
}

func ExampleKeyFunc() {
	svc, token := exampleService("reports:read")
	cookie := httpadapter.KeyFunc(func(r *http.Request) []string {
		if c, err := r.Cookie("key"); err == nil {
			return []string{c.Value}
		}
		return nil
	})
	h := httpadapter.RequireKey(svc, cookie)(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id, _ := httpadapter.IdentityFrom(r.Context())
		fmt.Println("hello", id.Name())
	}))
	r := httptest.NewRequest("GET", "/", nil)
	r.AddCookie(&http.Cookie{Name: "key", Value: token})
	h.ServeHTTP(httptest.NewRecorder(), r)
	// Output: hello ci
}

func ExampleTrustedProxies() {
	svc, _ := exampleService("reports:read")
	proxies, err := httpadapter.ParseProxies("10.0.0.0/24") // only the load balancers
	if err != nil {
		panic(err)
	}
	guard := httpadapter.RequireKey(svc, httpadapter.TrustedProxies(proxies))
	http.Handle("GET /behind-proxy", guard(http.NotFoundHandler()))
}

func ExampleRouteFunc() {
	// This router keeps its pattern in the context.
	type patternKey struct{}
	svc, _ := exampleService("reports:read")
	guard := httpadapter.RequireKey(svc, httpadapter.RouteFunc(func(r *http.Request) string {
		pattern, _ := r.Context().Value(patternKey{}).(string)
		return pattern
	}))
	http.Handle("GET /other-router", guard(http.NotFoundHandler()))
}

func ExampleErrorHandler() {
	svc, _ := exampleService("reports:read")
	h := httpadapter.RequireKey(svc, httpadapter.ErrorHandler(func(w http.ResponseWriter, _ *http.Request, err error) {
		fmt.Println("log:", keyfold.OutcomeOf(err))
		httpadapter.ProblemOf(err).Write(w)
	}))(http.NotFoundHandler())
	get(h, "/", "kf_mistyped")
	// Output:
	// log: malformed
	// 401 {"title":"Unauthorized","status":401,"detail":"Present a valid API key, as Authorization: Bearer or X-API-Key.","code":"invalid_token"}
}

// A framework that does not use net/http needs three calls.
func ExampleExtractToken() {
	svc, token := exampleService("reports:read")
	header := http.Header{"X-Api-Key": {token}} // the headers of the framework

	presented, err := httpadapter.ExtractToken(func(name string) []string { return header[name] })
	var id keyfold.Identity
	if err == nil {
		id, err = svc.Verify(context.Background(), keyfold.Request{Token: presented, Route: "GET /reports"})
	}
	if err != nil {
		status, header, body := httpadapter.Response(err)
		fmt.Println(status, header, body) // write the response here
		return
	}
	fmt.Println(id.Name())
	// Output: ci
}

func ExampleResponse() {
	status, header, body := httpadapter.Response(keyfold.ErrUnauthenticated)
	fmt.Println(status)
	fmt.Println(header.Get("WWW-Authenticate"))
	fmt.Println(string(body))
	// Output:
	// 401
	// Bearer realm="api", error="invalid_token"
	// {"title":"Unauthorized","status":401,"detail":"Present a valid API key, as Authorization: Bearer or X-API-Key.","code":"invalid_token"}
}

func ExampleProblemOf() {
	p := httpadapter.ProblemOf(&keyfold.InvalidError{Field: "name", Reason: "must be at most 128 characters"})
	fmt.Println(p.Status, p.Code, p.Field)
	// Output: 422 invalid name
}

func ExampleClientIP() {
	proxies, err := httpadapter.ParseProxies("10.0.0.0/24")
	if err != nil {
		panic(err)
	}
	fmt.Println(httpadapter.ClientIP("10.0.0.1:443", []string{"127.0.0.1, 203.0.113.9"}, proxies))
	fmt.Println(httpadapter.ClientIP("198.51.100.7:443", []string{"127.0.0.1"}, proxies))
	// Output:
	// 203.0.113.9
	// 198.51.100.7
}
