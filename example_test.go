package keyfold_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/store/memory"
)

// The examples use an in-memory store and a fixed clock. They ignore errors that cannot
// occur.
func exampleService() (context.Context, *keyfold.Service) {
	svc, err := keyfold.New(memory.New(), &keyfold.Options{Now: func() time.Time {
		return time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	}})
	if err != nil {
		log.Fatal(err)
	}
	return context.Background(), svc
}

func Example() {
	ctx := context.Background()
	svc, err := keyfold.New(memory.New(), nil) // or sqlite.Open(ctx, "keyfold.db"), postgres.Open, mysql.Open
	if err != nil {
		log.Fatal(err)
	}
	defer svc.Close(ctx) // writes the last uses

	_, token, err := svc.CreateKey(ctx, keyfold.NewKey{Name: "ci", OwnerID: "cust_42", Scopes: []string{"reports:read"}})
	if err != nil {
		log.Fatal(err)
	}
	id, err := svc.Verify(ctx, keyfold.Request{Token: token.Reveal(), Scopes: []string{"reports:read"}})
	fmt.Println(id.Name(), "of", id.OwnerID(), err)
	_, err = svc.Verify(ctx, keyfold.Request{Token: token.Reveal(), Scopes: []string{"reports:write"}})
	fmt.Println(errors.Is(err, keyfold.ErrForbidden), keyfold.OutcomeOf(err))
	// Output:
	// ci of cust_42 <nil>
	// true scope
}

func ExampleNew() {
	_, err := keyfold.New(memory.New(), &keyfold.Options{Prefix: "My Keys"})
	fmt.Println(err)
	// Output:
	// keyfold: Options.Prefix must be 1 to 16 lower-case letters, digits and single underscores, must begin with a letter and must not end with an underscore
}

func ExampleService_CreateKey() {
	ctx, svc := exampleService()
	key, token, _ := svc.CreateKey(ctx, keyfold.NewKey{
		Name:     "nightly export",
		Scopes:   []string{"reports:read", "exports:*"},
		Networks: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")},
		TTL:      90 * 24 * time.Hour,
	})
	fmt.Println(key.ExpiresAt.Format(time.DateOnly), key.State(key.CreatedAt))
	fmt.Println(strings.HasPrefix(token.Reveal(), "kf_"+key.ID))
	fmt.Println(strings.HasSuffix(fmt.Sprint(token), "_[secret]"))
	_, _, err := svc.CreateKey(ctx, keyfold.NewKey{Scopes: []string{"reports:"}})
	fmt.Println(errors.Is(err, keyfold.ErrInvalid))
	// Output:
	// 2026-05-30 active
	// true
	// true
	// true
}

func ExampleService_Verify() {
	ctx, svc := exampleService()
	key, token, _ := svc.CreateKey(ctx, keyfold.NewKey{Name: "ci"})
	verify := func() {
		id, err := svc.Verify(ctx, keyfold.Request{Token: token.Reveal(), Route: "GET /reports"})
		switch {
		case err == nil:
			fmt.Println("200", id.Name())
		case errors.Is(err, keyfold.ErrUnauthenticated):
			fmt.Println("401", keyfold.OutcomeOf(err)) // the code is for the log; the caller learns no more than 401
		case errors.Is(err, keyfold.ErrForbidden):
			fmt.Println("403", keyfold.OutcomeOf(err))
		default:
			fmt.Println("503, after", keyfold.RetryAfter(err))
		}
	}
	verify()
	_ = svc.RevokeKey(ctx, key.ID, "leaked")
	verify()
	// Output:
	// 200 ci
	// 401 revoked
}

func ExampleIdentity() {
	ctx, svc := exampleService()
	_, token, _ := svc.CreateKey(ctx, keyfold.NewKey{Scopes: []string{"reports:*"}, Metadata: map[string]string{"plan": "pro"}})
	id, _ := svc.Verify(ctx, keyfold.Request{Token: token.Reveal()})
	fmt.Println(id.HasScope("reports:read"), id.HasScope("bills:read"), slices.Collect(id.Scopes()), id.Metadata("plan"))
	// Output:
	// true false [reports:*] pro
}

func ExampleService_UpdateKey() {
	ctx, svc := exampleService()
	key, _, _ := svc.CreateKey(ctx, keyfold.NewKey{Name: "old name"})
	name := "new name"
	updated, err := svc.UpdateKey(ctx, key.ID, keyfold.KeyUpdate{Version: key.Version, Name: &name})
	fmt.Println(updated.Name, updated.Version, err)
	_, err = svc.UpdateKey(ctx, key.ID, keyfold.KeyUpdate{Version: key.Version, Name: &name})
	fmt.Println(errors.Is(err, keyfold.ErrStale)) // somebody was faster: read it again
	// Output:
	// new name 2 <nil>
	// true
}

func ExampleService_RenewKey() {
	ctx, svc := exampleService()
	key, _, _ := svc.CreateKey(ctx, keyfold.NewKey{TTL: time.Hour})
	renewed, _ := svc.RenewKey(ctx, key.ID, keyfold.RenewOptions{TTL: 30 * 24 * time.Hour})
	fmt.Println(renewed.ExpiresAt.Format(time.DateOnly))
	// Output:
	// 2026-03-31
}

func ExampleService_RotateKey() {
	ctx, svc := exampleService()
	old, oldToken, _ := svc.CreateKey(ctx, keyfold.NewKey{Name: "ci", TTL: 30 * 24 * time.Hour})
	key, token, _ := svc.RotateKey(ctx, old.ID, keyfold.RotateOptions{Overlap: 48 * time.Hour})
	for _, t := range []keyfold.Token{oldToken, token} { // both work until the overlap ends
		id, err := svc.Verify(ctx, keyfold.Request{Token: t.Reveal()})
		fmt.Println(id.Name(), id.ExpiresAt().Format(time.DateOnly), err)
	}
	fmt.Println(key.RotatedFrom == old.ID, key.LineageID == old.ID)
	// Output:
	// ci 2026-03-03 <nil>
	// ci 2026-03-31 <nil>
	// true true
}

func ExampleService_RevokeKeys() {
	ctx, svc := exampleService()
	for range 3 {
		_, _, _ = svc.CreateKey(ctx, keyfold.NewKey{OwnerID: "cust_42"})
	}
	revoked, err := svc.RevokeKeys(ctx, keyfold.KeyFilter{OwnerID: keyfold.Only("cust_42")}, "contract ended")
	fmt.Println(revoked, err)
	// Output:
	// 3 <nil>
}

func ExampleService_Keys() {
	ctx, svc := exampleService()
	for i := range 5 {
		_, _, _ = svc.CreateKey(ctx, keyfold.NewKey{Name: fmt.Sprint("key ", i), OwnerID: "cust_42"})
	}
	query, count := keyfold.KeyQuery{OwnerID: keyfold.Only("cust_42"), Limit: 2}, 0
	for {
		page, err := svc.Keys(ctx, query)
		if err != nil {
			log.Fatal(err)
		}
		count += len(page.Keys)
		if query.Cursor = page.Next; query.Cursor == "" {
			break
		}
	}
	fmt.Println(count, "keys")
	// Output:
	// 5 keys
}

func ExampleService_InTx() {
	ctx, svc := exampleService()
	old, _, _ := svc.CreateKey(ctx, keyfold.NewKey{Name: "old"})
	err := svc.InTx(ctx, func(k *keyfold.Service) error {
		if err := k.RevokeKey(ctx, old.ID, "replaced"); err != nil {
			return err
		}
		_, _, err := k.CreateKey(ctx, keyfold.NewKey{Name: "new", Scopes: []string{"not a scope"}})
		return err
	})
	key, _ := svc.Key(ctx, old.ID)
	fmt.Println(errors.Is(err, keyfold.ErrInvalid), key.State(time.Now()) == keyfold.KeyRevoked)
	// Output:
	// true false
}

func ExampleService_With() {
	ctx := context.Background()
	store := memory.New()
	svc, _ := keyfold.New(store, nil)
	tx, _ := store.Begin(ctx) // with a database: postgres.Tx(tx), sqlite.Tx(tx), mysql.Tx(tx)
	_, token, _ := svc.With(tx.Tx()).CreateKey(ctx, keyfold.NewKey{Name: "new"})
	verify := func() keyfold.Outcome {
		_, err := svc.Verify(ctx, keyfold.Request{Token: token.Reveal()})
		return keyfold.OutcomeOf(err)
	}
	fmt.Println("before:", verify())
	_ = tx.Commit()
	fmt.Println("after:", verify())
	// Output:
	// before: unknown
	// after: allowed
}

func ExampleService_Usage() {
	ctx, svc := exampleService()
	key, token, _ := svc.CreateKey(ctx, keyfold.NewKey{})
	for range 3 {
		_, _ = svc.Verify(ctx, keyfold.Request{Token: token.Reveal(), Route: "GET /reports"})
	}
	_ = svc.Flush(ctx) // otherwise within a second
	page, _ := svc.Usage(ctx, keyfold.UsageQuery{KeyID: keyfold.Only(key.ID)})
	for _, event := range page.Events {
		fmt.Println(event.At.Format(time.TimeOnly), event.Route, event.Outcome)
	}
	totals, _ := svc.UsageTotals(ctx, keyfold.UsageQuery{KeyID: keyfold.Only(key.ID)})
	fmt.Println(totals.Count[keyfold.OutcomeAllowed])
	// Output:
	// 12:00:00 GET /reports allowed
	// 12:00:00 GET /reports allowed
	// 12:00:00 GET /reports allowed
	// 3
}

func ExampleWithActor() {
	ctx, svc := exampleService()
	ctx = keyfold.WithActor(ctx, keyfold.Actor{Name: "alice", IP: netip.MustParseAddr("192.0.2.7"), RequestID: "r-1"})
	key, _, _ := svc.CreateKey(ctx, keyfold.NewKey{Name: "ci"})
	_ = svc.DisableKey(ctx, key.ID, "suspicious")
	page, _ := svc.Audit(ctx, keyfold.AuditQuery{Target: keyfold.Only(key.ID)})
	for _, entry := range page.Entries {
		fmt.Println(entry.Actor, entry.Action)
	}
	fmt.Println(page.Entries[0].After)
	// Output:
	// alice key.disable
	// alice key.create
	// {"disabled_at":"2026-03-01T12:00:00Z","disabled_reason":"suspicious"}
}

func ExampleParseToken() {
	_, err := keyfold.ParseToken("kf_0123456789ABCDEF_0123456789abcdefghijklmnopqrstuv_typo00")
	fmt.Println(keyfold.OutcomeOf(err))
	// Output:
	// malformed
}

func ExampleParseOutcome() {
	code, err := keyfold.ParseOutcome("wrong_secret")
	fmt.Println(code == keyfold.OutcomeWrongSecret, err)
	// Output:
	// true <nil>
}

func ExampleService_Authenticate() {
	ctx, svc := exampleService()
	_, err := svc.CreateUser(ctx, keyfold.NewUser{Username: "Olga", Password: "nine purple herons over the lake"})
	if err != nil {
		log.Fatal(err)
	}
	user, err := svc.Authenticate(ctx, keyfold.Credentials{
		Identifier: "olga", Password: "nine purple herons over the lake", IP: netip.MustParseAddr("192.0.2.7"),
	})
	fmt.Println(user.Username, err)
	_, err = svc.Authenticate(ctx, keyfold.Credentials{Identifier: "olga", Password: "a guess"})
	fmt.Println(errors.Is(err, keyfold.ErrUnauthenticated))
	// Output:
	// Olga <nil>
	// true
}

func ExampleService_CreateUser() {
	ctx, svc := exampleService()
	_, err := svc.CreateUser(ctx, keyfold.NewUser{Email: "olga@example.com", Password: "password123"})
	fmt.Println(errors.Is(err, keyfold.ErrInvalid))
	user, err := svc.CreateUser(ctx, keyfold.NewUser{Email: "olga@example.com"})
	fmt.Println(user.Email, user.HasPassword, err)
	_, err = svc.CreateUser(ctx, keyfold.NewUser{Email: "OLGA@example.com"})
	fmt.Println(err)
	// Output:
	// true
	// olga@example.com false <nil>
	// keyfold: conflict: the e-mail address is taken
}

func ExampleService_DisableUser() {
	ctx, svc := exampleService()
	user, _ := svc.CreateUser(ctx, keyfold.NewUser{Username: "olga"})
	_, token, _ := svc.CreateKey(ctx, keyfold.NewKey{UserID: user.ID})
	_ = svc.DisableUser(ctx, user.ID, "left the company")
	_, err := svc.Verify(ctx, keyfold.Request{Token: token.Reveal()})
	fmt.Println(keyfold.OutcomeOf(err))
	// Output:
	// user_disabled
}

func ExampleService_CreateOneTimeToken() {
	ctx, svc := exampleService()
	user, _ := svc.CreateUser(ctx, keyfold.NewUser{Email: "olga@example.com"})
	reset, _ := svc.CreateOneTimeToken(ctx, keyfold.PurposeResetPassword, user.ID, "")
	fmt.Println("to", reset.To, "until", reset.ExpiresAt.Format(time.TimeOnly))

	const password = "nine purple herons over the lake"
	_, err := svc.ResetPassword(ctx, reset.Token.Reveal(), password, keyfold.ResetOptions{RevokeKeys: true})
	fmt.Println(err)
	_, err = svc.ResetPassword(ctx, reset.Token.Reveal(), password, keyfold.ResetOptions{})
	fmt.Println(errors.Is(err, keyfold.ErrUnauthenticated))
	// Output:
	// to olga@example.com until 12:15:00
	// <nil>
	// true
}

func ExamplePasswordPolicy() {
	svc, err := keyfold.New(memory.New(), &keyfold.Options{PasswordPolicy: keyfold.PasswordPolicy{
		MinLength: 8, // this program asks for a second factor
		Check: func(password string) error {
			if !strings.ContainsAny(password, "0123456789") {
				return errors.New("must contain a digit")
			}
			return nil
		},
	}})
	if err != nil {
		log.Fatal(err)
	}
	_, err = svc.CreateUser(context.Background(), keyfold.NewUser{Username: "olga", Password: "purple heron"})
	fmt.Println(err)
	// Output:
	// keyfold: password must contain a digit
}
