package mongo

import (
	"context"
	"errors"
	"slices"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/keyfold/keyfold"
)

// CreateUser implements keyfold.UserStore.
func (s *Store) CreateUser(ctx context.Context, user keyfold.UserRecord, m keyfold.Mutation) error {
	return s.write(ctx, "create user", []string{user.ID}, func(ctx context.Context) error {
		taken := bson.D{is("$or", bson.A{byID(user.ID), bson.D{is("username_key", user.UsernameKey)}, bson.D{is("email_key", user.EmailKey)}})}
		if err := s.checkUnused(ctx, s.users, taken); err != nil {
			return err
		}
		c := newChange(s.users, plain, m, user.ID)
		if err := s.create(ctx, c, newUserDoc(&user)); err != nil {
			return err
		}
		if err := s.finish(ctx, c, c.Subjects); err != nil {
			return s.recover(ctx, c, err)
		}
		return nil
	})
}

// User implements keyfold.UserStore.
func (s *Store) User(ctx context.Context, id string) (keyfold.UserRecord, error) {
	return s.userBy(ctx, byID(id))
}

// UserByUsername implements keyfold.UserStore.
func (s *Store) UserByUsername(ctx context.Context, usernameKey string) (keyfold.UserRecord, error) {
	return s.userBy(ctx, bson.D{is("username_key", usernameKey)})
}

// UserByEmail implements keyfold.UserStore.
func (s *Store) UserByEmail(ctx context.Context, emailKey string) (keyfold.UserRecord, error) {
	return s.userBy(ctx, bson.D{is("email_key", emailKey)})
}

func (s *Store) userBy(ctx context.Context, filter bson.D) (keyfold.UserRecord, error) {
	doc, err := first[userDoc](ctx, s.users, filter)
	if err != nil {
		return keyfold.UserRecord{}, wrap("read user", err)
	}
	if doc == nil || !doc.Head.Live {
		return keyfold.UserRecord{}, keyfold.ErrNotFound
	}
	return userRecord(doc), nil
}

// Users implements keyfold.UserStore.
func (s *Store) Users(ctx context.Context, scan keyfold.UserScan) ([]keyfold.UserRecord, error) {
	docs, err := list[userDoc](ctx, s.users, append(after("created_at", scan.After, "$lt"), is("live", true)),
		options.Find().SetSort(bson.D{is("created_at", -1), is("_id", -1)}).SetLimit(int64(scan.Limit)))
	if err != nil {
		return nil, wrap("list users", err)
	}
	users := make([]keyfold.UserRecord, len(docs))
	for i := range docs {
		users[i] = userRecord(&docs[i])
	}
	return users, nil
}

// UpdateUser implements keyfold.UserStore.
func (s *Store) UpdateUser(ctx context.Context, user keyfold.UserRecord, m keyfold.Mutation) error {
	c := newChange(s.users, plain, m, user.ID)
	return s.changeUser(ctx, "update user", c, func(ctx context.Context, doc *userDoc) error {
		if doc.Version != user.Version {
			return keyfold.ErrStale
		}
		doc.setEditable(&user)
		doc.Version++
		return s.checkNames(ctx, doc)
	})
}

// checkNames returns ErrConflict if another user has the username or the e-mail
// address. Unique indexes prevent races.
func (s *Store) checkNames(ctx context.Context, doc *userDoc) error {
	return s.checkUnused(ctx, s.users, bson.D{
		is("_id", bson.D{is("$ne", doc.Head.ID)}),
		is("$or", bson.A{bson.D{is("username_key", doc.UsernameKey)}, bson.D{is("email_key", doc.EmailKey)}}),
	})
}

// changeUser applies a change to one user. It returns ErrNotFound if the user does not
// exist.
func (s *Store) changeUser(ctx context.Context, operation string, c *changeDoc, edit func(context.Context, *userDoc) error) error {
	return s.write(ctx, operation, c.Subjects, func(ctx context.Context) error {
		changed, err := apply(ctx, s, c, func(doc *userDoc) (bool, error) {
			return true, edit(ctx, doc)
		})
		return mustChange(len(changed), err)
	})
}

// SetPassword implements keyfold.UserStore.
func (s *Store) SetPassword(ctx context.Context, id, hash string, version int64, m keyfold.Mutation) error {
	c := newChange(s.users, plain, m, id)
	return s.changeUser(ctx, "set password", c, func(_ context.Context, doc *userDoc) error {
		if version != keyfold.AnyPassword && version != doc.PasswordVersion {
			return keyfold.ErrStale
		}
		doc.setPassword(hash, c.At)
		doc.setUpdated(c.At)
		return nil
	})
}

// RehashPassword implements keyfold.UserStore. It is a single conditional update
// without a change, because the password stays the same.
func (s *Store) RehashPassword(ctx context.Context, id, old, new string) error {
	_, err := s.users.update(ctx, bson.D{is("_id", id), is("password_hash", old)}, set(is("password_hash", new)))
	return wrap("rehash password", err)
}

// errUnchanged means that a change of state does not apply to the user.
var errUnchanged = errors.New("unchanged")

// SetUserState implements keyfold.UserStore.
func (s *Store) SetUserState(ctx context.Context, id string, change keyfold.StateChange, reason string, m keyfold.Mutation) (bool, error) {
	c := newChange(s.users, plain, m, id)
	err := s.changeUser(ctx, "set state of user", c, func(_ context.Context, doc *userDoc) error {
		disabled := doc.DisabledAt != nil
		switch {
		case change == keyfold.DisableChange && !disabled:
			doc.DisabledAt, doc.DisabledReason = &c.At, reason
		case change == keyfold.EnableChange && disabled:
			doc.DisabledAt, doc.DisabledReason = nil, ""
		default:
			return errUnchanged
		}
		doc.setUpdated(c.At)
		return nil
	})
	if errors.Is(err, errUnchanged) {
		return false, nil
	}
	return err == nil, err
}

// DeleteUser implements keyfold.UserStore. One update makes the user invisible and all
// keys of the user invalid. The keys and tokens are deleted after it.
func (s *Store) DeleteUser(ctx context.Context, id string, m keyfold.Mutation) error {
	return s.changeUser(ctx, "delete user", newChange(s.users, userRemoval, m, id), func(_ context.Context, doc *userDoc) error {
		doc.Head.Live = false
		return nil
	})
}

// findKeys stores the list of keys that are deleted with a user. The numbers of audit
// entries depend on the order of the list, so keys are only appended.
func (s *Store) findKeys(ctx context.Context, c *changeDoc) error {
	for range maxTries {
		docs, err := list[head](ctx, s.keys, bson.D{is("user_id", c.Subjects[0])}, options.Find().SetProjection(bson.D{is("_id", 1)}))
		if err != nil {
			return err
		}
		known := make(map[string]bool, len(c.Keys))
		for _, id := range c.Keys {
			known[id] = true
		}
		keys := slices.Clone(c.Keys)
		for i := range docs {
			if !known[docs[i].ID] {
				keys = append(keys, docs[i].ID)
			}
		}
		if len(keys) == len(c.Keys) {
			_, err := s.settled(ctx, s.keys, keys) // earlier changes must be complete before the keys are deleted
			return err
		}
		unchanged := bson.D{is("_id", c.ID), is("found", int64(len(c.Keys)))}
		updated, err := s.changes.update(ctx, unchanged, set(is("keys", keys), is("found", int64(len(keys)))))
		if err != nil {
			return err
		}
		if updated {
			c.Keys = keys
			continue
		}
		stored, err := first[changeDoc](ctx, s.changes, byID(c.ID))
		if err != nil || stored == nil {
			return err
		}
		c.Keys = stored.Keys
	}
	return keyfold.ErrRetry
}
