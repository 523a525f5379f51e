package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"reflect"
	"time"

	"github.com/spf13/cobra"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/httpadapter"
	"github.com/keyfold/keyfold/httpadapter/admin"
	"github.com/keyfold/keyfold/httpadapter/compat"
)

// compatFlag serves the routes of the predecessor, and reads its names of variables.
const compatFlag = "compat"

const (
	shutdownTimeout = 10 * time.Second

	// Requests and responses are small. A client that needs longer than this is stuck,
	// or keeps the connection busy on purpose.
	readHeaderTimeout = 5 * time.Second
	readTimeout       = 15 * time.Second
	writeTimeout      = 30 * time.Second
	idleTimeout       = 60 * time.Second
	maxHeaderBytes    = 32 << 10
)

// docsPath is the page that documents the admin API.
const docsPath = "/auth/docs"

func (c *command) serve() *cobra.Command {
	var compatible bool
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Serve the admin API, a health check and two demo routes",
		Long: `Serve over HTTP:

  /          redirects to the documentation of the admin API, /auth/docs;
             404 if KEYFOLD_HIDE_DOCS is set
  /auth      the admin API; its OpenAPI document is /auth/openapi.json
  /healthz   200 while the server responds; for liveness checks
  /readyz    200 while everything works, otherwise 503 and the part that fails
  /secure    a route that requires a key, to try keys with
  /unsecure  a route that does not require a key

The server creates the database if it does not exist.

With --compat, it also serves the routes of fastapi_auth: /auth/new,
/auth/revoke, /auth/renew and /auth/logs. /secure then accepts keys as
fastapi_auth did. Passwords must meet the rules of fastapi_auth, and have at
least KEYFOLD_PASSWORD_MIN_LENGTH characters.

The admin API requires the value of KEYFOLD_SECRET in the header "secret-key".
On SQLite, if the variable is not set, the server generates a secret at every
start and prints it once on standard error. Other databases require the
variable. All options have variables: see "keyfold help variables".

The server speaks plain HTTP. Put a proxy with TLS in front of it, and name the
proxy with --trusted-proxy. After SIGINT or SIGTERM, requests have ten seconds
to finish, and the server stores the usage in memory. A second signal stops it
at once.`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error { return classify(c.runServe(cmd, compatible)) },
	}
	cmd.Flags().String("addr", "", "`address` to listen on; port 0 selects a free port (default 127.0.0.1:8080)")
	cmd.Flags().String("log-format", "", "`format` of the log on standard error: text or json (default text)")
	cmd.Flags().StringArray("trusted-proxy", nil, "`network` of a proxy whose X-Forwarded-For is trusted, such as 10.0.0.0/8, or unix; repeatable")
	cmd.Flags().BoolVar(&compatible, compatFlag, false, "also serve the routes of fastapi_auth")
	databaseFlag(cmd)
	return cmd
}

// logger writes to standard error, as KEYFOLD_LOG_FORMAT says.
func (c *command) logger(format string) *slog.Logger {
	if format == "json" {
		return slog.New(slog.NewJSONHandler(c.stderr, nil))
	}
	return slog.New(slog.NewTextHandler(c.stderr, nil))
}

func (c *command) runServe(cmd *cobra.Command, compatible bool) error {
	config, err := c.config(cmd)
	if err != nil {
		return err
	}
	generated, err := ensureSecret(config)
	if err != nil {
		return err
	}
	log := c.logger(config.LogFormat)
	config.Logger = log
	if compatible {
		config.PasswordPolicy = compatPolicy(config.PasswordPolicy.MinLength)
	}
	ctx := cmd.Context()
	app, err := c.open(ctx, config, true)
	if err != nil {
		return err
	}
	defer app.Close(context.WithoutCancel(ctx))
	if err := publishKeyRules(ctx, app.Service, log); err != nil {
		return classify(err)
	}
	api, err := admin.Handler(app.Service, admin.Options{
		Secret: config.Secret.Reveal(), PreviousSecret: config.PreviousSecret.Reveal(), AllowShortSecrets: config.ShortSecret,
		TrustedProxies: config.TrustedProxies, HideDocs: config.HideDocs, Logger: log,
	})
	if err != nil {
		return err
	}
	guard := httpadapter.RequireKey
	if compatible {
		guard = compat.RequireKey
	}
	routes := newRoutes(app.Service, api, guard(app.Service, httpadapter.TrustedProxies(config.TrustedProxies)))
	if !config.HideDocs {
		routes.Handle("GET /{$}", http.RedirectHandler(docsPath, http.StatusFound))
	}
	if compatible {
		if err := addCompatible(routes, app, log); err != nil {
			return err
		}
		warnOfOldKeys(ctx, app.Store, log)
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", config.Addr)
	if err != nil {
		return fmt.Errorf("cannot listen on %s: %w", config.Addr, withoutAddress(err))
	}
	if generated {
		// This is the only secret that is ever printed, because it is stored nowhere. It
		// must not pass through a logger, which may forward it.
		fmt.Fprintf(c.stderr, "keyfold: admin secret (send it as the secret-key header): %s\n", config.Secret.Reveal())
	}
	listening := []any{"addr", listener.Addr().String(), "database", config.Database}
	if !config.HideDocs {
		listening = append(listening, "docs", "http://"+reachable(listener.Addr().String())+docsPath)
	}
	log.Info("listening", listening...)
	server := newServer(routes, log)
	serveErr := serveUntil(ctx, server, listener, log)
	if err := errors.Join(serveErr, app.Close(context.WithoutCancel(ctx))); err != nil {
		return err
	}
	log.Info("stopped")
	return nil
}

// publishKeyRules publishes the rules of this server, which the commands follow from
// then on. It logs a warning if it replaces the rules of another program.
func publishKeyRules(ctx context.Context, svc *keyfold.Service, log *slog.Logger) error {
	before, err := svc.PublishedRules(ctx)
	replaces := err == nil && !reflect.DeepEqual(before, svc.Rules())
	if err := svc.PublishRules(keyfold.WithActor(ctx, keyfold.Actor{Name: "keyfold serve"})); err != nil {
		return err
	}
	if replaces {
		log.Warn("replaced the published key rules; the audit log has the previous ones",
			"previous_prefix", before.Prefix, "prefix", svc.Rules().Prefix)
	}
	return nil
}

// compatPolicy returns the password policy of the predecessor. The configured minimum
// length applies if it is longer.
func compatPolicy(configured int) keyfold.PasswordPolicy {
	policy := compat.PasswordPolicy()
	policy.MinLength = max(policy.MinLength, configured)
	return policy
}

func newServer(handler http.Handler, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: readHeaderTimeout, ReadTimeout: readTimeout, WriteTimeout: writeTimeout, IdleTimeout: idleTimeout,
		MaxHeaderBytes: maxHeaderBytes,
		ErrorLog:       slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
}

// serveUntil serves until ctx is done, and then lets requests finish.
func serveUntil(ctx context.Context, server *http.Server, listener net.Listener, log *slog.Logger) error {
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	select {
	case err := <-failed:
		return fmt.Errorf("stopped serving: %w", err)
	case <-ctx.Done():
	}
	log.Info("stopping: requests may finish", "within", shutdownTimeout.String())
	bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
	defer cancel()
	if err := server.Shutdown(bounded); err != nil {
		log.Warn("some requests did not finish in time and were cut off")
		_ = server.Close()
	}
	return nil
}

// withoutAddress returns the reason of a network error without the address, such as
// "address already in use".
func withoutAddress(err error) error {
	if failed, ok := errors.AsType[*net.OpError](err); ok {
		return failed.Err
	}
	return err
}
