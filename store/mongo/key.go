package mongo

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/internal/cidr"
	"github.com/keyfold/keyfold/store/internal/column"
)

// keyDoc is a key as mutations know it. Times are unix milliseconds, and those
// that may be missing are null.
type keyDoc struct {
	Head           head      `bson:",inline"`
	Secret         secretDoc `bson:"secret"`
	Hint           string    `bson:"hint"`
	Prefix         string    `bson:"prefix"`
	Environment    string    `bson:"environment"`
	Name           string    `bson:"name"`
	Notes          string    `bson:"notes"`
	OwnerID        string    `bson:"owner_id"`
	UserID         string    `bson:"user_id"`
	Tenant         string    `bson:"tenant"`
	Scopes         string    `bson:"scopes"`
	Networks       string    `bson:"networks"`
	Metadata       string    `bson:"metadata"`
	CreatedAt      int64     `bson:"created_at"`
	UpdatedAt      int64     `bson:"updated_at"`
	ExpiresAt      *int64    `bson:"expires_at"`
	IdleTimeout    int64     `bson:"idle_timeout"`
	ActiveAt       int64     `bson:"active_at"`
	DisabledAt     *int64    `bson:"disabled_at"`
	DisabledReason string    `bson:"disabled_reason"`
	RevokedAt      *int64    `bson:"revoked_at"`
	RevokedReason  string    `bson:"revoked_reason"`
	LineageID      string    `bson:"lineage_id"`
	RotatedFrom    string    `bson:"rotated_from"`
	RotatedTo      string    `bson:"rotated_to"`
	Version        int64     `bson:"version"`
}

type secretDoc struct {
	Alg    string `bson:"alg"`
	Pepper string `bson:"pepper"`
	Sum    []byte `bson:"sum"`
}

// keyRow is a key with its totals, which mutations leave alone. In the same
// document they cannot outlive the key, nor be counted without one.
type keyRow struct {
	Key        keyDoc `bson:",inline"`
	Uses       int64  `bson:"uses"`
	LastUsedAt int64  `bson:"last_used_at"` // 0 when never used
}

func (d *keyDoc) top() *head { return &d.Head }

func (r *keyRow) top() *head { return &r.Key.Head }

func newKeyRow(key *keyfold.KeyRecord) (*keyRow, error) {
	row := &keyRow{Key: keyDoc{
		Head: head{ID: key.ID, Live: true}, Secret: secretOf(key.Secret), Hint: key.Hint, Prefix: key.Prefix,
		Environment: key.Environment, UserID: key.UserID, CreatedAt: key.CreatedAt.UnixMilli(),
		ExpiresAt: column.Optional(key.ExpiresAt), ActiveAt: key.ActiveAt.UnixMilli(),
		DisabledAt: column.Optional(key.DisabledAt), DisabledReason: key.DisabledReason,
		RevokedAt: column.Optional(key.RevokedAt), RevokedReason: key.RevokedReason, LineageID: key.LineageID,
		RotatedFrom: key.RotatedFrom, RotatedTo: key.RotatedTo, Version: key.Version,
	}}
	return row, row.Key.rewrite(key)
}

// rewrite sets the fields that an edit writes.
func (d *keyDoc) rewrite(key *keyfold.KeyRecord) (err error) {
	d.Name, d.Notes, d.OwnerID, d.Tenant = key.Name, key.Notes, key.OwnerID, key.Tenant
	d.Scopes, d.Networks = strings.Join(key.Scopes, " "), cidr.Join(key.Networks)
	d.IdleTimeout, d.UpdatedAt = key.IdleTimeout.Milliseconds(), key.UpdatedAt.UnixMilli()
	d.Metadata, err = column.EncodeMetadata(key.Metadata)
	return err
}

func secretOf(secret keyfold.SecretHash) secretDoc {
	return secretDoc{Alg: secret.Alg, Pepper: secret.PepperID, Sum: secret.Sum[:]}
}

func (r *keyRow) record() (keyfold.KeyRecord, error) {
	k := &r.Key
	key := keyfold.KeyRecord{
		Key: keyfold.Key{
			ID: k.Head.ID, Hint: k.Hint, Prefix: k.Prefix, Environment: k.Environment, Name: k.Name, Notes: k.Notes,
			OwnerID: k.OwnerID, UserID: k.UserID, Tenant: k.Tenant, CreatedAt: column.Moment(k.CreatedAt),
			UpdatedAt: column.Moment(k.UpdatedAt), ExpiresAt: column.OptionalMoment(k.ExpiresAt),
			IdleTimeout: time.Duration(k.IdleTimeout) * time.Millisecond,
			DisabledAt:  column.OptionalMoment(k.DisabledAt), DisabledReason: k.DisabledReason,
			RevokedAt: column.OptionalMoment(k.RevokedAt), RevokedReason: k.RevokedReason, LineageID: k.LineageID,
			RotatedFrom: k.RotatedFrom, RotatedTo: k.RotatedTo, Version: k.Version, Uses: r.Uses,
		},
		ActiveAt: column.Moment(k.ActiveAt),
	}
	if r.LastUsedAt != 0 {
		key.LastUsedAt = column.Moment(r.LastUsedAt)
	}
	if k.Scopes != "" {
		key.Scopes = strings.Split(k.Scopes, " ")
	}
	var err error
	if key.Secret, err = column.Secret(k.Secret.Alg, k.Secret.Pepper, k.Secret.Sum); err == nil {
		key.Networks, err = cidr.Split(k.Networks)
	}
	if err == nil && k.Metadata != "" && json.Unmarshal([]byte(k.Metadata), &key.Metadata) != nil {
		err = errors.New("the metadata is not a JSON object of strings")
	}
	if err != nil {
		return keyfold.KeyRecord{}, fmt.Errorf("key %q as stored: %w", k.Head.ID, err)
	}
	return key, nil
}

func (r *keyRow) verify() (keyfold.VerifyRecord, error) {
	k := &r.Key
	record := keyfold.VerifyRecord{
		KeyID: k.Head.ID, Prefix: k.Prefix, Environment: k.Environment, Name: k.Name, OwnerID: k.OwnerID, Tenant: k.Tenant,
		Scopes: k.Scopes, Networks: k.Networks, Metadata: k.Metadata, ExpiresAt: keyfold.NoDeadline,
		IdleTimeout: k.IdleTimeout, ActiveAt: k.ActiveAt, Disabled: k.DisabledAt != nil, Revoked: k.RevokedAt != nil,
		UserID: k.UserID,
	}
	if k.ExpiresAt != nil {
		record.ExpiresAt = *k.ExpiresAt
	}
	if k.IdleTimeout > 0 {
		record.LastUsedAt = r.LastUsedAt
	}
	var err error
	record.Secret, err = column.Secret(k.Secret.Alg, k.Secret.Pepper, k.Secret.Sum)
	return record, err
}
