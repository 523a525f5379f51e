// Package adminsecret decides whether a request carries the admin secret, for
// every handler that asks for it.
//
// The right secret always passes: what other requests sent before, from whatever
// address, does not count. Wrong secrets are counted by address, slowed down and
// logged. The exception are secrets under 32 characters, which can be guessed: see
// [Guard.Check].
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

// Header is the only place a secret is read from, in its canonical form.
const Header = "Secret-Key"

const (
	// shortCompares is how often a second short secrets from new addresses are
	// compared. Half of them are kept for addresses that sent no wrong secret
	// within the last minute, so that one address that guesses cannot use up all.
	shortCompares = 10

	// knownFor is how long an address that presented the right secret is exempt
	// from that bound.
	knownFor = 24 * time.Hour

	// maxKnown bounds the memory for addresses. Only administrators add to it.
	maxKnown = 1024

	// logLines is how many lines a minute are logged about wrong secrets, and as
	// many about previous ones.
	logLines = 20

	// previousEvery is how often the use of the previous secret is logged for one
	// address.
	previousEvery = time.Hour
)

// Options are the options of the handlers.
type Options struct {
	Secret, PreviousSecret string
	AllowShortSecrets      bool
	TrustedProxies         httpadapter.Proxies
	Logger                 *slog.Logger
	Now                    func() time.Time
}

// Guard asks for the secret. It is safe for concurrent use.
type Guard struct {
	slots   *slots
	proxies httpadapter.Proxies
	log     *slog.Logger
	now     func() time.Time
	*state
}

// state is what all handlers of a Service share, so that guesses are not twice as
// fast where there are two of them.
type state struct {
	failures *failures.Limiter
	warned   sync.Once // of a short secret

	mu       sync.Mutex // guards the fields below
	compares pace       // of short secrets from new addresses
	known    recent     // addresses that presented the right secret
	previous recent     // addresses whose use of the previous secret was logged
	lines    struct{ wrong, uncompared, previous pace }
	leftOut  int // lines about wrong secrets since the last one
}

// states is the one place where the handlers of a Service find each other.
var states perservice.States[state]

func newState() *state {
	s := &state{failures: failures.New(), compares: newPace(shortCompares, time.Second), known: recent{}, previous: recent{}}
	s.lines.wrong = newPace(logLines, time.Minute)
	s.lines.uncompared = newPace(1, time.Minute)
	s.lines.previous = newPace(logLines, time.Minute)
	return s
}

// New returns a Guard, and warns of weak options, once for each Service. Errors: an
// [keyfold.InvalidError] for an option, which does not repeat a secret.
func New(svc *keyfold.Service, o Options) (*Guard, error) {
	slots, err := newSlots(o.Secret, o.PreviousSecret, o.AllowShortSecrets)
	if err != nil {
		return nil, err
	}
	g := &Guard{slots: slots, proxies: o.TrustedProxies, log: o.Logger, now: o.Now, state: states.Of(svc, newState)}
	if slots.short {
		g.warned.Do(func() {
			g.log.Warn("keyfold: an admin secret has fewer than 32 characters and can be guessed: secrets of that length are compared at most ten times a second, " +
				"except from this machine and from addresses that presented the right one in the last 24 hours; set a longer secret")
		})
	}
	perservice.WarnOnce(svc, g.log, o.TrustedProxies.Warnings())
	return g, nil
}

// Outcome is what became of a request's secret.
type Outcome int

const (
	Right   Outcome = iota // it may do everything
	Missing                // there is none
	Wrong                  // it is wrong
	Limited                // it is wrong, or was not compared, and the client has to wait
)

// Check compares the secret of a request, before anything else is asked. A missing
// secret is not counted. Wrong ones are counted by address; after ten in a minute
// they are Limited until the minute is over, and wait says for how long. The
// right one is Right in any case.
//
// The exception are texts under 32 characters where a secret is that short: they
// are compared at most ten times a second for all addresses that have not
// presented the right secret in the last 24 hours. Beyond that they are Limited.
// Requests from this machine are always compared.
func (g *Guard) Check(r *http.Request) (outcome Outcome, address netip.Addr, wait time.Duration) {
	address = g.proxies.ClientIP(r)
	values := r.Header[Header]
	if len(values) == 0 || len(values) == 1 && strings.TrimSpace(values[0]) == "" {
		return Missing, address, 0
	}
	now := g.now()
	if len(values) == 1 {
		if !g.mayCompare(r, values[0], address, now) {
			g.tellUncompared(r.Context(), address, now)
			return Limited, address, time.Second
		}
		right, previous := g.slots.compare(values[0])
		if right {
			g.admit(r.Context(), address, now, previous)
			return Right, address, 0
		}
	}
	failed, wait := g.failures.Fail(now, address)
	if failed == 1 || failed == failures.Max {
		g.tellWrong(r.Context(), address, now, failed)
	}
	if wait > 0 {
		return Limited, address, wait
	}
	return Wrong, address, 0
}

// mayCompare reports whether the bound on short secrets lets a text be compared.
// A text of 32 characters or more can only be a secret that is not short.
func (g *Guard) mayCompare(r *http.Request, text string, address netip.Addr, now time.Time) bool {
	if !g.slots.short || len(text) >= minSecret || isLocal(r) {
		return true
	}
	allowed := shortCompares
	if g.failures.HasFailed(now, address) {
		allowed /= 2
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.known.within(address, now, knownFor) || g.compares.take(now, allowed)
}

// isLocal reports whether the request was made on this machine: its peer is a
// loopback address and no proxy says that it forwards it. A proxy on this machine
// that adds none of these headers cannot be told from its clients.
func isLocal(r *http.Request) bool {
	for _, forwarded := range [...]string{"Forwarded", "Via", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Real-Ip"} {
		if len(r.Header[forwarded]) > 0 {
			return false
		}
	}
	return httpadapter.Proxies{}.ClientIP(r).IsLoopback()
}

// admit remembers the address, and logs the use of the previous secret.
func (g *Guard) admit(ctx context.Context, address netip.Addr, now time.Time, previous bool) {
	g.mu.Lock()
	g.known.add(address, now)
	tell := previous && !g.previous.within(address, now, previousEvery) && g.lines.previous.take(now, logLines)
	if tell {
		g.previous.add(address, now)
	}
	g.mu.Unlock()
	if tell {
		g.warn(ctx, "keyfold: the previous admin secret is still in use", address)
	}
}

func (g *Guard) tellWrong(ctx context.Context, address netip.Addr, now time.Time, failed int) {
	g.mu.Lock()
	tell, leftOut := g.lines.wrong.take(now, logLines), g.leftOut
	if tell {
		g.leftOut = 0
	} else {
		g.leftOut++
	}
	g.mu.Unlock()
	if tell {
		g.warn(ctx, "keyfold: a wrong admin secret was sent", address, slog.Int("failures", failed), slog.Int("omitted", leftOut))
	}
}

func (g *Guard) tellUncompared(ctx context.Context, address netip.Addr, now time.Time) {
	g.mu.Lock()
	tell := g.lines.uncompared.take(now, 1)
	g.mu.Unlock()
	if tell {
		g.warn(ctx, "keyfold: admin secrets were not compared, because too many short ones come from new addresses", address)
	}
}

func (g *Guard) warn(ctx context.Context, message string, address netip.Addr, attrs ...slog.Attr) {
	text := "unknown"
	if address.IsValid() {
		text = address.String()
	}
	g.log.LogAttrs(ctx, slog.LevelWarn, message, append(attrs, slog.String("address", text))...)
}
