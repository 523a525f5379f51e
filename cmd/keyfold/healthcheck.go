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
		Short: `Ask a server whether it works`,
		Long: `Ask the server that "keyfold serve" runs whether it works, and its database: exit
code 0 means yes, 1 no. It is for places where there is no other program to ask
with, such as a container.`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			config, err := c.config(cmd) // the server's own address, where a variable names it
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
	cmd.Flags().StringVar(&timeout, "timeout", "3s", "`duration` after which no answer means no")
	jsonFlag(cmd, &asJSON)
	return cmd
}

// ask asks for /readyz and wants 200. It goes by no proxy and follows nothing.
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
			err = failed.Err // without the address once more
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
		return fmt.Errorf("%s answers that it must not use its database; its log says why", address)
	case answer.StatusCode == http.StatusServiceUnavailable && body.Code == "changes_refused":
		return fmt.Errorf("%s answers that changes fail; its log says why", address)
	case answer.StatusCode == http.StatusServiceUnavailable && body.Code == "usage_not_stored":
		return fmt.Errorf("%s answers that usage cannot be stored; its log says why", address)
	case answer.StatusCode == http.StatusServiceUnavailable:
		return fmt.Errorf("%s answers that its database does not", address)
	}
	return fmt.Errorf("%s answers with status %d, which no keyfold server does", address, answer.StatusCode)
}

// reachable is where to find a server that listens on every address.
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
