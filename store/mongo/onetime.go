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

// tokenPlace tells whose a token is. It is a document of its own, so that sums
// are unique and tokens found; by itself it is not a token.
type tokenPlace struct {
	Sum       string `bson:"_id"`
	UserID    string `bson:"user_id"`
	Purpose   string `bson:"purpose"`
	ExpiresAt int64  `bson:"expires_at"`
}

func purposeOf(purpose keyfold.OneTimePurpose) string { return strconv.Itoa(int(purpose)) }

func hexOf(sum [32]byte) string { return hex.EncodeToString(sum[:]) }

// CreateOneTimeToken implements keyfold.OneTimeTokenStore. The place of the token comes
// first; in the user's document it takes the place of the one before.
func (s *Store) CreateOneTimeToken(ctx context.Context, token keyfold.OneTimeTokenRecord, m keyfold.Mutation) error {
	if owned, err := s.mayOwn(ctx, token.UserID); err != nil || !owned || token.UserID == "" {
		return wrap("create one-time token", orNotFound(err))
	}
	place := tokenPlace{
		Sum: hexOf(token.Sum), UserID: token.UserID, Purpose: purposeOf(token.Purpose), ExpiresAt: token.ExpiresAt.UnixMilli(),
	}
	if err := s.oneTimes.insert(ctx, place); errors.Is(err, errTaken) {
		return keyfold.ErrConflict
	} else if err != nil {
		return wrap("create one-time token", err)
	}
	c := newChange(s.users, tokenUse, m, token.UserID)
	err := s.changeUser(ctx, "create one-time token", c, func(_ context.Context, doc *userDoc) error {
		c.Other = doc.Tokens[place.Purpose].Sum
		doc.Tokens = withToken(doc.Tokens, place.Purpose, tokenDoc{
			Sum: place.Sum, PasswordVersion: token.PasswordVersion, EmailKey: token.EmailKey, NewEmail: token.NewEmail,
			NewEmailKey: token.NewEmailKey, CreatedAt: token.CreatedAt.UnixMilli(), ExpiresAt: place.ExpiresAt,
		})
		return nil
	})
	if errors.Is(err, keyfold.ErrNotFound) {
		if _, err := s.oneTimes.remove(ctx, byID(place.Sum)); err != nil {
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

// OneTime implements keyfold.OneTimeTokenStore.
func (s *Store) OneTimeToken(ctx context.Context, sum [32]byte) (keyfold.OneTimeTokenRecord, error) {
	place, err := s.place(ctx, sum)
	if err != nil {
		return keyfold.OneTimeTokenRecord{}, wrap("read one-time token", err)
	}
	user, err := first[userDoc](ctx, s.users, byID(place.UserID))
	if err == nil && (user == nil || !user.Head.Live || user.Tokens[place.Purpose].Sum != place.Sum) {
		err = keyfold.ErrNotFound
	}
	if err != nil {
		return keyfold.OneTimeTokenRecord{}, wrap("read one-time token", err)
	}
	purpose, err := strconv.Atoi(place.Purpose)
	token := user.Tokens[place.Purpose]
	return keyfold.OneTimeTokenRecord{
		Sum: sum, Purpose: keyfold.OneTimePurpose(purpose), UserID: user.Head.ID, PasswordVersion: token.PasswordVersion,
		EmailKey: token.EmailKey, NewEmail: token.NewEmail, NewEmailKey: token.NewEmailKey,
		CreatedAt: column.Moment(token.CreatedAt), ExpiresAt: column.Moment(token.ExpiresAt),
	}, wrap("read one-time token", err)
}

// place returns where a token is, or ErrNotFound.
func (s *Store) place(ctx context.Context, sum [32]byte) (*tokenPlace, error) {
	place, err := first[tokenPlace](ctx, s.oneTimes, byID(hexOf(sum)))
	if err == nil && place == nil {
		err = keyfold.ErrNotFound
	}
	return place, err
}

// UseOneTimeToken implements keyfold.OneTimeTokenStore. One update takes the token out of
// the user's document and changes the user.
func (s *Store) UseOneTimeToken(ctx context.Context, use keyfold.OneTimeTokenUse, m keyfold.Mutation) (keyfold.UserRecord, error) {
	place, err := s.place(ctx, use.Sum)
	if err == nil && place.Purpose != purposeOf(use.Purpose) {
		err = keyfold.ErrNotFound
	}
	if err != nil {
		return keyfold.UserRecord{}, wrap("use one-time token", err)
	}
	c := newChange(s.users, tokenUse, m, place.UserID)
	c.Other = place.Sum
	var user keyfold.UserRecord
	err = s.changeUser(ctx, "use one-time token", c, func(ctx context.Context, doc *userDoc) error {
		token, there := doc.Tokens[place.Purpose]
		if !there || token.Sum != place.Sum || !token.isGood(doc, c.At) {
			return keyfold.ErrNotFound
		}
		doc.use(use, token, c.At)
		user = doc.record()
		if use.Purpose != keyfold.PurposeChangeEmail {
			return nil
		}
		return s.namesAreFree(ctx, doc)
	})
	if err != nil {
		return keyfold.UserRecord{}, err
	}
	return user, nil
}

// isGood reports whether the user may use the token at that time.
func (t tokenDoc) isGood(user *userDoc, at int64) bool {
	return t.ExpiresAt > at && user.DisabledAt == nil &&
		t.PasswordVersion == user.PasswordVersion && t.EmailKey == user.EmailKey
}

// use takes the token away and does what it is for.
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
	d.touch(at)
}

// PruneOneTimeTokens implements keyfold.OneTimeTokenStore. It does not change the user: a
// token that expired is good for nothing, wherever it is.
func (s *Store) PruneOneTimeTokens(ctx context.Context, at time.Time, limit int) (deleted int, more bool, err error) {
	places, err := list[tokenPlace](ctx, s.oneTimes, bson.D{is("expires_at", bson.D{is("$lte", at.UnixMilli())})},
		options.Find().SetSort(bson.D{is("expires_at", 1)}).SetLimit(int64(limit)+1))
	more = len(places) > limit
	for i := range places[:min(len(places), limit)] {
		if err != nil {
			break
		}
		field := "tokens." + places[i].Purpose
		if _, err = s.users.update(ctx, bson.D{is("_id", places[i].UserID), is(field+".sum", places[i].Sum)},
			bson.D{is("$unset", bson.D{is(field, "")})}); err == nil {
			var n int
			n, err = s.oneTimes.remove(ctx, byID(places[i].Sum))
			deleted += n
		}
	}
	if err != nil {
		return 0, false, wrap("prune one-time tokens", err)
	}
	return deleted, more, nil
}
