package mysql

import "context"

const (
	codeUnknownVariable = 1193 // ER_UNKNOWN_SYSTEM_VARIABLE: only MariaDB has wsrep_on

	syncWait  = "wsrep_sync_wait"
	syncReads = 1 // the bit of wsrep_sync_wait that makes reads wait for the commits of other nodes
)

// onGalera reports whether the server is a node of a Galera cluster.
func onGalera(ctx context.Context, db querier) (node bool, err error) {
	err = db.QueryRowContext(ctx, "SELECT @@wsrep_on").Scan(&node)
	if number(err) == codeUnknownVariable {
		return false, nil
	}
	return node, err
}
