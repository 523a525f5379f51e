package mysql

import (
	"errors"
	"log/slog"
	"strconv"
	"sync/atomic"

	"github.com/go-sql-driver/mysql"
)

const (
	packetVariable = "max_allowed_packet"
	codeTooLarge   = 1153 // ER_NET_PACKET_TOO_LARGE

	// leastPacket is enough for each text of a key, a user and their audit
	// entries: text that does not fit together with others is sent by itself.
	leastPacket = 64 << 10
	// largestBatch is more than rowsAtOnce rows of any kind take.
	largestBatch = 1 << 20
	leastBatch   = 4 << 10
)

// packets is how many bytes a statement may have.
type packets struct {
	session atomic.Int64 // max_allowed_packet of the newest session; 0: unknown
	taken   atomic.Int64 // what is tried since a statement was refused; 0: none was
}

func fitsPacket(value string, _ variables) bool {
	n, err := strconv.ParseInt(value, 10, 64)
	return err == nil && n >= leastPacket
}

// saw remembers the limit of a session.
func (p *packets) saw(found variables) {
	if n, err := strconv.ParseInt(found[packetVariable], 10, 64); err == nil {
		p.session.Store(n)
	}
}

// client returns the limit for the driver, which sends text that does not fit in
// parts. limit is that of the data source name; 0 lets the driver ask the server.
func (p *packets) client(limit int) int {
	if n := p.session.Load(); n > 0 && (limit == 0 || n-1 < int64(limit)) {
		return int(n - 1) // as the driver does
	}
	return limit
}

// batch returns the number of bytes for one statement of a batch.
func (p *packets) batch() int64 {
	n := int64(largestBatch)
	if session := p.session.Load(); session > 0 {
		n = min(n, session/4*3)
	}
	if taken := p.taken.Load(); taken > 0 {
		n = min(n, taken)
	}
	return n
}

// rowsOf returns how many rows of a batch one statement may take.
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
			size += 16 // a number with its type, or the length of a text
			if text, ok := value.(string); ok {
				size += int64(len(text))
			}
		}
		largest = max(largest, size)
	}
	return int(max(1, min(rowsAtOnce, limit/largest)))
}

// smallBatches is for a transaction of the caller, which cannot be tried again
// here: its batches are as small as they get.
func smallBatches() *connections {
	c := new(connections)
	c.packets.taken.Store(leastBatch)
	return c
}

// refused makes later batches smaller when a statement was too large for the
// server, or for a proxy on the way to it, which then closes the connection.
func (c *connections) refused(err error) error {
	if number(err) != codeTooLarge && !errors.Is(err, mysql.ErrPktTooLarge) {
		return err
	}
	tried := c.packets.batch()
	if tried/2 < leastBatch {
		return err
	}
	c.packets.taken.Store(tried / 2)
	c.log.Warn("keyfold: a batch of usage is larger than the database server takes at once; it is written in smaller parts",
		slog.Int64("bytes", tried/2), slog.Any("error", err))
	return &retryError{err}
}
