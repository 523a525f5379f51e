package httpadapter_test

import (
	"context"
	"hash/crc32"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/store/memory"
)

// newService returns a Service with an empty store.
func newService(t testing.TB, options *keyfold.Options) *keyfold.Service {
	t.Helper()
	return newServiceOn(t, memory.New(), options)
}

func newServiceOn(t testing.TB, store keyfold.Store, options *keyfold.Options) *keyfold.Service {
	t.Helper()
	svc, err := keyfold.New(store, options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = svc.Close(ctx) // returns an error if the store fails
	})
	return svc
}

func newKey(t testing.TB, svc *keyfold.Service, n keyfold.NewKey) (id, token string) {
	t.Helper()
	key, secret, err := svc.CreateKey(t.Context(), n)
	if err != nil {
		t.Fatal(err)
	}
	return key.ID, secret.Reveal()
}

// madeUp returns a well-formed token with a secret that was never issued. If id is empty,
// the token has an ID that does not exist.
func madeUp(id string) string {
	const digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	if id == "" {
		id = strings.Repeat("A", 16)
	}
	body := "kf_" + id + "_" + strings.Repeat("s", 32) + "_"
	sum := crc32.ChecksumIEEE([]byte(body))
	var crc [6]byte
	for i := len(crc) - 1; i >= 0; i-- {
		crc[i] = digits[sum%62]
		sum /= 62
	}
	return body + string(crc[:])
}

// spy is a Verifier that records the requests.
type spy struct {
	id   keyfold.Identity
	err  error
	seen []keyfold.Request
}

func (s *spy) Verify(_ context.Context, r keyfold.Request) (keyfold.Identity, error) {
	s.seen = append(s.seen, r)
	return s.id, s.err
}

// somebody returns the Identity of a good key.
func somebody(t testing.TB) keyfold.Identity {
	t.Helper()
	svc := newService(t, nil)
	_, token := newKey(t, svc, keyfold.NewKey{Name: "ci"})
	id, err := svc.Verify(context.Background(), keyfold.Request{Token: token})
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// send calls the handler with a request and returns the response. The headers are pairs
// of a name and a value.
func send(h http.Handler, method, target string, headers ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, nil)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}
