package main

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-smtp"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/store/sqlite"
)

// sink is an SMTP server that keeps what it is sent.
type sink struct{ letters chan letter }

type letter struct{ from, to, text string }

func (s *sink) NewSession(*smtp.Conn) (smtp.Session, error) { return &session{sink: s}, nil }

type session struct {
	sink *sink
	letter
}

func (s *session) Mail(from string, _ *smtp.MailOptions) error {
	s.from = from
	return nil
}

func (s *session) Rcpt(to string, _ *smtp.RcptOptions) error {
	s.to = to
	return nil
}

func (s *session) Data(r io.Reader) error {
	text, err := io.ReadAll(r)
	s.text = string(text)
	s.sink.letters <- s.letter
	return err
}

func (s *session) Reset()        { s.letter = letter{} }
func (s *session) Logout() error { return nil }

// newSink starts one and returns its address.
func newSink(t *testing.T) (*sink, string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &sink{letters: make(chan letter, 10)}
	server := smtp.NewServer(s)
	server.Domain = "localhost"
	go server.Serve(listener)
	t.Cleanup(func() { server.Close() })
	return s, listener.Addr().String()
}

// next is the letter that arrives next, and the token in it.
func (s *sink) next(t *testing.T, page string) (letter, string) {
	t.Helper()
	select {
	case l := <-s.letters:
		found := regexp.MustCompile(`https://site\.example/` + page + `#(\S+)`).FindStringSubmatch(l.text)
		if found == nil {
			t.Fatalf("no link to %s in %q", page, l.text)
		}
		return l, found[1]
	case <-time.After(10 * time.Second):
		t.Fatal("no letter arrived")
	}
	panic("unreachable")
}

const (
	email    = "olga@example.com"
	password = "nine purple herons over the lake"
	another  = "eleven copper kettles in a row"
)

func TestAccountFromSignUpToNewPassword(t *testing.T) {
	letters, address := newSink(t)
	store, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "keyfold.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	svc, err := keyfold.New(store, &keyfold.Options{Mailer: &mailer{server: address, from: "keys@site.example", site: "https://site.example"}})
	if err != nil {
		t.Fatal(err)
	}
	defer svc.Close(context.Background())
	handler := routes(svc)
	post := func(target, login string, form url.Values) (int, string) {
		r := httptest.NewRequest("POST", target, strings.NewReader(form.Encode()))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		if login != "" {
			r.SetBasicAuth(email, login)
		}
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		return w.Code, strings.TrimSpace(w.Body.String())
	}
	whoami := func(token string) int {
		r := httptest.NewRequest("GET", "/whoami", nil)
		r.Header.Set("Authorization", "Bearer "+token)
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		return w.Code
	}

	status, first := post("/sign-up", "", url.Values{"email": {email}})
	if status != http.StatusOK {
		t.Fatalf("signing up: %d %s", status, first)
	}
	mail, _ := letters.next(t, "reset-password")
	if mail.from != "keys@site.example" || mail.to != email || !strings.Contains(mail.text, "\r\nTo: "+email+"\r\n") {
		t.Errorf("the letter is %+v", mail)
	}
	if status, again := post("/sign-up", "", url.Values{"email": {email}, "password": {another}}); status != http.StatusOK || again != first {
		t.Errorf("signing up twice: %d %q, the first time %q", status, again, first)
	}
	_, token := letters.next(t, "reset-password") // it takes the place of the first
	if status, body := post("/keys", another, url.Values{"name": {"laptop"}}); status != http.StatusUnauthorized {
		t.Errorf("a key for a client who signed up with the address of another user: %d %s", status, body)
	}
	if status, body := post("/reset-password", "", url.Values{"token": {token}, "password": {password}}); status != http.StatusOK {
		t.Errorf("the first password: %d %s", status, body)
	}
	if status, _ := post("/reset-password", "", url.Values{"token": {token}, "password": {another}}); status != http.StatusUnauthorized {
		t.Errorf("the token again: %d", status)
	}
	status, key := post("/keys", password, url.Values{"name": {"laptop"}})
	if status != http.StatusOK || whoami(key) != http.StatusOK {
		t.Fatalf("making a key: %d %s; it opens %d", status, key, whoami(key))
	}

	if status, _ := post("/forgotten", "", url.Values{"email": {"nobody@example.com"}}); status != http.StatusOK {
		t.Errorf("a new password for an unknown address: %d", status)
	}
	if status, _ := post("/forgotten", "", url.Values{"email": {email}}); status != http.StatusOK {
		t.Errorf("a new password: %d", status)
	}
	if mail, token = letters.next(t, "reset-password"); mail.to != email {
		t.Errorf("the mail for an unknown address went to %s", mail.to)
	}
	if status, body := post("/reset-password", "", url.Values{"token": {token}, "password": {"short"}}); status != http.StatusUnprocessableEntity {
		t.Errorf("a short password: %d %s", status, body)
	}
	if status, body := post("/reset-password", "", url.Values{"token": {token}, "password": {another}}); status != http.StatusOK {
		t.Errorf("a new password: %d %s", status, body)
	}
	if whoami(key) != http.StatusUnauthorized {
		t.Error("a key lived through the new password")
	}
	if status, body := post("/keys", another, url.Values{"name": {"laptop"}}); status != http.StatusOK {
		t.Errorf("a key with the new password: %d %s", status, body)
	}
}

func TestMailGivesUpWhenItIsTold(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0") // takes connections and says nothing
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	err = (&mailer{server: listener.Addr().String()}).SendOneTimeToken(ctx, keyfold.IssuedOneTimeToken{Purpose: keyfold.PurposeVerifyEmail, To: email})
	if err == nil {
		t.Error("mail was sent to a server that says nothing")
	}
}
