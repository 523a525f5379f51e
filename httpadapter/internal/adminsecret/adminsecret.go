// Package adminsecret is the one gate of the handlers that the admin secret protects.
// It sets the headers of every answer, checks the secret, limits and logs wrong
// secrets, and names the administrator for the audit log.
//
// The right secret always passes, whatever other requests sent before, from whatever
// address. Wrong secrets are counted by address, slowed down and logged. The exception
// is a secret under 32 characters, which can be guessed: see [Gate.Check].
package adminsecret

import (
	"context"
	"log/slog"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/httpadapter"
	"github.com/keyfold/keyfold/httpadapter/internal/failures"
	"github.com/keyfold/keyfold/httpadapter/internal/perservice"
)

// header is the canonical name of the only header that a secret is read from.
const header = "Secret-Key"

// actorName is the name of the administrator in the audit log.
const actorName = "admin"

const (
	// shortCompares is how many short secrets from new addresses are compared in a
	// second. Half of them are reserved for addresses that sent no wrong secret in
	// the last minute, so that one address that guesses cannot use up all.
	shortCompares = 10

	// knownFor is how long an address that presented the right secret is exempt
	// from that bound.
	knownFor = 24 * time.Hour

	// maxKnown bounds the memory for addresses. Only administrators add to it.
	maxKnown = 1024

	// logLines is how many lines are logged in a minute about wrong secrets, and
	// how many about previous secrets.
	logLines = 20

	// previousEvery is how often the use of the previous secret is logged for one
	// address.
	previousEvery = time.Hour
)

// Options are the options that the handlers have in common.
type Options struct {
	Secret, PreviousSecret string
	AllowShortSecrets      bool
	TrustedProxies         httpadapter.Proxies
	Logger                 *slog.Logger     // default slog.Default()
	Now                    func() time.Time // default time.Now
}

// Gate lets requests with the right secret pass. It is safe for concurrent use.
type Gate struct {
	slots   *slots
	proxies httpadapter.Proxies
	log     *slog.Logger
	now     func() time.Time
	*state
}

// state is shared by all handlers of a Service, so that a client cannot guess faster
// by sending its guesses to several of them.
type state struct {
	failures *failures.Limiter
	warned   sync.Once // of a short secret

	limits struct {
		sync.Mutex
		compares pace   // of short secrets from new addresses
		known    recent // addresses that presented the right secret
		previous recent // addresses whose use of the previous secret was logged
		lines    struct{ wrong, uncompared, previous pace }
		omitted  int // lines about wrong secrets that were not logged since the last one
	}
}

func newState() *state {
	s := &state{failures: failures.New()}
	s.limits.compares, s.limits.known, s.limits.previous = newPace(shortCompares, time.Second), recent{}, recent{}
	s.limits.lines.wrong = newPace(logLines, time.Minute)
	s.limits.lines.uncompared = newPace(1, time.Minute)
	s.limits.lines.previous = newPace(logLines, time.Minute)
	return s
}

// New returns a Gate. It logs warnings about weak options, once for each Service. The
// error is a [keyfold.InvalidError] that names the option and does not repeat a secret.
func New(svc *keyfold.Service, o Options) (*Gate, error) {
	if svc == nil {
		return nil, &keyfold.InvalidError{Field: "svc", Reason: "must not be nil; keyfold.New returns a Service"}
	}
	slots, err := newSlots(o.Secret, o.PreviousSecret, o.AllowShortSecrets)
	if err != nil {
		return nil, err
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	g := &Gate{slots: slots, proxies: o.TrustedProxies, log: o.Logger, now: o.Now, state: perservice.Of(svc, newState)}
	if slots.short {
		g.warned.Do(func() {
			g.log.Warn("keyfold: an admin secret has fewer than 32 characters and can be guessed: secrets of that length are compared at most ten times a second, " +
				"except from this machine and from addresses that presented the right one in the last 24 hours; set a longer secret")
		})
	}
	perservice.WarningsOf(svc).Log(g.log, o.TrustedProxies.Warnings())
	return g, nil
}

// Logger returns Options.Logger or its default.
func (g *Gate) Logger() *slog.Logger { return g.log }

// Now returns the time by Options.Now or its default.
func (g *Gate) Now() time.Time { return g.now() }

// SetHeaders sets the headers that every answer has, with or without the secret.
func (g *Gate) SetHeaders(h http.Header) {
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
}

// Outcome is the result of a check.
type Outcome int

const (
	Right   Outcome = iota // the secret is right
	Missing                // the request has no secret
	Wrong                  // the secret is wrong
	Limited                // the secret is wrong or was not compared, and the client has to wait
)

// Check compares the secret of a request. Handlers call it before they look at anything
// else in the request. If the secret is Right, admitted is the request with the
// [keyfold.Actor] that changes are recorded under. If the outcome is Limited, wait is
// how long the client has to wait.
//
// Wrong secrets are counted by address. After ten in a minute, further wrong secrets are
// Limited until the minute is over. The right secret is Right in any case, and a
// missing secret is not counted.
//
// The exception is a program whose secret has fewer than 32 characters. Texts of
// that length are compared at most ten times a second, for all addresses together that
// have not presented the right secret in the last 24 hours; beyond that they are
// Limited. Requests from this machine are always compared.
func (g *Gate) Check(r *http.Request) (admitted *http.Request, outcome Outcome, wait time.Duration) {
	ip := g.proxies.ClientIP(r)
	outcome, wait = g.check(r, ip)
	if outcome != Right {
		return nil, outcome, wait
	}
	actor := keyfold.Actor{Name: actorName, IP: ip, RequestID: r.Header.Get("X-Request-Id")}
	return r.WithContext(keyfold.WithActor(r.Context(), actor)), Right, 0
}

func (g *Gate) check(r *http.Request, address netip.Addr) (outcome Outcome, wait time.Duration) {
	values := r.Header[header]
	if len(values) == 0 || len(values) == 1 && strings.TrimSpace(values[0]) == "" {
		return Missing, 0
	}
	now := g.now()
	if len(values) == 1 {
		if !g.mayCompare(r, values[0], address, now) {
			g.logUncompared(r.Context(), address, now)
			return Limited, time.Second
		}
		right, previous := g.slots.compare(values[0])
		if right {
			g.admit(r.Context(), address, now, previous)
			return Right, 0
		}
	}
	failed, wait := g.failures.Fail(now, address)
	if failed == 1 || failed == failures.Max {
		g.logWrong(r.Context(), address, now, failed)
	}
	if wait > 0 {
		return Limited, wait
	}
	return Wrong, 0
}

// mayCompare reports whether the bound on short secrets allows a text to be compared.
// The bound does not apply to a text of 32 characters or more.
func (g *Gate) mayCompare(r *http.Request, text string, address netip.Addr, now time.Time) bool {
	if !g.slots.short || len(text) >= minSecret || isLocal(r) {
		return true
	}
	allowed := shortCompares
	if g.failures.HasFailed(now, address) {
		allowed /= 2
	}
	g.limits.Lock()
	defer g.limits.Unlock()
	return g.limits.known.within(address, now, knownFor) || g.limits.compares.take(now, allowed)
}

// isLocal reports whether the request was made on this machine: its peer is a loopback
// address, and no header says that a proxy forwarded it. Requests through a proxy on
// this machine that adds none of these headers look local.
func isLocal(r *http.Request) bool {
	for _, forwarded := range [...]string{"Forwarded", "Via", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Real-Ip"} {
		if len(r.Header[forwarded]) > 0 {
			return false
		}
	}
	return httpadapter.Proxies{}.ClientIP(r).IsLoopback()
}

// admit remembers the address, and logs the use of the previous secret.
func (g *Gate) admit(ctx context.Context, address netip.Addr, now time.Time, previous bool) {
	g.limits.Lock()
	g.limits.known.add(address, now)
	due := previous && !g.limits.previous.within(address, now, previousEvery) && g.limits.lines.previous.take(now, logLines)
	if due {
		g.limits.previous.add(address, now)
	}
	g.limits.Unlock()
	if due {
		g.warn(ctx, "keyfold: the previous admin secret is still in use", address)
	}
}

func (g *Gate) logWrong(ctx context.Context, address netip.Addr, now time.Time, failed int) {
	g.limits.Lock()
	due, omitted := g.limits.lines.wrong.take(now, logLines), g.limits.omitted
	if due {
		g.limits.omitted = 0
	} else {
		g.limits.omitted++
	}
	g.limits.Unlock()
	if due {
		g.warn(ctx, "keyfold: a wrong admin secret was sent", address, slog.Int("failures", failed), slog.Int("omitted", omitted))
	}
}

func (g *Gate) logUncompared(ctx context.Context, address netip.Addr, now time.Time) {
	g.limits.Lock()
	due := g.limits.lines.uncompared.take(now, 1)
	g.limits.Unlock()
	if due {
		g.warn(ctx, "keyfold: admin secrets were not compared, because too many short ones come from new addresses", address)
	}
}

func (g *Gate) warn(ctx context.Context, message string, address netip.Addr, attrs ...slog.Attr) {
	text := "unknown"
	if address.IsValid() {
		text = address.String()
	}
	g.log.LogAttrs(ctx, slog.LevelWarn, message, append(attrs, slog.String("ip", text))...)
}
