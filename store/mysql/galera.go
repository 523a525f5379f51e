package mysql

import (
	"context"
	"database/sql"
	"fmt"
)

const (
	codeUnknownVariable = 1193 // ER_UNKNOWN_SYSTEM_VARIABLE: what is not MariaDB has no wsrep_on

	syncWait  = "wsrep_sync_wait"
	syncReads = 1 // the bit of it that is about reads
)

// galera reports whether the server is a node of a Galera cluster, and whether
// reads are of the newest: whether they wait for what other nodes have committed.
func galera(ctx context.Context, db querier) (node, newest bool, err error) {
	var wait int
	err = db.QueryRowContext(ctx, "SELECT @@wsrep_on, @@"+syncWait).Scan(&node, &wait)
	if number(err) == codeUnknownVariable {
		return false, true, nil
	}
	return node, !node || wait&syncReads != 0, err
}

// connectNewest connects, and on a Galera cluster so that reads are of the
// newest, unless the configuration has its own say on that.
func connectNewest(ctx context.Context, set settings) (*sql.DB, error) {
	config := set.config
	db, err := connect(set)
	if err != nil {
		return nil, err
	}
	if _, set := config.Params[syncWait]; set {
		return db, nil
	}
	_, newest, err := galera(ctx, db)
	if err == nil && newest {
		return db, nil
	}
	_ = db.Close()
	if err != nil {
		return nil, fmt.Errorf("%s: the server does not answer: %w", name, err)
	}
	if config.Params == nil {
		config.Params = map[string]string{}
	}
	config.Params[syncWait] = "1"
	return connect(set)
}
