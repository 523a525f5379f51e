package keyfold

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/keyfold/keyfold/internal/redact"
	"github.com/keyfold/keyfold/internal/scope"
	"github.com/keyfold/keyfold/internal/token"
)

// Options configures a [Service]. A nil *Options means the default of every
// field, and so does a zero field. [New] copies the Options: later changes have no
// effect.
type Options struct {
	// Prefix is the first part of every new token: at most 16 lower-case letters,
	// digits and single underscores, beginning with a letter. The default is "kf".
	// Keys with another prefix keep working.
	Prefix string

	// Environment is the second part of every new token, such as "live" or "test":
	// at most 16 lower-case letters and digits. The default is none.
	Environment string

	// KeyTTL is the lifetime of a key that is created without a TTL or an expiry
	// time: 1 ms to 100 years. The default is 15 days. Use [Never] for keys that do
	// not expire.
	KeyTTL time.Duration

	// MaxOverlap is the longest time for which a rotated key may keep working next
	// to its successor: at most 100 years. The default is 7 days.
	MaxOverlap time.Duration

	// Scopes lists the scopes that keys may be given. A scope is 1 to 8 segments
	// separated by colons, such as "read" or "reports:read". "*" stands for exactly
	// one segment, and "**" at the end for one or more. A wildcard in this list
	// permits that wildcard, not the scopes that it covers. Creating a key with
	// another scope fails with an [InvalidError]. The default, nil, permits every
	// well-formed scope.
	Scopes []string

	// VerifyTimeout limits the time of one Verify, including the time of the store:
	// 1 ms to 1 minute. After it, Verify returns an [ErrUnavailable]. The default is
	// 1 second.
	VerifyTimeout time.Duration

	// DisableCache makes every Verify read the store. By default, keys are kept in
	// memory until the change feed reports a change.
	DisableCache bool

	// CacheEntries is the greatest number of keys in memory. The default is 100 000.
	CacheEntries int

	// CacheBytes is the approximate limit of the memory for keys. The default is
	// 64 MiB.
	CacheBytes int

	// CacheMaxAge is the longest time for which a key is served from memory after
	// it was read, whatever the change feed says: 1 second to 1 hour. The default is
	// 1 minute.
	CacheMaxAge time.Duration

	// PollInterval is the time between two polls of the change feed while no key is
	// verified, and so the longest delay with which this process learns of a
	// revocation elsewhere: 10 ms to 1 minute. The default is 1 second.
	PollInterval time.Duration

	// PollAfter is the age of the last poll at which a verify makes the next one
	// begin: 1 ms to 1 minute. It is the delay with which a process that verifies keys
	// all the time learns of a revocation elsewhere; the time of a poll is added to it.
	// At most one poll begins in 10 ms, except on SQLite.
	//
	// On SQLite the verify itself polls, which takes microseconds, so the delay holds
	// for the first verify after a pause, too. On every other store the poll runs in
	// the background, and no verify waits for it.
	//
	// The default depends on the store, see [PollingStore]: 20 ms on SQLite, and 50 ms
	// on MariaDB, MySQL, MongoDB and a SQLite pool of the program's own. PostgreSQL
	// reports changes by itself, so that verifies cause no polls. Use [Never] to poll
	// once per PollInterval only.
	PollAfter time.Duration

	// MaxStaleness is how long keys are served from memory while the change feed
	// cannot be read: PollInterval to 1 hour. After that, every Verify reads the
	// store. The default is 5 seconds.
	MaxStaleness time.Duration

	// StaleGrace is how much longer keys may be served from memory while the store
	// does not answer at all: at most 1 hour. Keys that are known to have changed
	// are not served. The default is 0: Verify returns an [ErrUnavailable].
	StaleGrace time.Duration

	// OnPoll, if set, is called after every poll of the change feed in the background.
	// behind is how long ago the last successful poll began; err is the error of this
	// one. It is not called for polls that a verify or [Service.Sync] makes itself.
	// OnPoll must return quickly.
	OnPoll func(behind time.Duration, err error)

	// EventRetention is how long usage events are kept: 1 hour to 100 years. A
	// background task deletes older ones; totals and hourly counts stay. The default
	// is 30 days. Use [Never] to keep all events.
	//
	// Events include a sample of the requests without a valid key: at most 10 000
	// per process in 24 hours.
	EventRetention time.Duration

	// HourRetention is how long hourly counts are kept: 1 hour to 100 years. A
	// background task deletes older ones, except for hours that still have events;
	// totals stay. The default is 400 days. Use [Never] to keep all counts.
	HourRetention time.Duration

	// Usage says whether Verify waits until its use is stored. The default is
	// [UsageAsync].
	Usage UsageMode

	// FlushInterval is how long usage is collected before it is written, and so how
	// much usage a crash can lose with [UsageAsync]: 10 ms to 1 minute. The default
	// is 1 second.
	FlushInterval time.Duration

	// DisableEvents stores totals and hourly counts, but no usage events. Use it if
	// an event for every request is too much for the database. By default, events are
	// stored.
	DisableEvents bool

	// MaxPendingEvents is the greatest number of usage events that wait in memory
	// to be written. Further events are dropped and counted in [UsageStats]; totals
	// and hourly counts are never dropped. The default is 100 000.
	MaxPendingEvents int

	// MaxPendingBytes is the approximate limit of the memory for these events. The
	// default is 32 MiB.
	MaxPendingBytes int

	// RecordRequestID and RecordUserAgent store these fields of a [Request] with its
	// usage event. By default they are not stored: they need space, and in some
	// jurisdictions a user agent is personal data. Samples of refused requests never
	// contain them.
	RecordRequestID bool
	RecordUserAgent bool

	// Peppers are secrets for hashing the secrets of keys, by id. An id is 1 to 32
	// letters, digits, "-" and "_"; a pepper has at least 32 bytes. Keys hashed with
	// any of the peppers verify. The default is none.
	//
	// The database contains a check value for each id that has been used. A process
	// in which an id has a different value refuses to decide, see [ErrCheckFailed].
	Peppers map[string][]byte

	// CurrentPepper is the id of the pepper for new keys. Existing keys are hashed
	// again with it when they are used. Set it after every process has this pepper
	// in Peppers. The default is none: new keys are hashed without a pepper.
	CurrentPepper string

	// RequirePepper refuses keys that are hashed without a pepper. It needs a
	// CurrentPepper.
	RequirePepper bool

	// PasswordPolicy says which passwords users may choose. The zero value requires
	// 15 to 256 characters and refuses common passwords.
	PasswordPolicy PasswordPolicy

	// SingleScriptUsernames refuses new usernames that mix scripts, such as a Latin
	// name with a Cyrillic "а" (UTS #39, Single Script). Digits and punctuation go
	// with any script; Han goes with Hiragana and Katakana, with Hangul, or with
	// Bopomofo. Existing usernames keep working. By default, scripts may be mixed.
	SingleScriptUsernames bool

	// Mailer, if set, delivers the one-time tokens of [Service.SendPasswordReset]
	// and [Service.SendEmailVerification].
	Mailer Mailer

	// Logger receives messages about problems in the background. They contain no
	// secrets. The default is slog.Default().
	Logger *slog.Logger

	// Now returns the current time. Set it in tests only. The default is time.Now.
	Now func() time.Time
}

// UsageMode says when a use is stored.
type UsageMode uint8

const (
	// UsageAsync stores usage in the background, once per Options.FlushInterval.
	// Verify never waits for it. A crash loses the usage since the last flush.
	UsageAsync UsageMode = iota

	// UsageSync makes Verify wait until its use is stored, so that a crash loses
	// none. Concurrent calls share one write. If the store does not accept the use
	// within Options.VerifyTimeout, Verify returns an [ErrUnavailable], although the
	// use may be counted later.
	//
	// Only requests with a valid secret wait. Others are counted in the background,
	// because otherwise anyone could cause writes. On a Service from [Service.With],
	// Verify does not wait either: the write could be waiting for that transaction.
	UsageSync
)

// Never is the TTL of a key that does not expire.
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

// withDefaults returns the checked options, with defaults for zero fields.
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

// fill sets zero fields to their defaults.
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
	case o.PollAfter != 0 && o.PollAfter != Never && (o.PollAfter < time.Millisecond || o.PollAfter > time.Minute):
		return invalid("Options.PollAfter", "must be between 1 ms and 1 minute, or Never")
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

// IssuedOneTimeToken is a one-time token to send to its user.
type IssuedOneTimeToken struct {
	Token     OneTimeToken
	Purpose   OneTimePurpose
	User      User
	To        string    // the address to send it to
	ExpiresAt time.Time // exclusive
}

// Mailer delivers one-time tokens. It is called in the background and must return
// when ctx is done. Its error is logged, so it must not contain the token.
type Mailer interface {
	SendOneTimeToken(ctx context.Context, mail IssuedOneTimeToken) error
}

var _ redact.Redacted = Options{}

func (o Options) shown() redact.Fields { return redact.Of(o, "Peppers") }

// Format writes the fields that are set, and the ids of the peppers without the
// peppers, for every verb and flag.
func (o Options) Format(state fmt.State, verb rune) { o.shown().Format(state, verb) }

// LogValue returns the fields that Format writes, as a group.
func (o Options) LogValue() slog.Value { return o.shown().LogValue() }

// MarshalJSON returns the fields that Format writes, as an object.
func (o Options) MarshalJSON() ([]byte, error) { return o.shown().MarshalJSON() }

// MarshalText returns the text that Format writes.
func (o Options) MarshalText() ([]byte, error) { return o.shown().MarshalText() }

// scopeList lists the scopes of Options.Scopes for an error.
func scopeList(allowed []string) string {
	if len(allowed) == 0 {
		return "one of Options.Scopes, which lists none"
	}
	return "one of " + strings.Join(allowed, ", ")
}
