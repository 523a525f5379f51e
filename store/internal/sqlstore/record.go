package sqlstore

import (
	"time"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/query/model"
	"github.com/keyfold/keyfold/store/internal/column"
)

func keyRecord(row *model.KeyRow) (keyfold.KeyRecord, error) {
	record := keyfold.KeyRecord{
		Key: keyfold.Key{
			ID: row.ID, Hint: row.Hint, Prefix: row.Prefix, Environment: row.Environment, Name: row.Name,
			Notes: row.Notes, OwnerID: row.OwnerID, UserID: row.UserID, Tenant: row.Tenant,
			CreatedAt: column.Moment(row.CreatedAt), UpdatedAt: column.Moment(row.UpdatedAt),
			ExpiresAt:   column.OptionalMoment(row.ExpiresAt),
			IdleTimeout: time.Duration(row.IdleTimeout) * time.Millisecond,
			DisabledAt:  column.OptionalMoment(row.DisabledAt), DisabledReason: row.DisabledReason,
			RevokedAt: column.OptionalMoment(row.RevokedAt), RevokedReason: row.RevokedReason,
			UserDisabled: userDisabled(row.UserEnabled),
			LineageID:    row.LineageID, RotatedFrom: row.RotatedFrom, RotatedTo: row.RotatedTo,
			Version: row.Version, Uses: row.Uses,
		},
		ActiveAt: column.Moment(row.ActiveAt),
	}
	err := column.DecodeKey(&record, column.EncodedKey{
		Alg: row.SecretAlg, Pepper: row.SecretPepper, Sum: row.SecretSum,
		Scopes: row.Scopes, Networks: row.Networks, Metadata: row.Metadata, LastUsedAt: row.LastUsedAt,
	})
	if err != nil {
		return keyfold.KeyRecord{}, err
	}
	return record, nil
}

func keyRecords(rows []model.KeyRow) ([]keyfold.KeyRecord, error) {
	records := make([]keyfold.KeyRecord, 0, len(rows))
	for i := range rows {
		record, err := keyRecord(&rows[i])
		if err != nil {
			return nil, err
		}
		records = append(records, record)
	}
	return records, nil
}

// userDisabled decodes the column user_enabled, which is NULL for a key without a user.
func userDisabled(enabled *int64) bool { return enabled != nil && *enabled == 0 }

func verifyRecord(row *model.Verify) (keyfold.VerifyRecord, error) {
	record := keyfold.VerifyRecord{
		KeyID: row.ID, Prefix: row.Prefix, Environment: row.Environment, Name: row.Name, OwnerID: row.OwnerID,
		Tenant: row.Tenant, Scopes: row.Scopes, Networks: row.Networks, Metadata: row.Metadata,
		ExpiresAt: keyfold.NoDeadline, IdleTimeout: row.IdleTimeout, ActiveAt: row.ActiveAt,
		Disabled: row.DisabledAt != nil, Revoked: row.RevokedAt != nil,
		UserID: row.UserID, UserDisabled: userDisabled(row.UserEnabled),
	}
	if row.ExpiresAt != nil {
		record.ExpiresAt = *row.ExpiresAt
	}
	if row.LastUsedAt != nil {
		record.LastUsedAt = *row.LastUsedAt
	}
	var err error
	record.Secret, err = column.Secret(row.SecretAlg, row.SecretPepper, row.SecretSum)
	return record, err
}

func userRecord(row *model.User) keyfold.UserRecord {
	return keyfold.UserRecord{
		User: keyfold.User{
			ID: row.ID, Username: row.Username, Email: row.Email, EmailVerifiedAt: column.OptionalMoment(row.EmailVerifiedAt),
			HasPassword: row.PasswordHash != "", PasswordChangedAt: column.OptionalMoment(row.PasswordChangedAt),
			CreatedAt: column.Moment(row.CreatedAt), UpdatedAt: column.Moment(row.UpdatedAt),
			DisabledAt: column.OptionalMoment(row.DisabledAt), DisabledReason: row.DisabledReason, Version: row.Version,
		},
		UsernameKey: row.UsernameKey, EmailKey: row.EmailKey,
		PasswordHash: row.PasswordHash, PasswordVersion: row.PasswordVersion,
	}
}

func oneTimeTokenRecord(row *model.OneTime) (record keyfold.OneTimeTokenRecord) {
	copy(record.Sum[:], row.TokenSum)
	record.Purpose, record.UserID = keyfold.OneTimePurpose(row.Purpose), row.UserID
	record.PasswordVersion, record.EmailKey = row.PasswordVersion, row.EmailKey
	record.NewEmail, record.NewEmailKey = row.NewEmail, row.NewEmailKey
	record.CreatedAt, record.ExpiresAt = column.Moment(row.CreatedAt), column.Moment(row.ExpiresAt)
	return record
}

func throttleRecord(row *model.Throttle) keyfold.Throttle {
	throttle := keyfold.Throttle{Name: row.Name, Attempts: row.Attempts, ExpiresAt: column.Moment(row.ExpiresAt)}
	if row.BlockedUntil != 0 {
		throttle.BlockedUntil = column.Moment(row.BlockedUntil)
	}
	return throttle
}

func auditEntry(row *model.Audit) keyfold.AuditEntry {
	return keyfold.AuditEntry{Seq: row.Seq, Mutation: keyfold.Mutation{
		At: column.Moment(row.At), Actor: row.Actor, IP: column.ParseIP(row.IP), Action: row.Action, Target: row.Target,
		Before: row.StateBefore, After: row.StateAfter, RequestID: row.RequestID,
	}}
}
