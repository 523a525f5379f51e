package keyfold_test

import (
	"context"
	"errors"
	"testing"

	"github.com/keyfold/keyfold"
)

// onEveryHost runs a test with each kind of transaction that a host may have.
func onEveryHost(t *testing.T, test func(*testing.T, host)) {
	for name, open := range hosts() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, open(t))
		})
	}
}

func TestKeyInAHostsTransactionLivesAndDiesWithIt(t *testing.T) {
	t.Parallel()
	onEveryHost(t, func(t *testing.T, h host) {
		svc := newService(t, h.store, nil)
		for _, end := range []string{"rollback", "commit"} {
			tx := h.begin(t)
			if err := tx.exec("INSERT INTO host_rows (id, n) VALUES (1, 1)"); err != nil {
				t.Fatal(err)
			}
			k := svc.With(tx.Tx)
			key, token, err := k.CreateKey(t.Context(), keyfold.NewKey{})
			if err != nil {
				t.Fatal(err)
			}
			if got := outcome(k, token.Reveal()); got != keyfold.OutcomeAllowed {
				t.Errorf("%s: inside the transaction: %v, want allowed", end, got)
			}
			if got := outcome(svc, token.Reveal()); got != keyfold.OutcomeUnknown {
				t.Errorf("%s: outside, before its end: %v, want unknown", end, got)
			}
			wantCode, wantRows := keyfold.OutcomeUnknown, 0
			if end == "commit" {
				wantCode, wantRows = keyfold.OutcomeAllowed, 1
				err = tx.commit()
			} else {
				err = tx.rollback()
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := outcome(svc, token.Reveal()); got != wantCode {
				t.Errorf("%s: outside, after it: %v, want %v", end, got, wantCode)
			}
			if got := h.count(t); got != wantRows {
				t.Errorf("%s: %d rows of the host, want %d", end, got, wantRows)
			}
			if end == "commit" {
				if err := svc.RevokeKey(t.Context(), key.ID, ""); err != nil {
					t.Error(err)
				}
			}
		}
	})
}

func TestRevokeInAHostsTransactionIsHeardAfterSync(t *testing.T) {
	t.Parallel()
	onEveryHost(t, func(t *testing.T, h host) {
		svc := newService(t, h.store, nil)
		key, token := create(t, svc, keyfold.NewKey{})
		heard(t, svc)
		if got := outcome(svc, token); got != keyfold.OutcomeAllowed {
			t.Fatal(got)
		}
		tx := h.begin(t)
		k := svc.With(tx.Tx)
		if err := k.RevokeKey(t.Context(), key.ID, "left"); err != nil {
			t.Fatal(err)
		}
		if got := outcome(k, token); got != keyfold.OutcomeRevoked {
			t.Errorf("inside the transaction: %v, want revoked", got)
		}
		if got := outcome(svc, token); got != keyfold.OutcomeAllowed {
			t.Errorf("outside, before the commit: %v, want allowed", got)
		}
		if err := tx.commit(); err != nil {
			t.Fatal(err)
		}
		if err := svc.Sync(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := outcome(svc, token); got != keyfold.OutcomeRevoked {
			t.Errorf("after commit and Sync: %v, want revoked", got)
		}
	})
}

func TestDuplicateInTheMiddleSparesTheHostsTransaction(t *testing.T) {
	// Mutation tried: without the savepoint PostgreSQL refuses everything after it.
	t.Parallel()
	onEveryHost(t, func(t *testing.T, h host) {
		svc := newService(t, h.store, nil)
		key, _ := create(t, svc, keyfold.NewKey{})
		record, err := h.store.Key(t.Context(), key.ID)
		if err != nil {
			t.Fatal(err)
		}
		tx := h.begin(t)
		if err := tx.exec("INSERT INTO host_rows (id, n) VALUES (1, 1)"); err != nil {
			t.Fatal(err)
		}
		m := keyfold.Mutation{At: record.CreatedAt, Action: "key.create", Target: key.ID}
		if err := tx.Store.CreateKey(t.Context(), record, m); !errors.Is(err, keyfold.ErrConflict) {
			t.Errorf("duplicate: %v, want ErrConflict", err)
		}
		_, token, err := svc.With(tx.Tx).CreateKey(t.Context(), keyfold.NewKey{})
		if err != nil {
			t.Fatalf("after the duplicate: %v", err)
		}
		if err := tx.exec("INSERT INTO host_rows (id, n) VALUES (2, 2)"); err != nil {
			t.Fatal(err)
		}
		if err := tx.commit(); err != nil {
			t.Fatal(err)
		}
		if got := outcome(svc, token.Reveal()); got != keyfold.OutcomeAllowed || h.count(t) != 2 {
			t.Errorf("after the commit: %v and %d rows of the host, want allowed and 2", got, h.count(t))
		}
		page, err := svc.Audit(t.Context(), keyfold.AuditQuery{Target: keyfold.Only(key.ID)})
		if err != nil || len(page.Entries) != 1 {
			t.Errorf("the duplicate left %d audit rows, %v; want the first key's own", len(page.Entries), err)
		}
	})
}

func TestDeadlockInAHostsTransactionAsksForARetryAndLosesNothing(t *testing.T) {
	// MariaDB rolls the whole transaction back on 1213. A statement after it would
	// commit by itself, so the bound Service must not send any.
	t.Parallel()
	h := mariadbHost(t)
	svc := newService(t, h.store, nil)
	one, _ := create(t, svc, keyfold.NewKey{})
	two, _ := create(t, svc, keyfold.NewKey{})
	if err := h.begin(t).rollback(); err != nil {
		t.Fatal(err)
	}
	a, b := h.begin(t), h.begin(t)
	for i, tx := range []hostTx{a, b} {
		if err := tx.exec([]string{"INSERT INTO host_rows (id, n) VALUES (1, 1)", "INSERT INTO host_rows (id, n) VALUES (2, 2)"}[i]); err != nil {
			t.Fatal(err)
		}
	}
	inA, inB := svc.With(a.Tx), svc.With(b.Tx)
	if err := inA.DisableKey(t.Context(), one.ID, "a"); err != nil {
		t.Fatal(err)
	}
	if err := inB.DisableKey(t.Context(), two.ID, "b"); err != nil {
		t.Fatal(err)
	}
	crossed := make(chan error, 1)
	go func() { crossed <- inA.DisableKey(context.Background(), two.ID, "a") }()
	errB := inB.DisableKey(t.Context(), one.ID, "b")
	errA := <-crossed

	winner, loser, bound, loserErr := a, b, inB, errB
	if errA != nil {
		winner, loser, bound, loserErr = b, a, inA, errA
	}
	if !errors.Is(loserErr, keyfold.ErrRetry) || errA != nil && errB != nil {
		t.Fatalf("errors %v and %v, want one ErrRetry", errA, errB)
	}
	if _, _, err := bound.CreateKey(t.Context(), keyfold.NewKey{Name: "stray"}); !errors.Is(err, keyfold.ErrRetry) {
		t.Errorf("a change after the deadlock: %v, want ErrRetry", err)
	}
	if err := loser.rollback(); err != nil {
		t.Error(err)
	}
	if err := winner.commit(); err != nil {
		t.Fatal(err)
	}
	if got := h.count(t); got != 1 {
		t.Errorf("%d rows of the host, want the winner's one", got)
	}
	page, err := svc.Keys(t.Context(), keyfold.KeyQuery{})
	if err != nil || len(page.Keys) != 2 {
		t.Errorf("%d keys, %v; a stray one was committed by itself", len(page.Keys), err)
	}
}

func TestInTxIsAllOrNothing(t *testing.T) {
	t.Parallel()
	onEveryStore(t, func(t *testing.T, store keyfold.Store) {
		svc := newService(t, store, nil)
		old, oldToken := create(t, svc, keyfold.NewKey{})
		heard(t, svc)
		outcome(svc, oldToken)
		refused := errors.New("the host says no")
		for _, want := range []error{refused, nil} {
			var token keyfold.Token
			err := svc.InTx(t.Context(), func(k *keyfold.Service) (err error) {
				if err := k.RevokeKey(t.Context(), old.ID, ""); err != nil {
					return err
				}
				if _, token, err = k.CreateKey(t.Context(), keyfold.NewKey{}); err != nil {
					return err
				}
				if got := outcome(k, token.Reveal()); got != keyfold.OutcomeAllowed {
					t.Errorf("inside: %v", got)
				}
				if got := outcome(svc, oldToken); got != keyfold.OutcomeAllowed {
					t.Errorf("outside, before the commit: %v", got)
				}
				return want
			})
			if err != want {
				t.Errorf("InTx = %v, want %v", err, want)
			}
			wantOld, wantNew := keyfold.OutcomeAllowed, keyfold.OutcomeUnknown
			if want == nil {
				wantOld, wantNew = keyfold.OutcomeRevoked, keyfold.OutcomeAllowed
			}
			if got := outcome(svc, oldToken); got != wantOld {
				t.Errorf("after %v: old key %v, want %v", want, got, wantOld)
			}
			if got := outcome(svc, token.Reveal()); got != wantNew {
				t.Errorf("after %v: new key %v, want %v", want, got, wantNew)
			}
		}
	}, "mongodb") // it has no transactions
}

func TestInTxOfABoundServiceJustRuns(t *testing.T) {
	t.Parallel()
	onEveryHost(t, func(t *testing.T, h host) {
		svc := newService(t, h.store, nil)
		tx := h.begin(t)
		var token keyfold.Token
		err := svc.With(tx.Tx).InTx(t.Context(), func(k *keyfold.Service) (err error) {
			_, token, err = k.CreateKey(t.Context(), keyfold.NewKey{})
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := svc.With(tx.Tx).Close(t.Context()); err != nil {
			t.Error(err)
		}
		if err := tx.commit(); err != nil {
			t.Fatal(err)
		}
		if got := outcome(svc, token.Reveal()); got != keyfold.OutcomeAllowed {
			t.Errorf("after the commit: %v; Close of a bound Service must do nothing", got)
		}
	})
}

// again repeats a transaction that the store gave up after all its attempts, as a
// program would. On a busy machine the few seconds that InTx has are not always
// enough for a deadlock that repeats itself.
func again(fn func() error) error {
	err := fn()
	for range 5 {
		if !errors.Is(err, keyfold.ErrRetry) {
			return err
		}
		err = fn()
	}
	return err
}

func TestInTxRunsAgainAfterADeadlock(t *testing.T) {
	// Two transactions change two keys in opposite orders, many times over.
	t.Parallel()
	onEveryStore(t, func(t *testing.T, store keyfold.Store) {
		svc := newService(t, store, nil)
		one, _ := create(t, svc, keyfold.NewKey{})
		two, _ := create(t, svc, keyfold.NewKey{})
		const rounds = 15
		done := make(chan error, 2)
		for _, order := range [][]string{{one.ID, two.ID}, {two.ID, one.ID}} {
			go func() {
				for range rounds {
					err := again(func() error {
						return svc.InTx(context.Background(), func(k *keyfold.Service) error {
							for _, id := range order {
								if err := k.DisableKey(context.Background(), id, ""); err != nil {
									return err
								}
								if err := k.EnableKey(context.Background(), id); err != nil {
									return err
								}
							}
							return nil
						})
					})
					if err != nil {
						done <- err
						return
					}
				}
				done <- nil
			}()
		}
		for range 2 {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
		for _, id := range []string{one.ID, two.ID} {
			key, err := svc.Key(t.Context(), id)
			if err != nil || key.Version != 1+2*2*rounds {
				t.Errorf("version %d, %v; want %d: every change once", key.Version, err, 1+2*2*rounds)
			}
		}
	}, "mongodb") // it has no transactions
}
