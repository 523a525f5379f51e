// Users is a server with accounts: people sign up with an address, set a password
// by the mail that goes there, log in to make keys of their own, and get another
// password in the same way.
//
//	go run ./users -smtp localhost:1025     # any SMTP server that takes mail
//	curl localhost:8080/sign-up -d email=olga@example.com
//	curl localhost:8080/reset-password -d token=… -d 'password=nine purple herons over the lake'  # of the link in the mail
//	curl localhost:8080/keys -u 'olga@example.com:nine purple herons over the lake' -d name=laptop
package main

import (
	"context"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"log"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"time"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/httpadapter"
	"github.com/keyfold/keyfold/store/sqlite"
)

func main() {
	server := flag.String("smtp", "localhost:1025", "SMTP server")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, &mailer{server: *server, from: "keys@example.com", site: "http://localhost:8080"}); err != nil {
		log.Fatal(err)
	}
}

func tlsConfig(host string) *tls.Config { return &tls.Config{ServerName: host} }

func run(ctx context.Context, mails keyfold.Mailer) error {
	store, err := sqlite.Open(ctx, "keyfold.db")
	if err != nil {
		return err
	}
	defer store.Close()
	svc, err := keyfold.New(store, &keyfold.Options{Mailer: mails})
	if err != nil {
		return err
	}
	defer svc.Close(context.Background()) // sends what is on its way, writes the last uses

	server := &http.Server{Addr: "localhost:8080", Handler: routes(svc), ReadHeaderTimeout: 5 * time.Second}
	stopped := make(chan error, 1)
	context.AfterFunc(ctx, func() { stopped <- server.Shutdown(context.Background()) })
	if err := server.ListenAndServe(); err != http.ErrServerClosed {
		return err
	}
	return <-stopped
}

type accounts struct{ svc *keyfold.Service }

func routes(svc *keyfold.Service) http.Handler {
	a := accounts{svc}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /sign-up", a.signUp)
	mux.HandleFunc("POST /forgotten", a.forgotten)
	mux.HandleFunc("POST /reset-password", a.resetPassword)
	mux.HandleFunc("POST /keys", a.createKey)
	mux.Handle("GET /whoami", httpadapter.RequireKey(svc)(http.HandlerFunc(whoami)))
	return mux
}

// signUp gives the same answer whether or not the address has an account, so that
// clients cannot find out. It takes no password: otherwise a client could sign up
// with the address of another person, and would know the password once that
// person has proved the address.
func (a accounts) signUp(w http.ResponseWriter, r *http.Request) {
	email := r.PostFormValue("email")
	_, err := a.svc.CreateUser(r.Context(), keyfold.NewUser{Email: email})
	if err != nil && !errors.Is(err, keyfold.ErrConflict) {
		refuse(w, err)
		return
	}
	a.forgotten(w, r)
}

func (a accounts) forgotten(w http.ResponseWriter, r *http.Request) {
	err := a.svc.SendPasswordReset(r.Context(), r.PostFormValue("email"), httpadapter.ClientIP(r.RemoteAddr, nil, httpadapter.Proxies{}))
	if err != nil {
		refuse(w, err)
		return
	}
	fmt.Fprintln(w, "look at your mail")
}

// resetPassword revokes the user's keys, too: a user who needs a new password may
// have lost more than the old one.
func (a accounts) resetPassword(w http.ResponseWriter, r *http.Request) {
	user, err := a.svc.ResetPassword(r.Context(), r.PostFormValue("token"), r.PostFormValue("password"),
		keyfold.ResetOptions{IP: httpadapter.ClientIP(r.RemoteAddr, nil, httpadapter.Proxies{}), RevokeKeys: true})
	if err != nil {
		refuse(w, err)
		return
	}
	fmt.Fprintln(w, "welcome,", user.Email)
}

// createKey creates a key for a user with the right password.
func (a accounts) createKey(w http.ResponseWriter, r *http.Request) {
	name, password, _ := r.BasicAuth()
	user, err := a.svc.Authenticate(r.Context(), keyfold.Credentials{
		Identifier: name, Password: password, IP: httpadapter.ClientIP(r.RemoteAddr, nil, httpadapter.Proxies{}),
	})
	if err != nil {
		refuse(w, err)
		return
	}
	_, token, err := a.svc.CreateKey(r.Context(), keyfold.NewKey{Name: r.PostFormValue("name"), UserID: user.ID})
	if err != nil {
		refuse(w, err)
		return
	}
	w.Header().Set("Cache-Control", "no-store")
	fmt.Fprintln(w, token.Reveal())
}

func whoami(w http.ResponseWriter, r *http.Request) {
	id, _ := httpadapter.IdentityFrom(r.Context())
	fmt.Fprintln(w, "key", id.Name(), "of user", id.UserID())
}

// refuse writes the answer to an error of the Service. The text of an error about
// bad input is meant for the client.
func refuse(w http.ResponseWriter, err error) {
	status := http.StatusServiceUnavailable
	switch {
	case errors.Is(err, keyfold.ErrInvalid):
		status = http.StatusUnprocessableEntity
	case errors.Is(err, keyfold.ErrUnauthenticated):
		status = http.StatusUnauthorized
	case errors.Is(err, keyfold.ErrUnavailable): // also "too many at once"
	case errors.Is(err, keyfold.ErrRateLimited):
		status = http.StatusTooManyRequests
	}
	if wait := keyfold.RetryAfter(err); wait > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(wait.Seconds()+1)))
	}
	text := http.StatusText(status)
	if status == http.StatusUnprocessableEntity {
		text = err.Error()
	}
	http.Error(w, text, status)
}
