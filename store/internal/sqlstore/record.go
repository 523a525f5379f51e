package sqlstore

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/internal/cidr"
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
	if row.LastUsedAt != 0 {
		record.LastUsedAt = column.Moment(row.LastUsedAt)
	}
	if row.Scopes != "" {
		record.Scopes = strings.Split(row.Scopes, " ")
	}
	var err error
	if record.Secret, err = column.Secret(row.SecretAlg, row.SecretPepper, row.SecretSum); err == nil {
		record.Networks, err = cidr.Split(row.Networks)
	}
	if err == nil && row.Metadata != "" && json.Unmarshal([]byte(row.Metadata), &record.Metadata) != nil {
		err = errors.New("the metadata is not a JSON object of strings")
	}
	if err != nil {
		return keyfold.KeyRecord{}, fmt.Errorf("key %q as stored: %w", row.ID, err)
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

// userDisabled reads the column user_enabled, which is NULL for a key without a user.
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
