package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/httpadapter/admin"
)

const (
	shutdownTimeout = 10 * time.Second

	// Requests here are small and answers short: whoever needs longer is stuck
	// or does it on purpose.
	readHeaderTimeout = 5 * time.Second
	readTimeout       = 15 * time.Second
	writeTimeout      = 30 * time.Second
	idleTimeout       = 60 * time.Second
	maxHeaderBytes    = 32 << 10
)

// serveFlags is what serve was told.
type serveFlags struct {
	addr, db, logFormat string
	proxies             []string
}

func (c *command) serve() *cobra.Command {
	var flags serveFlags
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Serve the admin API, a health check and two demo routes",
		Long: `Serve over HTTP:

  /auth      the admin API; its description is /auth/openapi.json
  /healthz   200 while the database answers, 503 otherwise
  /secure    a route that needs a key, to try keys with
  /unsecure  a route that needs none

The admin API needs the secret of KEYFOLD_SECRET in the header "secret-key".
On SQLite one is made at every start and printed once on standard error if the
variable is not set; other databases need it set.

It speaks plain HTTP: put a proxy with TLS in front, and name it by
--trusted-proxy. SIGINT or SIGTERM lets requests finish for ten seconds and
writes the usage that is still in memory; a second one ends it at once.`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error { return classify(c.runServe(cmd, &flags)) },
	}
	cmd.Flags().StringVar(&flags.addr, "addr", "127.0.0.1:8080", "`address` to listen on; port 0 picks one")
	cmd.Flags().StringVar(&flags.logFormat, "log-format", "text", "text or json, on standard error")
	cmd.Flags().StringArrayVar(&flags.proxies, "trusted-proxy", nil, "`network` of a proxy whose X-Forwarded-For is believed, 10.0.0.0/8; repeatable")
	databaseFlag(cmd, &flags.db)
	return cmd
}

func (c *command) logger(format string) (*slog.Logger, error) {
	switch format {
	case "text":
		return slog.New(slog.NewTextHandler(c.stderr, nil)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(c.stderr, nil)), nil
	}
	return nil, usage("--log-format wants text or json")
}

func (c *command) runServe(cmd *cobra.Command, flags *serveFlags) error {
	log, err := c.logger(flags.logFormat)
	if err != nil {
		return err
	}
	proxies, err := parseProxies(flags.proxies)
	if err != nil {
		return err
	}
	if err := checkAddress(flags.addr); err != nil {
		return err
	}
	db, err := c.database(cmd, flags.db)
	if err != nil {
		return err
	}
	secret, generated, err := c.adminSecret(db.engine == "sqlite")
	if err != nil {
		return err
	}
	ctx := cmd.Context()
	store, err := db.open(ctx, true)
	if err != nil {
		return err
	}
	defer store.Close()
	svc, err := keyfold.New(store, &keyfold.Options{Logger: log})
	if err != nil {
		return err
	}
	api, err := admin.Handler(svc, admin.Options{Secret: secret, TrustedProxies: proxies, Logger: log})
	if err != nil {
		return err
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", flags.addr)
	if err != nil {
		return fmt.Errorf("cannot listen on %s: %w", flags.addr, withoutAddress(err))
	}
	if generated {
		// The one exception to "no secrets in output": it is nowhere else, and it
		// must not pass through a logger, which may send it on.
		fmt.Fprintf(c.stderr, "keyfold: admin secret (send it as the secret-key header): %s\n", secret)
	}
	log.Info("listening", "addr", listener.Addr().String(), "database", db.String())
	server := newServer(newRoutes(svc, api, proxies), log)
	served := serveUntil(ctx, server, listener, log)
	closed := svc.Close(context.WithoutCancel(ctx))
	if closed != nil {
		closed = fmt.Errorf("the last usage was not written: %w", closed)
	}
	if err := errors.Join(served, closed, store.Close()); err != nil {
		return err
	}
	log.Info("stopped")
	return nil
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

func parseProxies(texts []string) ([]netip.Prefix, error) {
	var proxies []netip.Prefix
	for _, text := range texts {
		prefix, err := netip.ParsePrefix(text)
		if err != nil || prefix != prefix.Masked() {
			return nil, usage("--trusted-proxy wants a network without host bits: 10.0.0.0/8, 192.0.2.7/32")
		}
		proxies = append(proxies, prefix)
	}
	return proxies, nil
}

func checkAddress(addr string) error {
	_, port, err := net.SplitHostPort(addr)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil {
		return usage("--addr wants host:port: 127.0.0.1:8080, :8080")
	}
	return nil
}

// withoutAddress is the reason alone: "address already in use".
func withoutAddress(err error) error {
	if failed, ok := errors.AsType[*net.OpError](err); ok {
		return failed.Err
	}
	return err
}
