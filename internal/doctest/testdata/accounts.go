// A program with accounts and sessions of its own, and a user who can log in.
package wrapper

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/httpadapter"
	"github.com/keyfold/keyfold/store/memory"
)

// session is what the reader's program remembers of a log-in.
type session struct {
	userID            string
	passwordChangedAt time.Time
}

// sessionStore stands for the session library of the reader's program.
type sessionStore map[string]session

func (s sessionStore) start(w http.ResponseWriter, of session) {
	id := rand.Text()
	s[id] = of
	http.SetCookie(w, &http.Cookie{Name: "session", Value: id, HttpOnly: true, Secure: true, SameSite: http.SameSiteLaxMode})
}

func (s sessionStore) find(r *http.Request) (session, bool) {
	cookie, err := r.Cookie("session")
	if err != nil {
		return session{}, false
	}
	found, ok := s[cookie.Value]
	return found, ok
}

func Run(t *testing.T) {
	ctx := t.Context()
	svc, err := keyfold.New(memory.New(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer svc.Close(context.Background())
	user, err := svc.CreateUser(ctx, keyfold.NewUser{Username: "olga", Password: "nine purple herons over the lake"})
	if err != nil {
		t.Fatal(err)
	}
	mux, sessions, proxies, errLoggedOut := http.NewServeMux(), sessionStore{}, httpadapter.Proxies{}, errors.New("log in first")
	post := func(target, form string) {
		r := httptest.NewRequestWithContext(ctx, "POST", target, strings.NewReader(form))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, r)
		fmt.Println(strings.TrimSpace(fmt.Sprint(w.Code, " ", w.Body)))
	}
	// loggedIn is a request of the user after a log-in.
	loggedIn := httptest.NewRequestWithContext(ctx, "GET", "/", nil)
	w := httptest.NewRecorder()
	sessions.start(w, session{user.ID, user.PasswordChangedAt})
	loggedIn.AddCookie(w.Result().Cookies()[0])
	_, _, _ = proxies, errLoggedOut, post
	err = func() error {
		// BLOCK
		return nil
	}()
	if err != nil {
		t.Fatal(err)
	}
}
