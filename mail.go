package keyfold

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"sync"
	"time"
)

// SendResetPassword mails a token for [ResetPassword] to the user of that
// name, through Options.Mailer. It answers before anything is looked up, so that
// neither its answer nor its time tells whether there is such a user; what goes
// wrong afterwards is logged. ip is the address of whoever asks; the zero Addr
// is "unknown". Errors: [InvalidError] without an Options.Mailer or on a Service
// that is bound to a transaction, [ErrLimited] when there were too many requests
// for this account or from this address, [ErrUnavailable], which is an
// [ErrLimited] too when too many mails are on their way.
func (s *Service) SendResetPassword(ctx context.Context, login string, ip netip.Addr) error {
	return s.sendOneTime(ctx, ResetPassword, login, ip)
}

// SendVerifyEmail mails a token for [VerifyEmail], as [Service.SendResetPassword]
// does for its own. A user whose address is verified gets none.
func (s *Service) SendVerifyEmail(ctx context.Context, login string, ip netip.Addr) error {
	return s.sendOneTime(ctx, VerifyEmail, login, ip)
}

func (s *Service) sendOneTime(ctx context.Context, purpose OneTimePurpose, login string, ip netip.Addr) error {
	if s.opts.Mailer == nil {
		return invalid("Options.Mailer", "needed to send mail")
	}
	if s.bound {
		return errBound
	}
	_, key, ok := loginKey(login)
	if !ok {
		return nil // nobody can be called so, and nobody is told
	}
	a, err := s.newAttempt(ctx, purpose.String()+"\x00"+key, ip)
	if err != nil {
		return err
	}
	if a.from != "" {
		a.from = purpose.String() + " " + a.from // apart from log-ins
	}
	if err := s.reserveAll(ctx, a.strange(), loginRule, s.now()); err != nil {
		return err
	}
	sent := s.outbox.send(func(ctx context.Context) {
		if err := s.mailOneTime(ctx, purpose, login); err != nil {
			s.opts.Logger.Error("keyfold: a one-time token could not be mailed",
				slog.String("purpose", purpose.String()), slog.Any("error", err))
		}
	})
	if !sent {
		return errMailBusy
	}
	return nil
}

const errMailBusy = busy("keyfold: too many mails are being sent")

// mailOneTime looks the user up, makes the token and mails it.
func (s *Service) mailOneTime(ctx context.Context, purpose OneTimePurpose, login string) error {
	user, err := s.userByLogin(ctx, login)
	switch {
	case errors.Is(err, ErrNotFound):
		return nil
	case err != nil:
		return err
	case user.Email == "", !user.DisabledAt.IsZero(), purpose == VerifyEmail && !user.EmailVerifiedAt.IsZero():
		return nil
	}
	mail, err := s.newOneTime(ctx, purpose, &user, "")
	if err != nil {
		return err
	}
	return s.opts.Mailer.Mail(ctx, mail)
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

// send runs fn in the background, or reports false when it may not.
func (o *outbox) send(fn func(context.Context)) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed || o.sent >= maxMails {
		return false
	}
	o.sent++
	o.group.Go(func() {
		ctx, cancel := context.WithTimeout(o.ctx, mailTimeout)
		defer cancel()
		defer o.done()
		fn(ctx)
	})
	return true
}

// done also keeps a panic of the host's Mailer from ending the host.
func (o *outbox) done() {
	if reason := recover(); reason != nil {
		o.log.Error("keyfold: the Mailer panicked", slog.Any("panic", reason))
	}
	o.mu.Lock()
	o.sent--
	o.mu.Unlock()
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
