package main

import (
	"strings"

	"github.com/spf13/cobra"

	"github.com/keyfold/keyfold"
)

// addCompletion adds cobra's command that prints completion scripts for shells. Its
// errors have the form of the other commands.
func addCompletion(root *cobra.Command) {
	root.CompletionOptions.SetDefaultShellCompDirective(cobra.ShellCompDirectiveNoFileComp)
	completeValues(root)
	root.InitDefaultCompletionCmd()
	for _, cmd := range root.Commands() {
		if cmd.Name() != "completion" {
			continue
		}
		cmd.Args, cmd.RunE = subcommandOnly, func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
		for _, shell := range cmd.Commands() {
			shell.Args = noArguments
		}
	}
}

// completeValues registers the values of flags that accept only a few, for this
// command and its subcommands.
func completeValues(cmd *cobra.Command) {
	states := keyStates()
	if cmd.HasParent() && cmd.Parent().Name() == "users" {
		states = []string{string(keyfold.UserActive), string(keyfold.UserDisabled)}
	}
	for name, values := range map[string][]string{
		"state":      states,
		"outcome":    outcomeNames(),
		"by":         {"hour", "day"},
		"log-format": {"text", "json"},
	} {
		if cmd.Flags().Lookup(name) != nil {
			// The only error is that the flag does not exist.
			_ = cmd.RegisterFlagCompletionFunc(name, oneOf(values))
		}
	}
	for _, below := range cmd.Commands() {
		completeValues(below)
	}
}

// oneOf completes a word to the values that begin with it.
func oneOf(values []string) cobra.CompletionFunc {
	return func(_ *cobra.Command, _ []string, typed string) (found []cobra.Completion, _ cobra.ShellCompDirective) {
		for _, value := range values {
			if strings.HasPrefix(value, typed) {
				found = append(found, value)
			}
		}
		return found, cobra.ShellCompDirectiveNoFileComp
	}
}

func keyStates() (names []string) {
	for _, state := range []keyfold.KeyState{
		keyfold.KeyActive, keyfold.KeyExpired, keyfold.KeyUserDisabled, keyfold.KeyDisabled, keyfold.KeyRevoked,
	} {
		names = append(names, string(state))
	}
	return names
}

func outcomeNames() []string {
	var names []string
	for _, code := range outcomes() {
		names = append(names, code.String())
	}
	return names
}
