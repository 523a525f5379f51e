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

// onService runs do with a Service on the database, and closes it in order.
// Only create may make a SQLite file. Changes are written to the audit log as
// made by this command. The Service follows the rules of the program that owns
// the database.
func (c *command) onService(cmd *cobra.Command, create bool, do func(context.Context, *keyfold.Service) error) error {
	return c.withService(cmd, create, io.Discard, do)
}

// underRules is onService for commands that create keys or users: they tell on
// standard error which rules they use.
func (c *command) underRules(cmd *cobra.Command, create bool, do func(context.Context, *keyfold.Service) error) error {
	return c.withService(cmd, create, c.stderr, do)
}

func (c *command) withService(cmd *cobra.Command, create bool, tell io.Writer, do func(context.Context, *keyfold.Service) error) error {
	config, err := c.config(cmd)
	if err != nil {
		return err
	}
	config.Logger = c.logger(config.LogFormat)
	ctx := keyfold.WithActor(cmd.Context(), keyfold.Actor{Name: "keyfold command"})
	app, err := c.open(ctx, config, create)
	if err != nil {
		return err
	}
	err = followRules(ctx, app, tell)
	if err == nil {
		err = inFlags(do(ctx, app.Service))
	}
	return classify(errors.Join(err, app.Close(context.WithoutCancel(ctx))))
}

// followRules replaces the Service by one under the rules that were published, and
// says so. Where none were, it names the rules of this command. A variable wins
// over a rule.
func followRules(ctx context.Context, app *fromenv.App, tell io.Writer) error {
	rules, err := app.Service.PublishedRules(ctx)
	says := "following the key rules published in this database"
	switch {
	case errors.Is(err, keyfold.ErrNotFound):
		says = "no key rules are published in this database; using the defaults and variables of this command"
	case err != nil:
		return err
	default:
		for _, variable := range app.Config.FollowKeyRules(rules) {
			fmt.Fprintf(tell, "keyfold: %s differs from the published key rules and takes precedence\n", variable)
		}
		svc, err := keyfold.New(app.Store, app.Config.Options())
		if err != nil {
			return err
		}
		app.Service = svc // the other one was not used, so there is nothing to close
	}
	fmt.Fprintf(tell, "keyfold: %s: %s\n", says, describeRules(app.Service.Rules()))
	return nil
}

// describeRules names what decides about new keys.
func describeRules(rules keyfold.Rules) string {
	head := rules.Prefix
	if rules.Environment != "" {
		head += "_" + rules.Environment
	}
	ttl, scopes := "never end", "any scope"
	if rules.KeyTTL != keyfold.Never {
		ttl = "end after " + admin.FormatDuration(rules.KeyTTL)
	}
	if rules.Scopes != nil {
		scopes = fmt.Sprintf("allowed scopes: %d", len(rules.Scopes))
	}
	return fmt.Sprintf("tokens begin with %s, keys %s, %s, passwords of %d characters or more", head, ttl, scopes, rules.MinPasswordLength)
}

// printJSON writes v on one line of standard output.
func (c *command) printJSON(v any) error { return classify(writeJSON(c.stdout, v)) }

func writeJSON(w io.Writer, v any) error {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	return encoder.Encode(v)
}
