package keyfoldtest_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/httpadapter"
	"github.com/keyfold/keyfold/keyfoldtest"
)

// report is a handler of the program under test.
func report(w http.ResponseWriter, r *http.Request) {
	id, _ := httpadapter.IdentityFrom(r.Context())
	fmt.Fprint(w, "report of ", id.OwnerID())
}

func TestNewKeyReachesAHandler(t *testing.T) {
	t.Parallel()
	clock := keyfoldtest.NewClock(time.Time{})
	svc := keyfoldtest.New(t, &keyfold.Options{Now: clock.Now})
	_, token := keyfoldtest.NewKey(t, svc, keyfold.NewKey{OwnerID: "cust_42", Scopes: []string{"reports:read"}, TTL: time.Hour})
	handler := httpadapter.RequireKey(svc, httpadapter.Scopes("reports:read"))(http.HandlerFunc(report))

	get := func() *httptest.ResponseRecorder {
		request := httptest.NewRequest(http.MethodGet, "/reports", nil)
		request.Header.Set("Authorization", "Bearer "+token)
		answer := httptest.NewRecorder()
		handler.ServeHTTP(answer, request)
		return answer
	}
	if got := get(); got.Code != http.StatusOK || got.Body.String() != "report of cust_42" {
		t.Errorf("answer %d %q", got.Code, got.Body)
	}
	clock.Advance(time.Hour)
	if got := get(); got.Code != http.StatusUnauthorized {
		t.Errorf("after an hour: %d, want 401", got.Code)
	}
}

func TestIdentityMatchesThatOfARequest(t *testing.T) {
	t.Parallel()
	id := keyfoldtest.Identity(t, keyfold.NewKey{Name: "ci", Scopes: []string{"a:*"}, Metadata: map[string]string{"plan": "pro"}})
	if id.Name() != "ci" || !id.HasScope("a:b") || id.HasScope("b:b") || id.Metadata("plan") != "pro" {
		t.Errorf("identity %v with scopes a:* and plan %q", id, id.Metadata("plan"))
	}
}
