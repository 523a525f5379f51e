//go:build generated

package client

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"

	// What the generated file imports, so that go.mod requires it.
	_ "github.com/oapi-codegen/runtime"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/httpadapter/admin"
	"github.com/keyfold/keyfold/store/memory"
)

const secret = "an-admin-secret-of-32-characters"

func newClient(t *testing.T) (*ClientWithResponses, *keyfold.Service) {
	t.Helper()
	svc, err := keyfold.New(memory.New(), nil)
	if err != nil {
		t.Fatal(err)
	}
	handler, err := admin.Handler(svc, admin.Options{Secret: secret, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/auth/", http.StripPrefix("/auth", handler))
	server := httptest.NewServer(mux)
	t.Cleanup(func() {
		server.Close()
		_ = svc.Close(context.Background())
	})
	client, err := NewClientWithResponses(server.URL+"/auth", WithRequestEditorFn(func(_ context.Context, r *http.Request) error {
		r.Header.Set("secret-key", secret)
		return nil
	}))
	if err != nil {
		t.Fatal(err)
	}
	return client, svc
}

// got ends the test if a call failed or has no decoded body of the wanted status.
func got[T any](t *testing.T, call string, err error, status int, raw []byte, decoded *T) *T {
	t.Helper()
	if err != nil {
		t.Fatalf("%s: %v", call, err)
	}
	if decoded == nil {
		t.Fatalf("%s: status %d, %s", call, status, raw)
	}
	return decoded
}

func TestGeneratedClientManagesKeys(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	client, svc := newClient(t)

	create, err := client.CreateKeyWithResponse(ctx, CreateKeyJSONRequestBody{Name: new("ci"), Scopes: &[]string{"reports:read"}, Ttl: new("30d")})
	created := got(t, "create", err, create.StatusCode(), create.Body, create.JSON201)
	if created.Key.State != KeyStateActive {
		t.Errorf("the new key is %s, want active", created.Key.State)
	}
	if _, err := svc.Verify(ctx, keyfold.Request{Token: created.Token, Scopes: []string{"reports:read"}}); err != nil {
		t.Errorf("the token is refused: %v", err)
	}
	if _, err := svc.Verify(ctx, keyfold.Request{Token: created.Token, Scopes: []string{"reports:write"}}); err == nil {
		t.Error("a scope that the key does not have is accepted")
	}

	update, err := client.UpdateKeyWithResponse(ctx, created.Key.Id, nil, UpdateKeyJSONRequestBody{Version: &created.Key.Version, IdleTimeout: new("36h")})
	updated := got(t, "update", err, update.StatusCode(), update.Body, update.JSON200)
	if updated.IdleTimeout == nil || *updated.IdleTimeout != "1d12h0m0s" {
		t.Errorf("the idle timeout is %v", updated.IdleTimeout)
	}
	stale, err := client.UpdateKeyWithResponse(ctx, created.Key.Id, nil, UpdateKeyJSONRequestBody{Version: &created.Key.Version, Name: new("x")})
	if p := got(t, "stale update", err, stale.StatusCode(), stale.Body, stale.ApplicationproblemJSON412); p.Code != "stale" || p.Status != 412 {
		t.Errorf("a stale update is answered with %+v", p)
	}

	rotate, err := client.RotateKeyWithResponse(ctx, created.Key.Id, RotateKeyJSONRequestBody{Overlap: new("1h")})
	if rotated := got(t, "rotate", err, rotate.StatusCode(), rotate.Body, rotate.JSON201); *rotated.Key.RotatedFrom != created.Key.Id {
		t.Errorf("the new key was rotated from %s", *rotated.Key.RotatedFrom)
	}
	revoke, err := client.RevokeKeyWithResponse(ctx, created.Key.Id, RevokeKeyJSONRequestBody{Reason: new("leaked")})
	if revoked := got(t, "revoke", err, revoke.StatusCode(), revoke.Body, revoke.JSON200); revoked.State != KeyStateRevoked {
		t.Errorf("the revoked key is %s", revoked.State)
	}

	list, err := client.ListKeysWithResponse(ctx, &ListKeysParams{State: new(ListKeysParamsStateActive)})
	if page := got(t, "list", err, list.StatusCode(), list.Body, list.JSON200); len(page.Keys) != 1 {
		t.Errorf("%d keys are active, want 1", len(page.Keys))
	}

	audit, err := client.ListAuditWithResponse(ctx, &ListAuditParams{Target: &created.Key.Id})
	entries := got(t, "audit", err, audit.StatusCode(), audit.Body, audit.JSON200).Entries
	if len(entries) != 4 {
		t.Fatalf("%d audit entries, want 4", len(entries))
	}
	if e := entries[0]; e.Action != "key.revoke" || e.After.RevokedAt == nil || *e.After.RevokedReason != "leaked" {
		t.Errorf("the newest entry is %+v", e)
	}
	if e := entries[2]; e.Action != "key.update" || *e.After.IdleTimeout != *updated.IdleTimeout {
		t.Errorf("the entry of the update is %+v", e)
	}
	if e := entries[3]; e.Before != nil || (*e.After.Scopes)[0] != "reports:read" {
		t.Errorf("the entry of the creation is %+v", e)
	}

	if err := svc.Flush(ctx); err != nil {
		t.Fatal(err)
	}
	usage, err := client.ListUsageWithResponse(ctx, &ListUsageParams{KeyId: &created.Key.Id, Outcome: &[]ListUsageParamsOutcome{ListUsageParamsOutcomeScope}})
	events := got(t, "usage", err, usage.StatusCode(), usage.Body, usage.JSON200).Events
	if len(events) != 1 || events[0].Outcome != UsageEventOutcomeScope {
		t.Errorf("the events are %+v, want one refusal for its scope", events)
	}

	remove, err := client.DeleteKeyWithResponse(ctx, created.Key.Id)
	if err != nil || remove.StatusCode() != http.StatusNoContent {
		t.Errorf("delete: %v, %v", remove.StatusCode(), err)
	}
	gone, err := client.GetKeyWithResponse(ctx, created.Key.Id)
	if p := got(t, "get", err, gone.StatusCode(), gone.Body, gone.ApplicationproblemJSON404); p.Code != "not_found" {
		t.Errorf("a deleted key is answered with %+v", p)
	}
}

func TestGeneratedClientManagesUsers(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	client, _ := newClient(t)

	create, err := client.CreateUserWithResponse(ctx, CreateUserJSONRequestBody{Username: new("olga"), Password: new("nine purple herons over the lake")})
	user := got(t, "create", err, create.StatusCode(), create.Body, create.JSON201)
	good, err := client.AuthenticateWithResponse(ctx, AuthenticateJSONRequestBody{Identifier: "olga", Password: "nine purple herons over the lake"})
	if u := got(t, "log in", err, good.StatusCode(), good.Body, good.JSON200); u.Id != user.Id || u.State != UserStateActive {
		t.Errorf("logged in as %+v", u)
	}
	bad, err := client.AuthenticateWithResponse(ctx, AuthenticateJSONRequestBody{Identifier: "olga", Password: "wrong"})
	if p := got(t, "log in", err, bad.StatusCode(), bad.Body, bad.ApplicationproblemJSON422); p.Code != "invalid_login" {
		t.Errorf("a wrong password is answered with %+v", p)
	}
	token, err := client.CreateOneTimeTokenWithResponse(ctx, user.Id, CreateOneTimeTokenJSONRequestBody{Purpose: "reset_password"})
	if p := got(t, "token", err, token.StatusCode(), token.Body, token.ApplicationproblemJSON422); p.Field == nil || *p.Field != "email" {
		t.Errorf("a user without an e-mail address is answered with %+v", p)
	}
	disable, err := client.DisableUserWithResponse(ctx, user.Id, DisableUserJSONRequestBody{Reason: new("left")})
	if u := got(t, "disable", err, disable.StatusCode(), disable.Body, disable.JSON200); u.State != UserStateDisabled || *u.DisabledReason != "left" {
		t.Errorf("disabled %+v", u)
	}
	audit, err := client.ListAuditWithResponse(ctx, &ListAuditParams{Target: &user.Id, Limit: new(int64(1))})
	entries := got(t, "audit", err, audit.StatusCode(), audit.Body, audit.JSON200).Entries
	if len(entries) != 1 || entries[0].After.DisabledAt == nil || *entries[0].After.DisabledReason != "left" {
		t.Errorf("the newest entry is %+v", entries)
	}
}
