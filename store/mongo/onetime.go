package mongo

import (
	"context"
	"encoding/hex"
	"errors"
	"maps"
	"strconv"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/store/internal/column"
)

// tokenDoc is a one-time token, in the document of its user.
type tokenDoc struct {
	Sum             string `bson:"sum"` // in hexadecimal
	PasswordVersion int64  `bson:"password_version"`
	EmailKey        string `bson:"email_key"`
	NewEmail        string `bson:"new_email"`
	NewEmailKey     string `bson:"new_email_key"`
	CreatedAt       int64  `bson:"created_at"`
	ExpiresAt       int64  `bson:"expires_at"`
}

// tokenRef finds the user of a token by its sum, and makes sums unique. The token
// itself is in the document of the user.
type tokenRef struct {
	Sum       string `bson:"_id"`
	UserID    string `bson:"user_id"`
	Purpose   string `bson:"purpose"`
	ExpiresAt int64  `bson:"expires_at"`
}

func purposeOf(purpose keyfold.OneTimePurpose) string { return strconv.Itoa(int(purpose)) }

func hexOf(sum [32]byte) string { return hex.EncodeToString(sum[:]) }

// CreateOneTimeToken implements keyfold.OneTimeTokenStore. It writes the reference
// first. In the document of the user, the token then replaces the previous one.
func (s *Store) CreateOneTimeToken(ctx context.Context, token keyfold.OneTimeTokenRecord, m keyfold.Mutation) error {
	if owned, err := s.ownerExists(ctx, token.UserID); err != nil || !owned || token.UserID == "" {
		return wrap("create one-time token", orNotFound(err))
	}
	ref := tokenRef{
		Sum: hexOf(token.Sum), UserID: token.UserID, Purpose: purposeOf(token.Purpose), ExpiresAt: token.ExpiresAt.UnixMilli(),
	}
	switch err := s.oneTimes.insert(ctx, ref); {
	case errors.Is(err, errTaken):
		return keyfold.ErrConflict
	case err != nil:
		return wrap("create one-time token", err)
	}
	c := newChange(s.users, tokenUse, m, token.UserID)
	err := s.changeUser(ctx, "create one-time token", c, func(_ context.Context, doc *userDoc) error {
		c.Other = doc.Tokens[ref.Purpose].Sum
		doc.Tokens = withToken(doc.Tokens, ref.Purpose, tokenDoc{
			Sum: ref.Sum, PasswordVersion: token.PasswordVersion, EmailKey: token.EmailKey, NewEmail: token.NewEmail,
			NewEmailKey: token.NewEmailKey, CreatedAt: token.CreatedAt.UnixMilli(), ExpiresAt: ref.ExpiresAt,
		})
		return nil
	})
	if errors.Is(err, keyfold.ErrNotFound) {
		if _, err := s.oneTimes.remove(ctx, byID(ref.Sum)); err != nil {
			return wrap("create one-time token", err)
		}
	}
	return err
}

func withToken(tokens map[string]tokenDoc, purpose string, token tokenDoc) map[string]tokenDoc {
	tokens = maps.Clone(tokens)
	if tokens == nil {
		tokens = map[string]tokenDoc{}
	}
	tokens[purpose] = token
	return tokens
}

// OneTimeToken implements keyfold.OneTimeTokenStore.
func (s *Store) OneTimeToken(ctx context.Context, sum [32]byte) (keyfold.OneTimeTokenRecord, error) {
	ref, err := s.tokenRef(ctx, sum)
	if err != nil {
		return keyfold.OneTimeTokenRecord{}, wrap("read one-time token", err)
	}
	user, err := first[userDoc](ctx, s.users, byID(ref.UserID))
	if err != nil {
		return keyfold.OneTimeTokenRecord{}, wrap("read one-time token", err)
	}
	if user == nil || !user.Head.Live || user.Tokens[ref.Purpose].Sum != ref.Sum {
		return keyfold.OneTimeTokenRecord{}, keyfold.ErrNotFound
	}
	record, err := oneTimeTokenRecord(user, ref, sum)
	return record, wrap("read one-time token", err)
}

func oneTimeTokenRecord(user *userDoc, ref *tokenRef, sum [32]byte) (keyfold.OneTimeTokenRecord, error) {
	purpose, err := strconv.Atoi(ref.Purpose)
	token := user.Tokens[ref.Purpose]
	return keyfold.OneTimeTokenRecord{
		Sum: sum, Purpose: keyfold.OneTimePurpose(purpose), UserID: user.Head.ID, PasswordVersion: token.PasswordVersion,
		EmailKey: token.EmailKey, NewEmail: token.NewEmail, NewEmailKey: token.NewEmailKey,
		CreatedAt: column.Moment(token.CreatedAt), ExpiresAt: column.Moment(token.ExpiresAt),
	}, err
}

// tokenRef returns the reference of a token, or ErrNotFound.
func (s *Store) tokenRef(ctx context.Context, sum [32]byte) (*tokenRef, error) {
	ref, err := first[tokenRef](ctx, s.oneTimes, byID(hexOf(sum)))
	if err != nil {
		return nil, err
	}
	if ref == nil {
		return nil, keyfold.ErrNotFound
	}
	return ref, nil
}

// UseOneTimeToken implements keyfold.OneTimeTokenStore. One update of the document of
// the user removes the token and changes the user.
func (s *Store) UseOneTimeToken(ctx context.Context, use keyfold.OneTimeTokenUse, m keyfold.Mutation) (keyfold.UserRecord, error) {
	ref, err := s.tokenRef(ctx, use.Sum)
	if err != nil {
		return keyfold.UserRecord{}, wrap("use one-time token", err)
	}
	if ref.Purpose != purposeOf(use.Purpose) {
		return keyfold.UserRecord{}, keyfold.ErrNotFound
	}
	c := newChange(s.users, tokenUse, m, ref.UserID)
	c.Other = ref.Sum
	var user keyfold.UserRecord
	err = s.changeUser(ctx, "use one-time token", c, func(ctx context.Context, doc *userDoc) error {
		token, exists := doc.Tokens[ref.Purpose]
		if !exists || token.Sum != ref.Sum || !token.isUsable(doc, c.At) {
			return keyfold.ErrNotFound
		}
		doc.use(use, token, c.At)
		user = userRecord(doc)
		if use.Purpose != keyfold.PurposeChangeEmail {
			return nil
		}
		return s.checkNames(ctx, doc)
	})
	if err != nil {
		return keyfold.UserRecord{}, err
	}
	return user, nil
}

// isUsable reports whether the user can use the token at the time at.
func (t tokenDoc) isUsable(user *userDoc, at int64) bool {
	return t.ExpiresAt > at && user.DisabledAt == nil &&
		t.PasswordVersion == user.PasswordVersion && t.EmailKey == user.EmailKey
}

// use removes the token and makes the change of the user that the token allows.
func (d *userDoc) use(use keyfold.OneTimeTokenUse, token tokenDoc, at int64) {
	d.Tokens = maps.Clone(d.Tokens)
	delete(d.Tokens, purposeOf(use.Purpose))
	d.EmailVerifiedAt = &at
	switch use.Purpose {
	case keyfold.PurposeResetPassword:
		d.setPassword(use.PasswordHash, at)
	case keyfold.PurposeChangeEmail:
		d.Email, d.EmailKey = token.NewEmail, token.NewEmailKey
	case keyfold.PurposeVerifyEmail:
	}
	d.setUpdated(at)
}

// PruneOneTimeTokens implements keyfold.OneTimeTokenStore. It removes expired tokens from
// the documents of their users without a change, because they have no effect.
func (s *Store) PruneOneTimeTokens(ctx context.Context, at time.Time, limit int) (deleted int, more bool, err error) {
	refs, err := list[tokenRef](ctx, s.oneTimes, bson.D{is("expires_at", bson.D{is("$lte", at.UnixMilli())})},
		options.Find().SetSort(bson.D{is("expires_at", 1)}).SetLimit(int64(limit)+1))
	if err != nil {
		return 0, false, wrap("prune one-time tokens", err)
	}
	for i := range refs[:min(len(refs), limit)] {
		n, err := s.removeToken(ctx, &refs[i])
		if err != nil {
			return 0, false, wrap("prune one-time tokens", err)
		}
		deleted += n
	}
	return deleted, len(refs) > limit, nil
}

// removeToken deletes a token and its reference.
func (s *Store) removeToken(ctx context.Context, ref *tokenRef) (deleted int, err error) {
	field := "tokens." + ref.Purpose
	_, err = s.users.update(ctx, bson.D{is("_id", ref.UserID), is(field+".sum", ref.Sum)}, bson.D{is("$unset", bson.D{is(field, "")})})
	if err != nil {
		return 0, err
	}
	return s.oneTimes.remove(ctx, byID(ref.Sum))
}
