package mongo

import (
	"strings"
	"time"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/internal/cidr"
	"github.com/keyfold/keyfold/store/internal/column"
)

// keyDoc contains the fields of a key that mutations read and write. Times are Unix
// milliseconds; optional times are null if they are absent.
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

// keyRow is a key with its totals, which mutations do not change. They are in the same
// document, so that totals exist exactly as long as their key.
type keyRow struct {
	Key        keyDoc `bson:",inline"`
	Uses       int64  `bson:"uses"`
	LastUsedAt int64  `bson:"last_used_at"` // 0 if the key was never used
}

func (d *keyDoc) head() *head { return &d.Head }

func (r *keyRow) head() *head { return &r.Key.Head }

func newKeyRow(key *keyfold.KeyRecord) (*keyRow, error) {
	row := &keyRow{Key: keyDoc{
		Head: head{ID: key.ID, Live: true}, Secret: secretOf(key.Secret), Hint: key.Hint, Prefix: key.Prefix,
		Environment: key.Environment, UserID: key.UserID, CreatedAt: key.CreatedAt.UnixMilli(),
		ExpiresAt: column.Optional(key.ExpiresAt), ActiveAt: key.ActiveAt.UnixMilli(),
		DisabledAt: column.Optional(key.DisabledAt), DisabledReason: key.DisabledReason,
		RevokedAt: column.Optional(key.RevokedAt), RevokedReason: key.RevokedReason, LineageID: key.LineageID,
		RotatedFrom: key.RotatedFrom, RotatedTo: key.RotatedTo, Version: key.Version,
	}}
	return row, row.Key.setEditable(key)
}

// setEditable sets the fields that UpdateKey writes.
func (d *keyDoc) setEditable(key *keyfold.KeyRecord) (err error) {
	d.Name, d.Notes, d.OwnerID, d.Tenant = key.Name, key.Notes, key.OwnerID, key.Tenant
	d.Scopes, d.Networks = strings.Join(key.Scopes, " "), cidr.Join(key.Networks)
	d.IdleTimeout, d.UpdatedAt = key.IdleTimeout.Milliseconds(), key.UpdatedAt.UnixMilli()
	d.Metadata, err = column.EncodeMetadata(key.Metadata)
	return err
}

func secretOf(secret keyfold.SecretHash) secretDoc {
	return secretDoc{Alg: secret.Alg, Pepper: secret.PepperID, Sum: secret.Sum[:]}
}

// keyRecord returns the record of a row, without the state of the user.
func keyRecord(row *keyRow) (keyfold.KeyRecord, error) {
	k := &row.Key
	key := keyfold.KeyRecord{
		Key: keyfold.Key{
			ID: k.Head.ID, Hint: k.Hint, Prefix: k.Prefix, Environment: k.Environment, Name: k.Name, Notes: k.Notes,
			OwnerID: k.OwnerID, UserID: k.UserID, Tenant: k.Tenant, CreatedAt: column.Moment(k.CreatedAt),
			UpdatedAt: column.Moment(k.UpdatedAt), ExpiresAt: column.OptionalMoment(k.ExpiresAt),
			IdleTimeout: time.Duration(k.IdleTimeout) * time.Millisecond,
			DisabledAt:  column.OptionalMoment(k.DisabledAt), DisabledReason: k.DisabledReason,
			RevokedAt: column.OptionalMoment(k.RevokedAt), RevokedReason: k.RevokedReason, LineageID: k.LineageID,
			RotatedFrom: k.RotatedFrom, RotatedTo: k.RotatedTo, Version: k.Version, Uses: row.Uses,
		},
		ActiveAt: column.Moment(k.ActiveAt),
	}
	err := column.DecodeKey(&key, column.EncodedKey{
		Alg: k.Secret.Alg, Pepper: k.Secret.Pepper, Sum: k.Secret.Sum,
		Scopes: k.Scopes, Networks: k.Networks, Metadata: k.Metadata, LastUsedAt: row.LastUsedAt,
	})
	if err != nil {
		return keyfold.KeyRecord{}, err
	}
	return key, nil
}

// verifyRecord returns the record of a row, without the state of the user.
func verifyRecord(row *keyRow) (keyfold.VerifyRecord, error) {
	k := &row.Key
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
		record.LastUsedAt = row.LastUsedAt
	}
	var err error
	record.Secret, err = column.Secret(k.Secret.Alg, k.Secret.Pepper, k.Secret.Sum)
	return record, err
}
