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

// dataFlags is what all commands on what is stored share.
type dataFlags struct{ asJSON bool }

func (f *dataFlags) add(cmd *cobra.Command) {
	databaseFlag(cmd)
	jsonFlag(cmd, &f.asJSON)
}

func jsonFlag(cmd *cobra.Command, into *bool) {
	cmd.Flags().BoolVar(into, "json", false, "print JSON, as the admin API does")
}

// deadlineFlags say when a key ends; at most one of them.
type deadlineFlags struct {
	ttl, expiresAt string
	never          bool
}

func (f *deadlineFlags) add(cmd *cobra.Command, ttlUsage string) {
	cmd.Flags().StringVar(&f.ttl, "ttl", "", ttlUsage)
	cmd.Flags().StringVar(&f.expiresAt, "expires-at", "", "end of the key, an RFC 3339 `time`")
	cmd.Flags().BoolVar(&f.never, "never", false, "the key does not end; the same as --ttl never")
	exclusive(cmd, "ttl", "expires-at", "never")
}

// exclusive allows one of these flags. The shells are told by cobra, whose own
// error lists all of them and names none.
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
			return usage("%s exclude each other: give one of them", strings.Join(given, " and "))
		}
		if before != nil {
			return before(cmd, args)
		}
		return nil
	}
}

// noneEmpty refuses flags that narrow what is meant and were given an empty
// text, as by a variable of a script that is not set: without them all is meant.
func noneEmpty(cmd *cobra.Command, names ...string) error {
	for _, name := range names {
		if flag := cmd.Flags().Lookup(name); flag.Changed && flag.Value.String() == "" {
			return usage("--%s is empty", name)
		}
	}
	return nil
}

// onlyIf is the condition that such a flag sets; none where the flag is not given.
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

// none is how a flag says that there is to be no duration.
const none = "none"

// parseIdleTimeout reads a duration above zero, or none for zero.
func parseIdleTimeout(text string) (time.Duration, error) {
	if text == none {
		return 0, nil
	}
	d, err := parseFlag("--idle-timeout", text, admin.ParseDuration)
	if err == nil && d == 0 {
		err = usage("--idle-timeout wants a duration above zero: 30d, 1d12h, 90m; or none")
	}
	return d, err
}

// parseFlag reads the value of a flag by one of the API's own parsers, whose
// errors say what they want and do not repeat the value.
func parseFlag[T any](flag, text string, parse func(string) (T, error)) (T, error) {
	value, err := parse(text)
	if err != nil {
		return value, usage("%s: %s", flag, strings.TrimPrefix(err.Error(), "keyfold: "))
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

// parseTimeIfSet is parseTime for a flag that may be left out.
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
			return nil, usage("--network wants CIDR prefixes: 192.0.2.0/24, 2001:db8::/32")
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
			return nil, usage("--metadata wants name=value, and each name once")
		}
		if metadata == nil {
			metadata = map[string]string{}
		}
		metadata[name] = value
	}
	return metadata, nil
}

// flagError says what is wrong with a flag. The errors of pflag repeat what was
// typed, which may be a token or a connection string after a slip.
func flagError(cmd *cobra.Command, err error) error {
	see := cmd.CommandPath() + " --help"
	if bad, ok := errors.AsType[*pflag.InvalidValueError](err); ok {
		wants := "another value"
		switch bad.GetFlag().Value.Type() {
		case "int", "int64":
			wants = "a whole number"
		case "bool":
			wants = "true, false or no value"
		}
		return usage("--%s wants %s; see %q", bad.GetFlag().Name, wants, see)
	}
	if bad, ok := errors.AsType[*pflag.ValueRequiredError](err); ok {
		return usage("flag needs an argument: --%s; see %q", bad.GetSpecifiedName(), see)
	}
	if bad, ok := errors.AsType[*pflag.NotExistError](err); ok && len(bad.GetSpecifiedName()) > 1 && plainWord.MatchString(bad.GetSpecifiedName()) {
		return usage("unknown flag: --%s; see %q", bad.GetSpecifiedName(), see)
	}
	return usage("unknown flag; see %q", see)
}
