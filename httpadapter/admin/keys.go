package admin

import (
	"context"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/internal/timestamp"
)

// The inputs and outputs of the routes on keys. Bodies are read by decodeBody.
type (
	none struct{}

	onKey struct {
		ID string `path:"id" doc:"The key's id: 16 letters and digits"`
	}

	keyAnswer struct {
		ETag string `header:"ETag" doc:"The key's version, for If-Match"`
		Body keyfold.Key
	}

	createdAnswer struct {
		ETag string `header:"ETag" doc:"The key's version, for If-Match"`
		Body keyfold.CreatedKey
	}

	createBody struct {
		Name        string            `json:"name" required:"false" maxLength:"128"`
		Notes       string            `json:"notes" required:"false" doc:"At most 2 KiB"`
		OwnerID     string            `json:"owner_id" required:"false" doc:"Your own id of whoever the key belongs to; at most 128 bytes"`
		UserID      string            `json:"user_id" required:"false" doc:"The user that the key belongs to, without whom it is refused"`
		Tenant      string            `json:"tenant" required:"false" doc:"A label to list and stop keys by; at most 128 bytes"`
		Scopes      []string          `json:"scopes" required:"false" maxItems:"64" doc:"What the key may do, for example \"reports:read\". \"*\" stands for exactly one segment and \"**\", as the last one, for one or more. A key without scopes may do nothing that needs one"`
		Networks    []string          `json:"networks" required:"false" maxItems:"64" doc:"CIDR prefixes the key may be used from; none for anywhere"`
		Metadata    map[string]string `json:"metadata" required:"false" maxProperties:"32"`
		TTL         ttl               `json:"ttl" required:"false" doc:"The life of the key: \"15d\", \"36h\", \"never\"; the server's default if neither this nor expires_at is given"`
		ExpiresAt   time.Time         `json:"expires_at" required:"false" doc:"Instead of ttl; a time to come"`
		IdleTimeout duration          `json:"idle_timeout" required:"false" doc:"End the key when it is not used for that long; at least a minute"`
		Environment string            `json:"environment" required:"false" pattern:"^[a-z0-9]{0,16}$" doc:"Second part of the token: live, test"`
	}

	updateBody struct {
		Version     *int64             `json:"version" required:"false" doc:"The version that was read, if not given by If-Match"`
		Name        *string            `json:"name" required:"false" maxLength:"128"`
		Notes       *string            `json:"notes" required:"false"`
		OwnerID     *string            `json:"owner_id" required:"false"`
		Tenant      *string            `json:"tenant" required:"false"`
		Scopes      *[]string          `json:"scopes" required:"false" maxItems:"64"`
		Networks    *[]string          `json:"networks" required:"false" maxItems:"64"`
		Metadata    *map[string]string `json:"metadata" required:"false" nullable:"true" maxProperties:"32"`
		IdleTimeout *duration          `json:"idle_timeout" required:"false" nullable:"true" doc:"null for none"`
	}

	listInput struct {
		OwnerID        string `query:"owner_id"`
		UserID         string `query:"user_id"`
		Tenant         string `query:"tenant"`
		State          string `query:"state" enum:"active,expired,user_disabled,disabled,revoked" doc:"Keys in this state only"`
		ExpiringBefore string `query:"expiring_before" format:"date-time" doc:"Keys whose deadline is to come and before that time, soonest first"`
		Cursor         string `query:"cursor" doc:"The next of the page before, with the same filters"`
		Limit          int    `query:"limit" minimum:"1" maximum:"200" doc:"Default 50"`
	}

	listAnswer struct{ Body keyfold.KeyPage }

	updateInput struct {
		ID      string `path:"id" doc:"The key's id: 16 letters and digits"`
		IfMatch string `header:"If-Match" doc:"The ETag that GET returned"`
	}
)

func (a *api) keyRoutes(r *routes) {
	add(r, route{http.MethodPost, "/keys", "create-key", "Create a key", http.StatusCreated, bodyRequired},
		"The answer holds the token, which cannot be had again.", a.createKey)
	addRead(r, "/keys", "list-keys", "List keys", "Newest first.", a.listKeys)
	addRead(r, "/keys/{id}", "get-key", "Read a key", "", a.getKey)
	add(r, route{http.MethodPatch, "/keys/{id}", "update-key", "Change what a key is labelled with and may do", http.StatusOK, bodyRequired},
		"Needs If-Match or version: 428 without, 412 when the key was changed since. A field that is null is emptied, one that is not there stays.", a.updateKey)
	add(r, route{http.MethodDelete, "/keys/{id}", "delete-key", "Remove a key and its totals", http.StatusNoContent, noBody},
		"Revoke it instead to keep a record of it.", a.deleteKey)
}

func (a *api) createKey(ctx context.Context, _ *none, b *createBody) (*createdAnswer, error) {
	networks, err := parseNetworks(b.Networks)
	if err != nil {
		return nil, err
	}
	key, token, err := a.svc.CreateKey(ctx, keyfold.NewKey{
		Name: b.Name, Notes: b.Notes, OwnerID: b.OwnerID, UserID: b.UserID, Tenant: b.Tenant,
		Scopes: b.Scopes, Networks: networks, Metadata: b.Metadata,
		TTL: time.Duration(b.TTL), ExpiresAt: b.ExpiresAt, IdleTimeout: time.Duration(b.IdleTimeout), Environment: b.Environment,
	})
	return a.created(key, token, err)
}

func (a *api) created(key keyfold.Key, token keyfold.Token, err error) (*createdAnswer, error) {
	if err != nil {
		return nil, err
	}
	return &createdAnswer{ETag: etag(key.Version), Body: keyfold.CreatedKey{Key: key, Token: token}}, nil
}

func (a *api) listKeys(ctx context.Context, in *listInput) (*listAnswer, error) {
	before, err := parseTime("expiring_before", in.ExpiringBefore)
	if err != nil {
		return nil, err
	}
	page, err := a.svc.Keys(ctx, keyfold.KeyQuery{
		OwnerID: onlyIf(in.OwnerID), UserID: onlyIf(in.UserID), Tenant: onlyIf(in.Tenant), State: keyfold.KeyState(in.State), ExpiringBefore: before,
		Cursor: in.Cursor, Limit: in.Limit,
	})
	if err != nil {
		return nil, err
	}
	return &listAnswer{Body: page}, nil
}

func (a *api) getKey(ctx context.Context, in *onKey) (*keyAnswer, error) {
	key, err := a.svc.Key(ctx, in.ID)
	return a.answer(key, err)
}

func (a *api) answer(key keyfold.Key, err error) (*keyAnswer, error) {
	if err != nil {
		return nil, err
	}
	return &keyAnswer{ETag: etag(key.Version), Body: key}, nil
}

func (a *api) updateKey(ctx context.Context, in *updateInput, b *updateBody) (*keyAnswer, error) {
	version, err := expectedVersion(in.IfMatch, b.Version)
	if err != nil {
		return nil, err
	}
	update := keyfold.KeyUpdate{
		Version: version, Name: b.Name, Notes: b.Notes, OwnerID: b.OwnerID, Tenant: b.Tenant,
		Scopes: b.Scopes, Metadata: b.Metadata, IdleTimeout: (*time.Duration)(b.IdleTimeout),
	}
	if b.Networks != nil {
		networks, err := parseNetworks(*b.Networks)
		if err != nil {
			return nil, err
		}
		update.Networks = &networks
	}
	key, err := a.svc.UpdateKey(ctx, in.ID, update)
	return a.answer(key, err)
}

func (a *api) deleteKey(ctx context.Context, in *onKey, _ *none) (*none, error) {
	return &none{}, a.svc.DeleteKey(ctx, in.ID)
}

// etag is a version as an entity tag.
func etag(version int64) string { return `"` + strconv.FormatInt(version, 10) + `"` }

// expectedVersion is the version that the caller read. "*" and lists of tags
// are refused: they would let a change go by one that the caller never saw.
func expectedVersion(ifMatch string, version *int64) (int64, error) {
	if ifMatch == "" {
		if version == nil {
			return 0, newProblem(http.StatusPreconditionRequired, "precondition_required",
				"Send the ETag in If-Match, or its version in the body.")
		}
		return *version, nil
	}
	tag, opened := strings.CutPrefix(ifMatch, `"`)
	tag, closed := strings.CutSuffix(tag, `"`)
	matched, err := strconv.ParseInt(tag, 10, 64)
	if !opened || !closed || err != nil || matched < 1 || etag(matched) != ifMatch {
		return 0, &keyfold.InvalidError{Field: "If-Match", Reason: `must be the ETag of the version that was read, such as "3"`}
	}
	if version != nil && *version != matched {
		return 0, &keyfold.InvalidError{Field: "version", Reason: "must be the same version as in If-Match"}
	}
	return matched, nil
}

func parseNetworks(texts []string) ([]netip.Prefix, error) {
	var networks []netip.Prefix
	for i, text := range texts {
		network, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, &keyfold.InvalidError{
				Field: "networks[" + strconv.Itoa(i) + "]", Reason: `must be a CIDR prefix such as "192.0.2.0/24" or "2001:db8::/32"`,
			}
		}
		networks = append(networks, network)
	}
	return networks, nil
}

const timeForm = timestamp.Form

// parseTime reads a time from a query; empty is the zero time.
func parseTime(field, text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	at, err := timestamp.Parse(text)
	if err != nil {
		return time.Time{}, &keyfold.InvalidError{Field: field, Reason: "must be " + timeForm}
	}
	return at, nil
}

// onlyIf is the condition on a query parameter. An empty one was not given:
// checkQuery refuses those that are.
func onlyIf(parameter string) keyfold.Filter {
	if parameter == "" {
		return keyfold.Filter{}
	}
	return keyfold.Only(parameter)
}
