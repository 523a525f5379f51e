package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/keyfold/keyfold"
)

// Opener implements fromenv.Opener.
type Opener struct{}

// Engine returns "postgres".
func (Opener) Engine() string { return "postgres" }

// OpenStore is [Open]. Its errors do not contain the user and the database, which pgx
// puts before the reason.
func (Opener) OpenStore(ctx context.Context, dsn string) (keyfold.Store, error) {
	store, err := Open(ctx, dsn)
	if err != nil {
		return nil, withoutTarget(err)
	}
	return store, nil
}

// withoutTarget removes the user and the database from an error of pgx.
func withoutTarget(err error) error {
	refused, ok := errors.AsType[*pgconn.ConnectError](err)
	if !ok || refused.Unwrap() == nil {
		return err
	}
	reason := refused.Unwrap()
	if hint := hint(refused); hint != "" {
		reason = fmt.Errorf("%w (%s)", reason, hint)
	}
	return connectError(reason)
}
