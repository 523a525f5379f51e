package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/fromenv"
	"github.com/keyfold/keyfold/httpadapter/admin"
)

// onService runs do with a Service on the database, which must exist, and closes
// it afterwards. The audit log names this command as the actor of changes. The
// Service follows the rules that the owner of the database published.
func (c *command) onService(cmd *cobra.Command, do func(context.Context, *keyfold.Service) error) error {
	return c.withService(cmd, io.Discard, nil, do)
}

// underRules is onService for commands that create keys or users. It prints on
// standard error which rules apply.
func (c *command) underRules(cmd *cobra.Command, do func(context.Context, *keyfold.Service) error) error {
	return c.withService(cmd, c.stderr, nil, do)
}

// withService is onService with a writer for the rules that apply, and with a
// function that wraps the store. A nil function leaves the store as it is.
func (c *command) withService(cmd *cobra.Command, notices io.Writer, wrap func(keyfold.Store) keyfold.Store,
	do func(context.Context, *keyfold.Service) error,
) error {
	config, err := c.config(cmd)
	if err != nil {
		return err
	}
	config.Logger = c.logger(config.LogFormat)
	ctx := keyfold.WithActor(cmd.Context(), keyfold.Actor{Name: "keyfold command"})
	app, err := c.open(ctx, config, false)
	if err != nil {
		return err
	}
	if wrap != nil {
		app.Store = wrap(app.Store)
	}
	err = followRules(ctx, app, notices)
	if err == nil {
		err = inFlags(do(ctx, app.Service))
	}
	return classify(errors.Join(err, app.Close(context.WithoutCancel(ctx))))
}

// followRules replaces the Service with one that follows the published rules, and
// prints them. If no rules are published, it prints the rules of this command. A
// variable takes precedence over a rule.
func followRules(ctx context.Context, app *fromenv.App, notices io.Writer) error {
	rules, err := app.Service.PublishedRules(ctx)
	message := "following the key rules published in %s"
	switch {
	case errors.Is(err, keyfold.ErrNotFound):
		message = "no key rules are published in %s; using the defaults and variables of this command"
	case err != nil:
		return err
	default:
		for _, variable := range app.Config.FollowKeyRules(rules) {
			fmt.Fprintf(notices, "keyfold: %s differs from the published key rules and takes precedence\n", variable)
		}
	}
	svc, err := keyfold.New(app.Store, app.Config.Options())
	if err != nil {
		return err
	}
	app.Service = svc // the first Service was not used, so it need not be closed
	fmt.Fprintf(notices, "keyfold: "+message+": %s\n", app.Config.Database, describeRules(svc.Rules()))
	return nil
}

// describeRules summarizes the rules for new keys.
func describeRules(rules keyfold.Rules) string {
	head := rules.Prefix
	if rules.Environment != "" {
		head += "_" + rules.Environment
	}
	ttl, scopes := "do not expire", "any scope"
	if rules.KeyTTL != keyfold.Never {
		ttl = "expire after " + admin.FormatDuration(rules.KeyTTL)
	}
	if rules.Scopes != nil {
		scopes = fmt.Sprintf("allowed scopes: %d", len(rules.Scopes))
	}
	return fmt.Sprintf("tokens begin with %s, keys %s, %s, passwords of at least %d characters", head, ttl, scopes, rules.MinPasswordLength)
}

// printJSON writes v on one line of standard output.
func (c *command) printJSON(v any) error { return classify(writeJSON(c.stdout, v)) }

func writeJSON(w io.Writer, v any) error {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	return encoder.Encode(v)
}
