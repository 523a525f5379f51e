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
	leave, err := s.admit(ctx, ip)
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
	if err := s.reserveMail(ctx, purpose, key, ip); err != nil {
		s.gate.learn(ip, err)
		return err
	}
	sent = true
	s.outbox.send(func(ctx context.Context) {
		defer leave()
		if err := s.mailOneTime(ctx, purpose, login, leave); err != nil {
			s.opts.Logger.Error("keyfold: a one-time token could not be mailed",
				slog.String("purpose", purpose.String()), slog.Any("error", err))
		}
	})
	return nil
}

// reserveMail counts a mail before anything is looked up.
func (s *Service) reserveMail(ctx context.Context, purpose OneTimePurpose, key string, ip netip.Addr) error {
	a, err := s.newAttempt(ctx, purpose.String()+"\x00"+key, ip)
	if err != nil {
		return err
	}
	if a.from != "" {
		a.from = purpose.String() + " " + a.from // apart from log-ins
	}
	return s.reserveAll(ctx, a.strange(), loginRule, s.now())
}

const errMailBusy = busy("keyfold: too many mails are being sent")

// mailOneTime looks the user up, makes the token and mails it. It calls leave
// when it is done with the store: the Mailer may take long.
func (s *Service) mailOneTime(ctx context.Context, purpose OneTimePurpose, login string, leave func()) error {
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
	leave()
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
