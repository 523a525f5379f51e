package keyfold

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/keyfold/keyfold/internal/redact"
	"github.com/keyfold/keyfold/internal/scope"
	"github.com/keyfold/keyfold/internal/token"
)

// Options tunes a [Service]. A nil *Options and every zero field mean the
// default stated. New copies what it needs: later changes have no effect.
type Options struct {
	// Prefix begins every token that is created: lower-case letters and digits,
	// a letter first, single underscores between, at most 16 bytes. Default
	// "kf". Keys created under another prefix go on working.
	Prefix string

	// Environment follows the prefix: "live", "test". Lower-case letters and
	// digits, at most 16 bytes. Default none.
	Environment string

	// KeyTTL is the life of a key whose creator says nothing. Default 15 days;
	// [Never] for no end.
	KeyTTL time.Duration

	// MaxOverlap bounds how long a rotated key may live beside its successor.
	// Default 7 days.
	MaxOverlap time.Duration

	// Scopes lists the scopes that keys may be given: 1 to 8 segments separated
	// by colons, "read" or "reports:read". "*" stands for exactly one segment and
	// "**" for one or more at the end. A wildcard in the list permits that
	// wildcard, not the scopes that it covers. A key with another scope is refused
	// at creation, with an [InvalidError]. Default nil: any well-formed scope.
	Scopes []string

	// VerifyTimeout bounds one Verify, the wait for the store included; then it
	// is an [ErrUnavailable]. Default 1 s.
	VerifyTimeout time.Duration

	// DisableCache makes every verify read the store. Default off: keys are
	// remembered, and forgotten when the change feed says that they changed.
	DisableCache bool

	// CacheEntries bounds the number of keys remembered. Default 100 000.
	CacheEntries int

	// CacheBytes bounds the memory for them, about. Default 64 MiB.
	CacheBytes int

	// CacheMaxAge is the longest that a key is served from memory after it was
	// read, whatever the change feed says. Default 1 minute.
	CacheMaxAge time.Duration

	// PollInterval is how often the change feed is read, and so how soon a
	// revocation in another process is heard here. Default 1 s.
	PollInterval time.Duration

	// MaxStaleness is how long keys are served from memory while the change
	// feed cannot be read; then every verify reads the store. Default 5 s.
	MaxStaleness time.Duration

	// StaleGrace is how much longer keys may be served from memory while the
	// store does not answer at all, except keys known to have changed. Default
	// 0: such verifies are an [ErrUnavailable].
	StaleGrace time.Duration

	// OnPoll, if set, is called after every reading of the change feed with
	// how far behind this process is, and the error if it could not be read. It
	// must return quickly.
	OnPoll func(behind time.Duration, err error)

	// EventRetention is how long usage events are kept; a background task
	// deletes older ones. Default 30 days; [Never] deletes none. Totals and
	// counts by hour stay.
	//
	// Requests without a valid key are part of this: each process keeps a sample
	// of at most 10 000 of them in 24 hours, about 45 MB in 30 days.
	EventRetention time.Duration

	// HourRetention is how long counts by hour are kept, and refusals by minute;
	// the background task deletes older ones, but none of hours from which there
	// are events. Default 400 days; [Never] deletes none. Totals stay.
	HourRetention time.Duration

	// Usage says whether a verify waits until its use is stored. Default
	// [UsageAsync].
	Usage UsageMode

	// FlushInterval is how long usage is gathered before it is written, and so
	// what a crash can lose with [UsageAsync]. Default 1 s.
	FlushInterval time.Duration

	// DisableEvents keeps no event of a use and no sample of a refused request, only its key's total and the counts by
	// hour: for APIs so busy that writing a row for every request costs them too
	// much. Default off.
	DisableEvents bool

	// MaxPendingEvents bounds the usage events that wait to be written, in
	// number; beyond it events are dropped and counted, totals never are.
	// Default 100 000.
	MaxPendingEvents int

	// MaxPendingBytes bounds the same in bytes, about. Default 32 MiB.
	MaxPendingBytes int

	// RecordRequestID and RecordUserAgent keep those fields of a Request with
	// its usage event. Default off: they cost space, and a user agent is
	// personal data in some laws. Samples of refused requests never have them.
	RecordRequestID bool
	RecordUserAgent bool

	// Peppers are secrets that hashes may be keyed with, by their id (1 to 32
	// letters, digits, "-" and "_"), each at least 32 bytes. Keys hashed under
	// any of them verify. Default none. The database holds a check value for each
	// id that was hashed with, so a process in which an id has another value than
	// in others decides nothing, see [ErrCheckFailed].
	Peppers map[string][]byte

	// CurrentPepper is the id of the pepper for new keys, and existing keys move
	// to it when they are used. Set it once every process has that pepper in
	// Peppers. Default none: new keys are hashed without a pepper.
	CurrentPepper string

	// RequirePepper refuses keys that are hashed without a pepper.
	RequirePepper bool

	// PasswordPolicy says which passwords users may have. The zero value asks for
	// 15 to 256 characters that are not among the common ones.
	PasswordPolicy PasswordPolicy

	// SingleScriptUsernames refuses new usernames with letters of several scripts,
	// such as a Latin name with a Cyrillic "а" in it (UTS #39, Single Script).
	// Digits and punctuation go with any script. Han goes with Hiragana and
	// Katakana, with Hangul, or with Bopomofo. Names of users that exist already
	// keep working. Default off.
	SingleScriptUsernames bool

	// Mailer, if set, delivers one-time tokens for [Service.SendPasswordReset]
	// and [Service.SendEmailVerification].
	Mailer Mailer

	// Logger is told of what goes wrong in the background, without secrets.
	// Default slog.Default().
	Logger *slog.Logger

	// Now is the clock. Default time.Now.
	Now func() time.Time
}

// UsageMode says when a use is stored.
type UsageMode uint8

const (
	// UsageAsync stores uses in the background, every Options.FlushInterval. A
	// verify never waits for it; a crash loses the uses of the last interval, or
	// of the time for which the store took none.
	UsageAsync UsageMode = iota

	// UsageSync stores a use before Verify answers, so a crash loses none.
	// Verifies that run side by side share one write. Where the store does not
	// take the use within Options.VerifyTimeout, Verify returns an
	// [ErrUnavailable]; the use may then be counted although it was refused.
	//
	// Only verifies whose secret was right wait: others are counted in the
	// background, or anyone could have the store written to. Nor does Verify
	// wait on a Service from [Service.With], whose transaction may be what the
	// write waits for.
	UsageSync
)

// Never, as a time to live, stands for a key that does not expire.
const Never = time.Duration(-1)

const (
	defaultPrefix           = "kf"
	defaultKeyTTL           = 15 * 24 * time.Hour
	defaultMaxOverlap       = 7 * 24 * time.Hour
	defaultOverlap          = 24 * time.Hour
	defaultVerifyTimeout    = time.Second
	defaultCacheEntries     = 100_000
	defaultCacheBytes       = 64 << 20
	defaultCacheMaxAge      = time.Minute
	defaultPollInterval     = time.Second
	defaultMaxStaleness     = 5 * time.Second
	defaultEventRetention   = 30 * 24 * time.Hour
	defaultHourRetention    = 400 * 24 * time.Hour
	defaultFlushInterval    = time.Second
	defaultMaxPendingEvents = 100_000
	defaultMaxPendingBytes  = 32 << 20

	maxHeadPart   = 16
	minPepper     = 32 // bytes; the output length of SHA-256, RFC 2104 section 3
	maxPepperID   = 32
	maxKeyTTL     = 100 * 365 * 24 * time.Hour
	minFlush      = 10 * time.Millisecond
	maxFlush      = time.Minute
	maxVerifyWait = time.Minute
)

// withDefaults checks the options and fills in what is not set.
func (o *Options) withDefaults() (Options, error) {
	var opts Options
	if o != nil {
		opts = *o
	}
	opts.fill()
	var err error
	if opts.PasswordPolicy, err = opts.PasswordPolicy.withDefaults("Options.PasswordPolicy"); err != nil {
		return opts, err
	}
	return opts, opts.check()
}

// fill sets the fields that are not set to their defaults.
func (o *Options) fill() {
	orDefault(&o.Prefix, defaultPrefix)
	orDefault(&o.KeyTTL, defaultKeyTTL)
	orDefault(&o.MaxOverlap, defaultMaxOverlap)
	orDefault(&o.VerifyTimeout, defaultVerifyTimeout)
	orDefault(&o.CacheEntries, defaultCacheEntries)
	orDefault(&o.CacheBytes, defaultCacheBytes)
	orDefault(&o.CacheMaxAge, defaultCacheMaxAge)
	orDefault(&o.PollInterval, defaultPollInterval)
	orDefault(&o.MaxStaleness, defaultMaxStaleness)
	orDefault(&o.EventRetention, defaultEventRetention)
	orDefault(&o.HourRetention, defaultHourRetention)
	orDefault(&o.FlushInterval, defaultFlushInterval)
	orDefault(&o.MaxPendingEvents, defaultMaxPendingEvents)
	orDefault(&o.MaxPendingBytes, defaultMaxPendingBytes)
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.Now == nil {
		o.Now = time.Now
	}
}

// check returns an [InvalidError] for the first option that is out of its bounds.
func (o *Options) check() error {
	switch {
	case len(o.Prefix) > maxHeadPart || !token.IsHead(o.Prefix):
		return invalid("Options.Prefix", "must be 1 to 16 lower-case letters, digits and single underscores, must begin with a letter and must not end with an underscore")
	case o.Environment != "" && !isEnvironment(o.Environment):
		return invalid("Options.Environment", "must be 1 to 16 lower-case letters and digits")
	case o.KeyTTL != Never && (o.KeyTTL < time.Millisecond || o.KeyTTL > maxKeyTTL):
		return invalid("Options.KeyTTL", "must be between 1 ms and 100 years, or Never")
	case o.MaxOverlap < 0 || o.MaxOverlap > maxKeyTTL:
		return invalid("Options.MaxOverlap", "must be between 0 and 100 years")
	case o.VerifyTimeout < time.Millisecond || o.VerifyTimeout > maxVerifyWait:
		return invalid("Options.VerifyTimeout", "must be between 1 ms and 1 minute")
	case o.CacheEntries < 0:
		return invalid("Options.CacheEntries", "must be a positive number")
	case o.CacheBytes < 0:
		return invalid("Options.CacheBytes", "must be a positive number of bytes")
	case o.CacheMaxAge < time.Second || o.CacheMaxAge > time.Hour:
		return invalid("Options.CacheMaxAge", "must be between 1 s and 1 hour")
	case o.PollInterval < minFlush || o.PollInterval > time.Minute:
		return invalid("Options.PollInterval", "must be between 10 ms and 1 minute")
	case o.MaxStaleness < o.PollInterval || o.MaxStaleness > time.Hour:
		return invalid("Options.MaxStaleness", "must be between Options.PollInterval and 1 hour")
	case o.StaleGrace < 0 || o.StaleGrace > time.Hour:
		return invalid("Options.StaleGrace", "must be between 0 and 1 hour")
	case o.EventRetention != Never && (o.EventRetention < time.Hour || o.EventRetention > maxKeyTTL):
		return invalid("Options.EventRetention", "must be between 1 hour and 100 years, or Never")
	case o.HourRetention != Never && (o.HourRetention < time.Hour || o.HourRetention > maxKeyTTL):
		return invalid("Options.HourRetention", "must be between 1 hour and 100 years, or Never")
	case o.Usage > UsageSync:
		return invalid("Options.Usage", "must be UsageAsync or UsageSync")
	case o.FlushInterval < minFlush || o.FlushInterval > maxFlush:
		return invalid("Options.FlushInterval", "must be between 10 ms and 1 minute")
	case o.MaxPendingEvents < 0:
		return invalid("Options.MaxPendingEvents", "must be a positive number")
	case o.MaxPendingBytes < 0:
		return invalid("Options.MaxPendingBytes", "must be a positive number of bytes")
	}
	for i := range o.Scopes {
		if !scope.IsValid(o.Scopes[i]) {
			return invalid(fmt.Sprintf("Options.Scopes[%d]", i), scope.Rule)
		}
	}
	return o.checkPeppers()
}

func (o *Options) checkPeppers() error {
	for id, pepper := range o.Peppers {
		if !isPepperID(id) {
			return invalid("Options.Peppers", "must have ids of 1 to 32 letters, digits, \"-\" and \"_\"")
		}
		if len(pepper) < minPepper {
			return invalid("Options.Peppers["+id+"]", "must be at least 32 bytes")
		}
	}
	if _, ok := o.Peppers[o.CurrentPepper]; o.CurrentPepper != "" && !ok {
		return invalid("Options.CurrentPepper", "must be the id of one of Options.Peppers")
	}
	if o.RequirePepper && o.CurrentPepper == "" {
		return invalid("Options.RequirePepper", "must not be set without Options.CurrentPepper, because no key could be created")
	}
	return nil
}

func orDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

func isEnvironment(s string) bool {
	if s == "" || len(s) > maxHeadPart {
		return false
	}
	for i := range len(s) {
		if c := s[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') {
			return false
		}
	}
	return true
}

func isPepperID(s string) bool {
	if s == "" || len(s) > maxPepperID {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if c != '-' && c != '_' && !token.IsBase62(s[i:i+1]) {
			return false
		}
	}
	return true
}

// IssuedOneTimeToken is a one-time token with what to do with it.
type IssuedOneTimeToken struct {
	Token     OneTimeToken
	Purpose   OneTimePurpose
	User      User
	To        string    // the address to send it to, as it is shown
	ExpiresAt time.Time // exclusive
}

// Mailer delivers one-time tokens. It is called in the background and must return
// when ctx is done. Its error is logged, so it must not hold the token.
type Mailer interface {
	SendOneTimeToken(ctx context.Context, mail IssuedOneTimeToken) error
}

var _ redact.Redacted = Options{}

func (o Options) shown() redact.Fields { return redact.Of(o, "Peppers") }

// Format writes the fields that are set, and the ids of the peppers without the
// peppers, for every verb and flag.
func (o Options) Format(state fmt.State, verb rune) { o.shown().Format(state, verb) }

// LogValue is a group of what Format writes.
func (o Options) LogValue() slog.Value { return o.shown().LogValue() }

// MarshalJSON is an object of what Format writes.
func (o Options) MarshalJSON() ([]byte, error) { return o.shown().MarshalJSON() }

// MarshalText is what Format writes.
func (o Options) MarshalText() ([]byte, error) { return o.shown().MarshalText() }
