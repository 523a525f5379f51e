package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

// helpWidth is the width of help texts. It does not depend on the terminal, so that
// the texts are the same everywhere.
const helpWidth = 80

// printUsage prints the usage of a command, as the template of cobra does, with flags
// that fit [helpWidth].
func printUsage(cmd *cobra.Command) error {
	var text strings.Builder
	text.WriteString("Usage:\n")
	if cmd.Runnable() {
		fmt.Fprintf(&text, "  %s\n", cmd.UseLine())
	}
	if cmd.HasAvailableSubCommands() {
		fmt.Fprintf(&text, "  %s [command]\n", cmd.CommandPath())
	}
	if cmd.HasExample() {
		fmt.Fprintf(&text, "\nExamples:\n%s\n", cmd.Example)
	}
	list := func(head string, shown func(*cobra.Command) bool) {
		for _, below := range cmd.Commands() {
			if !shown(below) {
				continue
			}
			if head != "" {
				fmt.Fprintf(&text, "\n%s:\n", head)
				head = ""
			}
			fmt.Fprintf(&text, "  %-12s %s\n", below.Name(), below.Short)
		}
	}
	list("Available Commands", func(below *cobra.Command) bool { return below.IsAvailableCommand() || below.Name() == "help" })
	if flags := cmd.LocalFlags(); flags.HasAvailableFlags() {
		fmt.Fprintf(&text, "\nFlags:\n%s", flags.FlagUsagesWrapped(helpWidth))
	}
	list("Additional help topics", (*cobra.Command).IsAdditionalHelpTopicCommand)
	if cmd.HasAvailableSubCommands() {
		fmt.Fprintf(&text, "\nUse \"%s [command] --help\" for more information about a command.\n", cmd.CommandPath())
	}
	_, err := fmt.Fprint(cmd.OutOrStderr(), text.String())
	return err
}

// wrapped breaks a text into lines of at most [helpWidth] columns. The first line
// begins with head, and the others are indented as far.
func wrapped(head, text string) string {
	indent := strings.Repeat(" ", len(head))
	lines, line := "", head
	for word := range strings.FieldsSeq(text) {
		if len([]rune(line))+len([]rune(word)) > helpWidth && strings.TrimSpace(line) != "" && line != head {
			lines += strings.TrimRight(line, " ") + "\n"
			line = indent
		}
		line += word + " "
	}
	return lines + strings.TrimRight(line, " ") + "\n"
}
