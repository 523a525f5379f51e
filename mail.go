package keyfold

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"github.com/keyfold/keyfold/internal/identifier"
)

// SendPasswordReset mails a token for [PurposeResetPassword] to the user of that
// name, through Options.Mailer. It answers before anything is looked up, so that
// neither its answer nor its time tells whether there is such a user; failures
// after that are logged. ip is the client's address; the zero Addr means that it
// is unknown. Errors: [InvalidError] without an Options.Mailer or on a Service
// that is bound to a transaction, [ErrRateLimited] after too many requests from this
// address, [ErrUnavailable], which is an [ErrRateLimited] too when too many mails are
// being sent.
//
// One user is sent five mails for one purpose, and one more every three hours,
// whichever client asks and by either name; further requests are answered in the same way
// and send nothing. Requests from an address where the user logged in before are
// counted apart, so that strangers cannot use up a user's mails.
func (s *Service) SendPasswordReset(ctx context.Context, login string, ip netip.Addr) error {
	return s.sendOneTime(ctx, PurposeResetPassword, login, ip)
}

// SendEmailVerification mails a token for [PurposeVerifyEmail], as [Service.SendPasswordReset]
// does for its own. A user whose address is verified gets none.
func (s *Service) SendEmailVerification(ctx context.Context, login string, ip netip.Addr) error {
	return s.sendOneTime(ctx, PurposeVerifyEmail, login, ip)
}

func (s *Service) sendOneTime(ctx context.Context, purpose OneTimePurpose, login string, ip netip.Addr) error {
	if s.opts.Mailer == nil {
		return invalid("Options.Mailer", "must be set to send mail")
	}
	if s.bound {
		return errBound
	}
	_, key, ok := identifier.LoginKey(login)
	if !ok {
		return nil // nobody can be called so, and nobody is told
	}
	leave, err := s.gate.admit(ctx, ip)
	if err != nil {
		return err
	}
	if !s.outbox.take() {
		leave()
		return errMailBusy
	}
	sent := false
	defer func() {
		if !sent {
			s.outbox.giveBack()
			leave()
		}
	}()
	a, err := s.newAttempt(ctx, key, ip)
	if err == nil {
		err = s.reserveMailFrom(ctx, purpose, &a)
	}
	if err != nil {
		s.gate.learn(ip, err)
		return err
	}
	sent = true
	s.outbox.send(func(ctx context.Context) {
		defer leave()
		if err := s.mailOneTime(ctx, purpose, login, &a, leave); err != nil {
			s.opts.Logger.Error("keyfold: a one-time token could not be mailed",
				slog.String("purpose", purpose.String()), slog.Any("error", err))
		}
	})
	return nil
}

// reserveMailFrom counts a mail on the address that asks for it.
func (s *Service) reserveMailFrom(ctx context.Context, purpose OneTimePurpose, a *attempt) error {
	if a.from == "" {
		return nil
	}
	from := []ThrottleReservation{{a.name("mails", purpose.String()+"\x00"+a.from, strangeBytes), mailFromRule}}
	wait, _, err := s.reserveAll(ctx, a, from, s.now())
	if err == nil && wait > 0 {
		err = &limited{wait: wait}
	}
	return err
}

const errMailBusy = busy("keyfold: too many mails are being sent")

// mailOneTime looks the user up, makes the token and mails it, unless the user
// was sent too many. It calls leave before the Mailer, which may take long.
func (s *Service) mailOneTime(ctx context.Context, purpose OneTimePurpose, login string, a *attempt, leave func()) error {
	user, err := s.userByLogin(ctx, login)
	switch {
	case errors.Is(err, ErrNotFound):
		return nil
	case err != nil:
		return err
	case user.Email == "", !user.DisabledAt.IsZero(), purpose == PurposeVerifyEmail && !user.EmailVerifiedAt.IsZero():
		return nil
	}
	counted, err := s.reserveMailTo(ctx, purpose, &user, a)
	if err != nil || counted == nil {
		return err
	}
	mail, err := s.newOneTime(ctx, purpose, &user, "")
	if err == nil {
		leave()
		err = s.opts.Mailer.SendOneTimeToken(ctx, mail)
	}
	if err != nil {
		s.settle(ctx, AttemptResult{Refund: counted})
	}
	return err
}

// reserveMailTo counts a mail to a user, or returns nil when there were too many.
func (s *Service) reserveMailTo(ctx context.Context, purpose OneTimePurpose, user *UserRecord, a *attempt) ([]ThrottleReservation, error) {
	now, of := s.now(), purpose.String()+"\x00"+user.ID
	if a.from != "" {
		known, err := s.marked(ctx, a.knownName(a.account), now)
		if err != nil {
			return nil, err
		}
		if known {
			of += "\x00" + a.from
		}
	}
	mails := []ThrottleReservation{{a.name("mail", of, userBytes), mailToRule}}
	wait, _, err := s.reserveAll(ctx, a, mails, now)
	if err != nil {
		return nil, err
	}
	if wait > 0 {
		if s.logins.mayLog(now) {
			s.opts.Logger.Info("keyfold: a mail was not sent, because the user was already sent too many",
				slog.String("purpose", purpose.String()), slog.String("user", user.ID))
		}
		return nil, nil
	}
	return mails, nil
}

const (
	maxMails    = 64 // at once
	mailTimeout = 30 * time.Second
	mailGrace   = time.Second // for a Mailer to return when its context is done
)

// outbox runs what sends mail, a bounded number at a time, and none after it
// was closed.
type outbox struct {
	mu     sync.Mutex
	group  sync.WaitGroup
	sent   int // now
	closed bool
	log    *slog.Logger
	stop   context.CancelFunc
	ctx    context.Context // of all that is sent; ends with the outbox
}

func newOutbox(log *slog.Logger) *outbox {
	o := &outbox{log: log}
	o.ctx, o.stop = context.WithCancel(context.Background())
	return o
}

// take takes a place for a mail, before it costs a store call. It reports false
// when there is none. Each place is used by send or given back.
func (o *outbox) take() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed || o.sent >= maxMails {
		return false
	}
	o.sent++
	o.group.Add(1)
	return true
}

func (o *outbox) giveBack() {
	o.mu.Lock()
	o.sent--
	o.mu.Unlock()
	o.group.Done()
}

// send runs fn in the background, in a place that was taken. A panic of the
// host's Mailer does not end the host.
func (o *outbox) send(fn func(context.Context)) {
	go func() {
		defer o.giveBack()
		defer func() {
			if reason := recover(); reason != nil {
				o.log.Error("keyfold: the Mailer panicked", slog.Any("panic", reason))
			}
		}()
		ctx, cancel := context.WithTimeout(o.ctx, mailTimeout)
		defer cancel()
		fn(ctx)
	}()
}

// close lets mails go that are on their way until ctx is done, and then ends
// them. It does not wait for a Mailer that goes on all the same.
func (o *outbox) close(ctx context.Context) {
	o.mu.Lock()
	o.closed = true
	o.mu.Unlock()
	gone := make(chan struct{})
	go func() {
		o.group.Wait()
		close(gone)
	}()
	select {
	case <-gone:
	case <-ctx.Done():
	}
	o.stop()
	select {
	case <-gone:
	case <-time.After(mailGrace):
		o.log.Error("keyfold: the Mailer did not return when its context was done")
	}
}
