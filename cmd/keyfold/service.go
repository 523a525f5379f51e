package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"

	"github.com/spf13/cobra"

	"github.com/keyfold/keyfold"
)

// onService runs do with a Service on the database, and closes it in order.
// Only create may make a SQLite file. Changes are written to the audit log as
// made by this command.
func (c *command) onService(cmd *cobra.Command, create bool, do func(context.Context, *keyfold.Service) error) error {
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
	err = inFlags(do(ctx, app.Service))
	return classify(errors.Join(err, app.Close(context.WithoutCancel(ctx))))
}

// printJSON writes v on one line of standard output.
func (c *command) printJSON(v any) error { return classify(writeJSON(c.stdout, v)) }

func writeJSON(w io.Writer, v any) error {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	return encoder.Encode(v)
}
