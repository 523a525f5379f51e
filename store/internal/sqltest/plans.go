package sqltest

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/store/internal/sqlstore"
	"github.com/keyfold/keyfold/store/internal/usageblock"
)

// ErrExplained is what a connection that only explains returns instead of rows.
var ErrExplained = errors.New("explained")

const (
	seedKeys   = 3000
	seedOwners = 60
)

// Seed stores some thousand keys, events, changes and audit rows, so that an
// index is worth using.
func Seed(t testing.TB, store keyfold.Store) (began time.Time) {
	t.Helper()
	began = time.Now().UTC().Truncate(time.Hour)
	batch := keyfold.UsageBatch{RecorderID: "seed", Number: 1, At: began}
	for part := range 10 {
		var keys []keyfold.KeyRecord
		for n := range seedKeys / 10 {
			key := Key()
			key.OwnerID, key.Tenant = fmt.Sprint("owner", n%seedOwners), fmt.Sprint("tenant", n%50)
			key.CreatedAt = began.Add(time.Duration(part*1000+n) * time.Second)
			key.ExpiresAt = key.CreatedAt.Add(time.Hour)
			if n%10 == 0 {
				key.UserID = seedUser(t, store, part*seedKeys+n, key.CreatedAt)
			}
			keys = append(keys, key)
		}
		if err := store.InTx(t.Context(), func(tx keyfold.Store) error {
			for _, key := range keys {
				m := Mutation("key.create", key.ID)
				m.At = key.CreatedAt
				if err := tx.CreateKey(t.Context(), key, m); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		for n, key := range keys {
			at := began.Add(time.Duration(part*1000+n) * time.Minute)
			for outcome := range 3 {
				batch.Hours = append(batch.Hours, keyfold.UsageHour{KeyID: key.ID, HourAt: at.Truncate(time.Hour), Outcome: keyfold.Outcome(outcome), Count: 1})
				batch.Events = append(batch.Events, keyfold.UsageEvent{At: at, KeyID: key.ID, Outcome: keyfold.Outcome(outcome), Route: fmt.Sprint("GET /", n)})
			}
			batch.Hours = append(batch.Hours, keyfold.UsageHour{HourAt: at.Truncate(time.Hour), Outcome: 1, Count: 1})
		}
	}
	if _, err := store.RecordUsage(t.Context(), batch); err != nil {
		t.Fatal(err)
	}
	for n := range 300 {
		if _, err := store.RecordUsage(t.Context(), keyfold.UsageBatch{RecorderID: "r", Number: int64(n), At: began.Add(time.Duration(n) * time.Second)}); err != nil {
			t.Fatal(err)
		}
	}
	return began
}

// seedUser stores a user with a one-time token and a throttle, and returns its id.
func seedUser(t testing.TB, store keyfold.Store, n int, at time.Time) string {
	t.Helper()
	id := fmt.Sprintf("u%015d", n)
	user := keyfold.UserRecord{UsernameKey: fmt.Sprint("name", n), EmailKey: fmt.Sprintf("mail%d@example.com", n)}
	user.ID, user.Username, user.Email, user.Version = id, user.UsernameKey, user.EmailKey, 1
	user.CreatedAt, user.UpdatedAt = at, at
	token := keyfold.OneTimeTokenRecord{
		Sum: sha256.Sum256([]byte(id)), Purpose: keyfold.PurposeVerifyEmail, UserID: id, EmailKey: user.EmailKey, CreatedAt: at, ExpiresAt: at.Add(time.Hour),
	}
	rule := keyfold.ThrottleRule{Burst: 1, InitialDelay: time.Minute, MaxDelay: time.Minute, ResetAfter: time.Hour}
	_, err := store.ReserveAttempt(t.Context(), []keyfold.ThrottleReservation{{Name: "account." + id, Rule: rule}}, at)
	err = errors.Join(err, store.CreateUser(t.Context(), user, Mutation("user.create", id)),
		store.CreateOneTimeToken(t.Context(), token, Mutation("user.one_time", id)))
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// Index returns the index that a query has to use, empty for a primary key.
// Another one may order the rows as well, and still read all of them.
func Index(query string) string {
	return map[string]string{
		"KeysAll": "keyfold_keys_created", "KeysAll, first": "keyfold_keys_created", "KeysByOwner": "keyfold_keys_owner",
		"KeysByTenant": "keyfold_keys_tenant", "KeysExpiring": "keyfold_keys_expires", "KeyIDsByOwner": "keyfold_keys_owner",
		"HoursOfOwner": "keyfold_keys_owner", "AuditByTarget": "keyfold_audit_target", "ChangesOlder": "keyfold_changes_at",
		"NthBatchAt": "keyfold_batches_at", "DeleteBatches": "keyfold_batches_at", "NthHour": "keyfold_usage_hours_at",
		"DeleteHours": "keyfold_usage_hours_at", "NthWord": "keyfold_words_used", "DeleteWords": "keyfold_words_used",
		"PollChanges": "keyfold_changes_tx",
		"KeysByUser":  "keyfold_keys_user", "KeyIDsByUser": "keyfold_keys_user", "HoursOfUser": "keyfold_keys_user",
		"DeleteKeysOfUser": "keyfold_keys_user", "DeleteTotalsOfUser": "keyfold_keys_user", "UsersAll": "keyfold_users_created",
		"DeleteOneTimesOfUser": "keyfold_one_times_user", "DeleteOneTimesFor": "keyfold_one_times_user",
		"OneTimesExpired": "keyfold_one_times_expires", "ThrottlesExpired": "keyfold_throttles_expires",
	}[query]
}

// Queries calls every query that reads or deletes more than one row, in the
// middle of what Seed stored, by name.
func Queries(ctx context.Context, q sqlstore.Querier, began time.Time) map[string]func() error {
	at := func(d time.Duration) int64 { return began.Add(d).UnixMilli() }
	middle, hour := at(80*time.Minute), at(time.Hour)
	from, to, after := at(2*time.Hour), at(3*time.Hour), at(130*time.Minute)
	outcomes, user := "1", fmt.Sprintf("u%015d", seedKeys+10)
	block := usageblock.FirstID
	return map[string]func() error{
		"KeysAll":        func() error { _, err := q.KeysAll(ctx, middle, middle, "m", 50); return err },
		"KeysAll, first": func() error { _, err := q.KeysAll(ctx, math.MaxInt64, math.MaxInt64, "", 50); return err },
		"KeysByOwner":    func() error { _, err := q.KeysByOwner(ctx, "owner7", middle, middle, "m", 50); return err },
		"KeysByTenant":   func() error { _, err := q.KeysByTenant(ctx, "tenant3", middle, middle, "m", 50); return err },
		"KeysExpiring":   func() error { _, err := q.KeysExpiring(ctx, &from, &to, &after, "m", 50); return err },
		"KeyIDsByOwner":  func() error { _, err := q.KeyIDsByOwner(ctx, "owner7"); return err },
		"KeyRow":         func() error { _, err := q.KeyRow(ctx, "k"); return err },
		"VerifyRow":      func() error { _, err := q.VerifyRow(ctx, "k"); return err },
		"AuditAll":       func() error { _, err := q.AuditAll(ctx, 1500, 50); return err },
		"AuditByTarget":  func() error { _, err := q.AuditByTarget(ctx, "k", 1500, 50); return err },
		"ChangesAfter":   func() error { _, err := q.ChangesAfter(ctx, 2900, 50); return err },
		"ChangesBefore":  func() error { _, err := q.ChangesBefore(ctx, 2900, 50); return err },
		"CountChanges":   func() error { _, err := q.CountChanges(ctx, 2900, 2950); return err },
		"ChangesOlder":   func() error { _, err := q.ChangesOlder(ctx, middle, 50); return err },
		"DeleteChanges":  func() error { _, err := q.DeleteChanges(ctx, at(time.Minute), at(time.Minute), 9, 9); return err },
		"HoursOfKey":     func() error { _, err := q.HoursOfKey(ctx, "k", hour, to); return err },
		"HoursOfOwner":   func() error { _, err := q.HoursOfOwner(ctx, "owner7", hour, to); return err },
		"LatestHour":     func() error { _, err := q.LatestHour(ctx, "k", hour, to, outcomes); return err },
		"UsageBlocks":    func() error { _, err := q.UsageBlocks(ctx, block(hour), block(to), block(to), 4); return err },
		"NthUsageBlock":  func() error { _, err := q.NthUsageBlock(ctx, block(hour), block(to), 1); return err },
		"WordsByID": func() error {
			_, err := q.WordsByID(ctx, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16)
			return err
		},
		"UsageBlockHeads":      func() error { _, err := q.UsageBlockHeads(ctx, block(hour), block(to), 20); return err },
		"UsageBlocksAscending": func() error { _, err := q.UsageBlocksAscending(ctx, block(hour), block(to), 20); return err },
		"DeleteUsageBlocks": func() error {
			_, err := q.DeleteUsageBlocks(ctx, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16)
			return err
		},
		"DeleteUsageBlocksBefore": func() error { _, err := q.DeleteUsageBlocksBefore(ctx, block(at(time.Minute))); return err },

		"NthBatchAt":     func() error { _, err := q.NthBatchAt(ctx, at(time.Minute), 20); return err },
		"NthHour":        func() error { _, err := q.NthHour(ctx, to, 50); return err },
		"DeleteHours":    func() error { _, err := q.DeleteHours(ctx, hour, hour, "k"); return err },
		"NthWord":        func() error { _, err := q.NthWord(ctx, at(0), 0); return err },
		"DeleteWords":    func() error { _, err := q.DeleteWords(ctx, at(0), at(0), 0); return err },
		"DeleteBatches":  func() error { _, err := q.DeleteBatches(ctx, at(10*time.Second)); return err },
		"KeysByUser":     func() error { _, err := q.KeysByUser(ctx, user, middle, middle, "m", 50); return err },
		"KeyIDsByUser":   func() error { _, err := q.KeyIDsByUser(ctx, user); return err },
		"HoursOfUser":    func() error { _, err := q.HoursOfUser(ctx, user, hour, to); return err },
		"UserRow":        func() error { _, err := q.UserRow(ctx, user); return err },
		"UserByUsername": func() error { _, err := q.UserByUsername(ctx, "name10"); return err },
		"UserByEmail":    func() error { _, err := q.UserByEmail(ctx, "mail10@example.com"); return err },
		"UsersAll":       func() error { _, err := q.UsersAll(ctx, middle, middle, "m", 50); return err },
		"DeleteUser":     func() error { _, err := q.DeleteUser(ctx, user); return err },

		"DeleteKeysOfUser":     func() error { return q.DeleteKeysOfUser(ctx, user) },
		"DeleteTotalsOfUser":   func() error { return q.DeleteTotalsOfUser(ctx, user) },
		"DeleteOneTimesOfUser": func() error { return q.DeleteOneTimesOfUser(ctx, user) },
		"DeleteOneTimesFor":    func() error { return q.DeleteOneTimesFor(ctx, user, 1) },
		"OneTimesExpired":      func() error { _, err := q.OneTimesExpired(ctx, at(90*time.Minute), 20); return err },
		"ThrottlesExpired":     func() error { _, err := q.ThrottlesExpired(ctx, at(90*time.Minute), 20); return err },

		"DeleteKey": func() error { _, err := q.DeleteKey(ctx, "k"); return err },
		"RevokeKey": func() error { _, err := q.RevokeKey(ctx, &to, "", to, "k"); return err },
	}
}
