package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/keyfold/keyfold"
)

// Opener opens stores for package fromenv, whose Opener it is.
type Opener struct{}

// Engine returns "postgres".
func (Opener) Engine() string { return "postgres" }

// OpenStore is [Open] with errors that leave out what pgx puts before a reason:
// user and database, which the caller knows and has perhaps said already.
func (Opener) OpenStore(ctx context.Context, dsn string) (keyfold.Store, error) {
	store, err := Open(ctx, dsn)
	if err == nil {
		return store, nil
	}
	if refused, ok := errors.AsType[*pgconn.ConnectError](err); ok && refused.Unwrap() != nil {
		reason := refused.Unwrap()
		if hint := hint(refused); hint != "" {
			reason = fmt.Errorf("%w (%s)", reason, hint)
		}
		err = unanswered(reason)
	}
	return nil, err
}
