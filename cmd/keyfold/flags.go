package main

import (
	"errors"
	"net/netip"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/httpadapter/admin"
	"github.com/keyfold/keyfold/internal/timestamp"
)

// durationHelp explains durations in the help of commands that take one.
const durationHelp = `Durations consist of years of 365 days, weeks, days, hours, minutes and seconds:
1y, 2w, 15d, 1d12h, 90m. Times are dates or RFC 3339 times: 2027-01-31,
2027-01-31T18:30:00Z. A date is the start of that day in UTC.`

// listHelp explains the paging of lists.
const listHelp = `If there are more entries, the command prints how to continue on standard error;
with --json, the cursor is in "next". In a pipe, it prints tab-separated values
without a header line.`

// dataFlags are the flags of all commands that use the database.
type dataFlags struct{ asJSON bool }

func (f *dataFlags) add(cmd *cobra.Command) {
	databaseFlag(cmd)
	jsonFlag(cmd, &f.asJSON)
}

func jsonFlag(cmd *cobra.Command, into *bool) {
	cmd.Flags().BoolVar(into, "json", false, "print JSON, in the form of the admin API")
}

// deadlineFlags set the expiry time of a key. At most one of them may be given.
type deadlineFlags struct {
	ttl, expiresAt string
	never          bool
}

func (f *deadlineFlags) add(cmd *cobra.Command, ttlUsage string) {
	cmd.Flags().StringVar(&f.ttl, "ttl", "", ttlUsage)
	cmd.Flags().StringVar(&f.expiresAt, "expires-at", "", "expiry `time` of the key, such as 2027-01-31")
	cmd.Flags().BoolVar(&f.never, "never", false, "the key does not expire; the same as --ttl never")
	exclusive(cmd, "ttl", "expires-at", "never")
}

// exclusive allows at most one of these flags. Cobra tells the shells, but its own
// error does not name the flags that were given.
func exclusive(cmd *cobra.Command, names ...string) {
	cmd.MarkFlagsMutuallyExclusive(names...)
	before := cmd.PreRunE
	cmd.PreRunE = func(cmd *cobra.Command, args []string) error {
		var given []string
		for _, name := range names {
			if cmd.Flags().Changed(name) {
				given = append(given, "--"+name)
			}
		}
		if len(given) > 1 {
			return usage("%s cannot be used together", strings.Join(given, " and "))
		}
		if before != nil {
			return before(cmd, args)
		}
		return nil
	}
}

// noneEmpty refuses filters with an empty value. In a script the value may come
// from a variable that is not set, and without the filter the command would apply
// to everything.
func noneEmpty(cmd *cobra.Command, names ...string) error {
	for _, name := range names {
		if flag := cmd.Flags().Lookup(name); flag.Changed && flag.Value.String() == "" {
			return usage("--%s must not be empty", name)
		}
	}
	return nil
}

// onlyIf returns the filter for the value of a flag. An empty value admits everything.
func onlyIf(flag string) keyfold.Filter {
	if flag == "" {
		return keyfold.Filter{}
	}
	return keyfold.Only(flag)
}

func (f *deadlineFlags) parse(cmd *cobra.Command) (ttl time.Duration, at time.Time, err error) {
	switch {
	case f.never:
		ttl = keyfold.Never
	case cmd.Flags().Changed("ttl"):
		ttl, err = parseFlag("--ttl", f.ttl, admin.ParseTTL)
	case cmd.Flags().Changed("expires-at"):
		at, err = parseTime("--expires-at", f.expiresAt)
	}
	return ttl, at, err
}

// none is the value of a flag for no duration.
const none = "none"

// parseIdleTimeout reads a duration above zero, or "none" for zero.
func parseIdleTimeout(text string) (time.Duration, error) {
	if text == none {
		return 0, nil
	}
	d, err := parseFlag("--idle-timeout", text, admin.ParseDuration)
	if err == nil && d == 0 {
		err = usage("--idle-timeout must be a duration above zero, such as 30d, 1d12h or 90m, or none")
	}
	return d, err
}

// parseFlag reads the value of a flag with a parser of the admin API. The errors of
// these parsers begin with "keyfold: the text must be" and do not repeat the value.
func parseFlag[T any](flag, text string, parse func(string) (T, error)) (T, error) {
	value, err := parse(text)
	if err != nil {
		return value, usage("%s %s", flag, strings.TrimPrefix(err.Error(), "keyfold: the text "))
	}
	return value, nil
}

// timeForm says which times [parseTime] accepts.
const timeForm = "a date or an RFC 3339 time: 2027-01-31, 2027-01-31T18:30:00Z"

// parseTime reads an RFC 3339 time, or a date, which is the start of that day in
// UTC.
func parseTime(flag, text string) (time.Time, error) {
	at, err := timestamp.Parse(text)
	if err != nil {
		at, err = timestamp.Parse(text + "T00:00:00Z")
	}
	if err != nil {
		return time.Time{}, usage("%s must be %s", flag, timeForm)
	}
	return at, nil
}

// parseTimeIfSet is parseTime for an optional flag.
func parseTimeIfSet(cmd *cobra.Command, name, text string) (time.Time, error) {
	if !cmd.Flags().Changed(name) {
		return time.Time{}, nil
	}
	return parseTime("--"+name, text)
}

func parseNetworks(texts []string) ([]netip.Prefix, error) {
	var networks []netip.Prefix
	for _, text := range texts {
		network, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, usage("--network must be a CIDR prefix, such as 192.0.2.0/24 or 2001:db8::/32")
		}
		networks = append(networks, network)
	}
	return networks, nil
}

func parseMetadata(entries []string) (map[string]string, error) {
	var metadata map[string]string
	for _, entry := range entries {
		name, value, found := strings.Cut(entry, "=")
		if _, twice := metadata[name]; !found || twice {
			return nil, usage("--metadata must be name=value, with each name once")
		}
		if metadata == nil {
			metadata = map[string]string{}
		}
		metadata[name] = value
	}
	return metadata, nil
}

// flagError explains an error about a flag. The errors of pflag repeat the text that
// was typed, which may be a token or a connection string.
func flagError(cmd *cobra.Command, err error) error {
	see := cmd.CommandPath() + " --help"
	if bad, ok := errors.AsType[*pflag.InvalidValueError](err); ok {
		must := "a valid value"
		switch bad.GetFlag().Value.Type() {
		case "int", "int64":
			must = "a whole number"
		case "bool":
			must = "true or false, or have no value"
		}
		return usage("--%s must be %s; see %q", bad.GetFlag().Name, must, see)
	}
	if bad, ok := errors.AsType[*pflag.ValueRequiredError](err); ok {
		return usage("--%s requires a value; see %q", bad.GetSpecifiedName(), see)
	}
	if bad, ok := errors.AsType[*pflag.NotExistError](err); ok && len(bad.GetSpecifiedName()) > 1 && plainWord.MatchString(bad.GetSpecifiedName()) {
		var names []string
		cmd.Flags().VisitAll(func(flag *pflag.Flag) { names = append(names, flag.Name) })
		return usage("unknown flag: --%s; %s", bad.GetSpecifiedName(), suggestion(cmd, bad.GetSpecifiedName(), names, "--"))
	}
	return usage("unknown flag; see %q", see)
}
