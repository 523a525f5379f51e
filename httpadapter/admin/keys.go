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

// The inputs and outputs of the operations on keys. decodeBody reads the bodies.
type (
	empty struct{}

	keyInput struct {
		ID string `path:"id" doc:"The ID of the key."`
	}

	keyOutput struct {
		ETag string `header:"ETag" doc:"The version of the key, for If-Match."`
		Body keyfold.Key
	}

	createdKeyOutput struct {
		ETag string `header:"ETag" doc:"The version of the key, for If-Match."`
		Body keyfold.CreatedKey
	}

	createKeyBody struct {
		Name        string            `json:"name" required:"false" maxLength:"128"`
		Notes       string            `json:"notes" required:"false" doc:"At most 2 KiB."`
		OwnerID     string            `json:"owner_id" required:"false" doc:"Your own ID of the key's owner, of at most 128 bytes."`
		UserID      string            `json:"user_id" required:"false" doc:"The user that the key belongs to. If the user is disabled or deleted, the key stops working."`
		Tenant      string            `json:"tenant" required:"false" doc:"A label of at most 128 bytes. Keys can be listed, revoked and disabled by tenant."`
		Scopes      []string          `json:"scopes" required:"false" maxItems:"64" doc:"What the key may be used for, such as \"reports:read\". \"*\" matches exactly one segment; \"**\", which must be the last segment, matches one or more. A key without scopes is refused where a scope is required."`
		Networks    []string          `json:"networks" required:"false" maxItems:"64" doc:"The CIDR prefixes that the key may be used from. The default is any address."`
		Metadata    map[string]string `json:"metadata" required:"false" maxProperties:"32"`
		TTL         ttl               `json:"ttl" required:"false" doc:"The lifetime of the key, such as \"15d\", \"36h\" or \"never\". Without ttl and expires_at, the server's default applies."`
		ExpiresAt   time.Time         `json:"expires_at" required:"false" doc:"The time at which the key expires, instead of ttl. It must be in the future."`
		IdleTimeout duration          `json:"idle_timeout" required:"false" doc:"The key expires if it is not used for this long. The minimum is one minute. By default, a key has no idle timeout."`
		Environment string            `json:"environment" required:"false" pattern:"^[a-z0-9]{0,16}$" doc:"The second part of the token, such as \"live\" or \"test\"."`
	}

	updateKeyBody struct {
		Version     *int64             `json:"version" required:"false" doc:"The version that was read. Required without If-Match."`
		Name        *string            `json:"name" required:"false" maxLength:"128"`
		Notes       *string            `json:"notes" required:"false"`
		OwnerID     *string            `json:"owner_id" required:"false"`
		Tenant      *string            `json:"tenant" required:"false"`
		Scopes      *[]string          `json:"scopes" required:"false" maxItems:"64"`
		Networks    *[]string          `json:"networks" required:"false" maxItems:"64"`
		Metadata    *map[string]string `json:"metadata" required:"false" nullable:"true" maxProperties:"32"`
		IdleTimeout *duration          `json:"idle_timeout" required:"false" nullable:"true" doc:"Null removes the idle timeout."`
	}

	listKeysInput struct {
		OwnerID        string `query:"owner_id" doc:"Only keys of this owner."`
		UserID         string `query:"user_id" doc:"Only keys of this user."`
		Tenant         string `query:"tenant" doc:"Only keys of this tenant."`
		State          string `query:"state" enum:"active,expired,user_disabled,disabled,revoked" doc:"Only keys in this state."`
		ExpiringBefore string `query:"expiring_before" format:"date-time" doc:"Only keys that have not expired and will expire before this time. The key that expires first comes first."`
		Cursor         string `query:"cursor" doc:"The member next of the previous page. The other parameters must be the same."`
		Limit          int    `query:"limit" minimum:"1" maximum:"200" doc:"The maximum number of keys. The default is 50."`
	}

	keyPageOutput struct{ Body keyfold.KeyPage }

	updateKeyInput struct {
		ID      string `path:"id" doc:"The ID of the key."`
		IfMatch string `header:"If-Match" doc:"The ETag of the version that was read. Required without the member version."`
	}
)

// Descriptions that several operations share.
const (
	tokenShownOnce = "The response contains the token. It is shown only once, so store it now."
	updateRules    = "The version that was read is required, in If-Match or in the body. Without it, the status is 428. If the version has changed since, the status is 412. " +
		"A member that is null clears the field. An absent member leaves the field unchanged."
)

func (a *api) keyRoutes(r *routes) {
	add(r, route{http.MethodPost, "/keys", "create-key", "Create a key", http.StatusCreated, bodyRequired},
		tokenShownOnce, a.createKey)
	addRead(r, "/keys", "list-keys", "List keys", "The newest keys come first, unless expiring_before is given.", a.listKeys)
	addRead(r, "/keys/{id}", "get-key", "Get a key", "", a.getKey)
	add(r, route{http.MethodPatch, "/keys/{id}", "update-key", "Update a key", http.StatusOK, bodyRequired},
		updateRules, a.updateKey)
	add(r, route{http.MethodDelete, "/keys/{id}", "delete-key", "Delete a key and its totals", http.StatusNoContent, noBody},
		"To keep a record of the key, revoke it instead.", a.deleteKey)
}

func (a *api) createKey(ctx context.Context, _ *empty, b *createKeyBody) (*createdKeyOutput, error) {
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

func (a *api) created(key keyfold.Key, token keyfold.Token, err error) (*createdKeyOutput, error) {
	if err != nil {
		return nil, err
	}
	return &createdKeyOutput{ETag: etag(key.Version), Body: keyfold.CreatedKey{Key: key, Token: token}}, nil
}

func (a *api) listKeys(ctx context.Context, in *listKeysInput) (*keyPageOutput, error) {
	before, err := parseTime("expiring_before", in.ExpiringBefore)
	if err != nil {
		return nil, err
	}
	page, err := a.svc.Keys(ctx, keyfold.KeyQuery{
		OwnerID: filterOf(in.OwnerID), UserID: filterOf(in.UserID), Tenant: filterOf(in.Tenant), State: keyfold.KeyState(in.State), ExpiringBefore: before,
		Cursor: in.Cursor, Limit: in.Limit,
	})
	if err != nil {
		return nil, err
	}
	return &keyPageOutput{Body: page}, nil
}

func (a *api) getKey(ctx context.Context, in *keyInput) (*keyOutput, error) {
	key, err := a.svc.Key(ctx, in.ID)
	return a.answer(key, err)
}

func (a *api) answer(key keyfold.Key, err error) (*keyOutput, error) {
	if err != nil {
		return nil, err
	}
	return &keyOutput{ETag: etag(key.Version), Body: key}, nil
}

func (a *api) updateKey(ctx context.Context, in *updateKeyInput, b *updateKeyBody) (*keyOutput, error) {
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

func (a *api) deleteKey(ctx context.Context, in *keyInput, _ *empty) (*empty, error) {
	return &empty{}, a.svc.DeleteKey(ctx, in.ID)
}

// etag returns a version as an entity tag.
func etag(version int64) string { return `"` + strconv.FormatInt(version, 10) + `"` }

// expectedVersion returns the version that the client read. It refuses "*" and lists
// of tags: with them, a client could overwrite a change that it has not read.
func expectedVersion(ifMatch string, version *int64) (int64, error) {
	if ifMatch == "" {
		if version == nil {
			return 0, preconditionRequired()
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

// parseTime parses a query parameter. Empty text is the zero time.
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

// filterOf returns the condition on a query parameter. An empty parameter is one
// that was not given, because checkQuery refuses parameters without a value.
func filterOf(parameter string) keyfold.Filter {
	if parameter == "" {
		return keyfold.Filter{}
	}
	return keyfold.Only(parameter)
}
