package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"

	"github.com/spf13/cobra"

	"github.com/keyfold/keyfold/httpadapter/admin"
)

func (c *command) healthcheck() *cobra.Command {
	var timeout string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "healthcheck",
		Short: `Check whether a server works`,
		Long: `Check whether a server started by "keyfold serve" and its database work. The
exit code is 0 if they do, and 1 if they do not. The command is meant for
containers without another HTTP client.`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			config, err := c.config(cmd) // a variable may set the address of the server
			if err != nil {
				return err
			}
			within, err := parseFlag("--timeout", timeout, admin.ParseDuration)
			switch {
			case err != nil:
				return err
			case within == 0:
				return usage("--timeout must be a duration above zero, such as 3s or 500ms")
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), within)
			defer cancel()
			if err := ask(ctx, config.Addr); err != nil {
				return classify(err)
			}
			if asJSON {
				return c.printJSON(map[string]string{"status": "ok"}) // as the server does
			}
			_, err = fmt.Fprintln(c.stdout, "ok")
			return classify(err)
		},
	}
	cmd.Flags().String("addr", "127.0.0.1:8080", "`address` that the server listens on")
	cmd.Flags().StringVar(&timeout, "timeout", "3s", "`duration` to wait for an answer")
	jsonFlag(cmd, &asJSON)
	return cmd
}

// ask requests /readyz and expects status 200. It uses no proxy and follows no redirects.
func ask(ctx context.Context, addr string) error {
	client := &http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	address := reachable(addr)
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/readyz", nil)
	if err != nil || r.URL.Host != address { // a/b:80
		return usage("--addr must be host:port, such as 127.0.0.1:8080")
	}
	answer, err := client.Do(r)
	if err != nil {
		if failed, ok := errors.AsType[*url.Error](err); ok {
			err = failed.Err // the message already has the address
		}
		return fmt.Errorf("no answer from %s: %w", address, withoutAddress(err))
	}
	defer answer.Body.Close()
	var body struct{ Code string }
	_ = json.NewDecoder(io.LimitReader(answer.Body, 1<<10)).Decode(&body) // a proxy's 503 has another body
	switch {
	case answer.StatusCode == http.StatusOK:
		return nil
	case answer.StatusCode == http.StatusServiceUnavailable && body.Code == "check_failed":
		return fmt.Errorf("%s reports that the check of its database failed; see its log", address)
	case answer.StatusCode == http.StatusServiceUnavailable && body.Code == "changes_refused":
		return fmt.Errorf("%s reports that changes fail; see its log", address)
	case answer.StatusCode == http.StatusServiceUnavailable && body.Code == "usage_not_stored":
		return fmt.Errorf("%s reports that usage cannot be stored; see its log", address)
	case answer.StatusCode == http.StatusServiceUnavailable:
		return fmt.Errorf("%s reports that its database does not respond", address)
	}
	return fmt.Errorf("%s answers with status %d, so it is not a keyfold server", address, answer.StatusCode)
}

// reachable returns the address at which a client on this machine reaches a server
// that listens on addr, which can be the unspecified address.
func reachable(addr string) string {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return addr
	}
	if ip, err := netip.ParseAddr(host); host == "" || err == nil && ip.IsUnspecified() {
		host = "127.0.0.1"
		if ip.Is6() {
			host = "::1"
		}
	}
	return net.JoinHostPort(host, port)
}
