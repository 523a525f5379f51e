package main

import (
	"context"
	"log/slog"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/store/sqlite"
)

// warnOfOldKeys logs how many keys of the predecessor a SQLite file contains, because
// their clients are refused.
func warnOfOldKeys(ctx context.Context, store keyfold.Store, log *slog.Logger) {
	file, ok := store.(*sqlite.Store)
	if !ok {
		return
	}
	for _, table := range []string{"fastapi_simple_security", "FASTAPI_AUTH"} {
		var keys int64
		if err := file.DB().QueryRowContext(ctx, "SELECT COUNT(*) FROM "+table).Scan(&keys); err == nil && keys > 0 {
			log.Warn("the database contains keys of fastapi_auth, which Keyfold does not accept; their clients need new keys",
				"table", table, "keys", keys)
		}
	}
}
