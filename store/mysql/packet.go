package mysql

import (
	"errors"
	"log/slog"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/go-sql-driver/mysql"
)

const (
	packetVariable = "max_allowed_packet"
	codeTooLarge   = 1153 // ER_NET_PACKET_TOO_LARGE

	// leastPacket is enough for each single text of a key, a user or an audit entry. The
	// driver sends texts separately that do not fit together.
	leastPacket = 64 << 10
	// largestBatch is more than rowsAtOnce rows of any table need.
	largestBatch = 1 << 20
	leastBatch   = 4 << 10
)

// packets contains the limits of the size of a statement in bytes.
type packets struct {
	session atomic.Int64 // max_allowed_packet of the newest session; 0 if unknown
	reduced atomic.Int64 // the limit since a statement was refused; 0 if none was
}

func fitsPacket(value string, _ variables) bool {
	n, err := strconv.ParseInt(value, 10, 64)
	return err == nil && n >= leastPacket
}

// remember stores the limit of a session.
func (p *packets) remember(found variables) {
	n, err := strconv.ParseInt(found[packetVariable], 10, 64)
	if err != nil {
		return
	}
	p.session.Store(n)
}

// client returns the limit for the driver, which sends longer text in parts. limit is the
// limit of the data source name; if it is 0, the driver asks the server.
func (p *packets) client(limit int) int {
	if n := p.session.Load(); n > 0 && (limit == 0 || n-1 < int64(limit)) {
		return int(n - 1) // the driver subtracts 1 too
	}
	return limit
}

// batch returns the maximum number of bytes in one statement of a batch.
func (p *packets) batch() int64 {
	n := int64(largestBatch)
	if session := p.session.Load(); session > 0 {
		n = min(n, session/4*3)
	}
	if reduced := p.reduced.Load(); reduced > 0 {
		n = min(n, reduced)
	}
	return n
}

// rowsOf returns the number of rows of a batch that fit in one statement.
func rowsOf[T any](p *packets, rows []T, args func(*T, []any) []any) int {
	limit := p.batch()
	if limit >= largestBatch {
		return rowsAtOnce
	}
	var largest int64 = 1
	var values []any
	for i := range rows {
		values = args(&rows[i], values[:0])
		var size int64
		for _, value := range values {
			size += 16 // for a number with its type, or the length of a text
			if text, ok := value.(string); ok {
				size += int64(len(text))
			}
		}
		largest = max(largest, size)
	}
	return int(max(1, min(rowsAtOnce, limit/largest)))
}

// smallBatches returns the limits for a transaction of the caller. Its batches have the
// smallest size, because the Store cannot retry the transaction.
func smallBatches() *connections {
	c := new(connections)
	c.packets.reduced.Store(leastBatch)
	return c
}

// refused makes later batches smaller if a statement was too large for the server or for
// a proxy in between, which then closes the connection.
func (c *connections) refused(err error) error {
	if !tooLarge(err) {
		return err
	}
	tried := c.packets.batch()
	if tried/2 < leastBatch {
		return err
	}
	c.packets.reduced.Store(tried / 2)
	c.log.Warn("keyfold: a batch of usage is larger than the database server accepts in one packet; it is written in smaller parts",
		slog.Int64("bytes", tried/2), slog.Any("error", err))
	return &retryError{err}
}

// tooLarge reports whether a statement, or one argument of a prepared statement, was
// too large. The server has no number of its own for the latter.
func tooLarge(err error) bool {
	var refused *mysql.MySQLError
	return number(err) == codeTooLarge || errors.Is(err, mysql.ErrPktTooLarge) ||
		errors.As(err, &refused) && refused.Number == codeUnknown && strings.Contains(refused.Message, packetVariable)
}
