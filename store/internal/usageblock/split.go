package usageblock

// eventSize is what an event takes at most in usual traffic, without its request id.
const eventSize = 32

// Split cuts n events, which are ordered by time, into ranges that each fit one
// block, and calls add for each range. limit is the approximate limit of a body in
// bytes, at most [MaxBody]. at returns the time of an event and text the length of
// its request id. The same events are always cut in the same way.
func Split(n, limit int, at func(int) int64, text func(int) int, add func(begin, end int) error) error {
	for begin := 0; begin < n; {
		hourEnd := HourOf(at(begin)) + hour
		end, size := begin, 0
		for end < n && end-begin < MaxEvents && at(end) < hourEnd {
			if size += eventSize + text(end); size > limit && end > begin {
				break
			}
			end++
		}
		if err := add(begin, end); err != nil {
			return err
		}
		begin = end
	}
	return nil
}
