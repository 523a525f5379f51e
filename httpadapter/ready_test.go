package httpadapter

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestReadinessAsksOnceASecondAndRevealsNoError(t *testing.T) {
	t.Parallel()
	asked := 0
	h := &readiness{ready: func(context.Context) error { asked++; return errors.New("secret.internal is down") }}
	for range 10 {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest("GET", "/readyz", nil))
		if w.Code != http.StatusServiceUnavailable || strings.Contains(w.Body.String(), "secret.internal") || !strings.Contains(w.Body.String(), `"code":"database_unavailable"`) {
			t.Errorf("%d %s", w.Code, w.Body)
		}
	}
	if asked != 1 {
		t.Errorf("the Service was asked %d times at once, want once", asked)
	}
}
