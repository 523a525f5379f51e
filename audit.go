package keyfold

// AuditEntry is one row of the audit log.
type AuditEntry struct {
	// Seq orders entries. It has gaps, and entries of transactions that run at
	// the same time may become visible out of order.
	Seq int64
	Mutation
}
