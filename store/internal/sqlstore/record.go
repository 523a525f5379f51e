package sqlstore

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/query/model"
)

// optional returns nil for the zero time, which is stored as NULL.
func optional(at time.Time) *int64 {
	if at.IsZero() {
		return nil
	}
	millis := at.UnixMilli()
	return &millis
}

func moment(millis int64) time.Time { return time.UnixMilli(millis).UTC() }

func optionalMoment(millis *int64) time.Time {
	if millis == nil {
		return time.Time{}
	}
	return moment(*millis)
}

// used returns 0 for the zero time: how a key that was never used is stored.
func used(at time.Time) int64 {
	if at.IsZero() {
		return 0
	}
	return at.UnixMilli()
}

func joinNetworks(networks []netip.Prefix) string {
	var text strings.Builder
	for i, network := range networks {
		if i > 0 {
			text.WriteByte(' ')
		}
		text.WriteString(network.String())
	}
	return text.String()
}

func splitNetworks(text string) ([]netip.Prefix, error) {
	var networks []netip.Prefix
	for field := range strings.FieldsSeq(text) {
		network, err := netip.ParsePrefix(field)
		if err != nil {
			return nil, errors.New("a network is not a CIDR prefix")
		}
		networks = append(networks, network)
	}
	return networks, nil
}

// encodeMetadata does not escape for HTML: six bytes for each < would not fit
// the column.
func encodeMetadata(metadata map[string]string) (string, error) {
	if len(metadata) == 0 {
		return "", nil
	}
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(metadata); err != nil {
		return "", err
	}
	return strings.TrimSuffix(text.String(), "\n"), nil
}

func keyRecord(row *model.KeyRow) (keyfold.KeyRecord, error) {
	record := keyfold.KeyRecord{
		Key: keyfold.Key{
			ID: row.ID, Hint: row.Hint, Prefix: row.Prefix, Environment: row.Environment, Name: row.Name,
			Notes: row.Notes, OwnerID: row.OwnerID, UserID: row.UserID, Tenant: row.Tenant,
			CreatedAt: moment(row.CreatedAt), UpdatedAt: moment(row.UpdatedAt),
			ExpiresAt:   optionalMoment(row.ExpiresAt),
			IdleTimeout: time.Duration(row.IdleTimeout) * time.Millisecond,
			DisabledAt:  optionalMoment(row.DisabledAt), DisabledReason: row.DisabledReason,
			RevokedAt: optionalMoment(row.RevokedAt), RevokedReason: row.RevokedReason,
			LineageID: row.LineageID, RotatedFrom: row.RotatedFrom, RotatedTo: row.RotatedTo,
			Version: row.Version, Uses: row.Uses,
		},
		ActiveAt: moment(row.ActiveAt),
	}
	if row.LastUsedAt != 0 {
		record.LastUsedAt = moment(row.LastUsedAt)
	}
	if row.Scopes != "" {
		record.Scopes = strings.Split(row.Scopes, " ")
	}
	var err error
	if record.Secret, err = secretHash(row.SecretAlg, row.SecretPepper, row.SecretSum); err == nil {
		record.Networks, err = splitNetworks(row.Networks)
	}
	if err == nil && row.Metadata != "" && json.Unmarshal([]byte(row.Metadata), &record.Metadata) != nil {
		err = errors.New("the metadata is no JSON object of strings")
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

func secretHash(alg, pepper string, sum []byte) (keyfold.SecretHash, error) {
	hash := keyfold.SecretHash{Alg: alg, PepperID: pepper}
	if copy(hash.Sum[:], sum) != len(hash.Sum) || len(sum) != len(hash.Sum) {
		return keyfold.SecretHash{}, fmt.Errorf("the hash has %d bytes, want %d", len(sum), len(hash.Sum))
	}
	return hash, nil
}

func verifyRecord(row *model.Verify) (keyfold.VerifyRecord, error) {
	record := keyfold.VerifyRecord{
		KeyID: row.ID, Prefix: row.Prefix, Environment: row.Environment, Name: row.Name, OwnerID: row.OwnerID,
		Tenant: row.Tenant, Scopes: row.Scopes, Networks: row.Networks, Metadata: row.Metadata,
		ExpiresAt: keyfold.NoDeadline, IdleTimeout: row.IdleTimeout, ActiveAt: row.ActiveAt,
		Disabled: row.DisabledAt != nil, Revoked: row.RevokedAt != nil,
		UserID: row.UserID, UserDisabled: row.UserEnabled != nil && *row.UserEnabled == 0,
	}
	if row.ExpiresAt != nil {
		record.ExpiresAt = *row.ExpiresAt
	}
	if row.LastUsedAt != nil {
		record.LastUsedAt = *row.LastUsedAt
	}
	var err error
	record.Secret, err = secretHash(row.SecretAlg, row.SecretPepper, row.SecretSum)
	return record, err
}

// clean makes text that comes from outside fit for every database: valid
// UTF-8, no NUL, at most limit bytes. It is for what describes an event, where
// a refusal would lose the event.
func clean(text string, limit int) string {
	if len(text) > limit {
		text = text[:limit]
	}
	text = strings.ToValidUTF8(text, "")
	if strings.IndexByte(text, 0) >= 0 {
		text = strings.ReplaceAll(text, "\x00", "")
	}
	return text
}
