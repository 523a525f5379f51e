// Package usageblock stores usage events in blocks: one row or document holds the
// events of a flush, or of up to an hour, column by column.
//
// A block has an id and a span, which the database keeps next to its body. The id
// is the time of the last event in milliseconds, followed by [IDBits] random bits,
// so the order of ids is the order of time. The span is the time from the first
// event to the last. A block never straddles an hour of UTC.
//
// The body, version 1:
//
//	version   1 byte
//	flags     1 byte: which of the sections exist
//	n         uvarint: number of events
//	base      6 bytes, little endian: number of the first event
//	sections  in this order, each as uvarint length and bytes
//	  flag 1    runs: where the numbers of events do not continue by one, the
//	            uvarint length of the run and the 6-byte base of the next
//	  flag 2    times: n-1 uvarint differences in milliseconds
//	  always    keys: uvarint d, uvarint x, d ids of 12 bytes, x ids as uvarint
//	            length and text, and n packed numbers below d+x
//	  flag 4    routes: uvarint d, d word ids of 8 bytes, n packed numbers
//	  flag 8    user agents: like routes
//	  flag 16   outcomes: the most frequent one, and the uvarint number of others;
//	            for each of these its uvarint distance from the one before and the
//	            outcome
//	  flag 32   addresses: 0 and n IPv4 addresses, or 1, uvarint d4, uvarint d6, 1 if
//	            an address is absent, d4 IPv4 and d6 IPv6 addresses, n packed numbers
//	  flag 64   request ids: n times uvarint length and text
//	  flag 128  reserved
//	checksum  CRC-32C of everything before, 4 bytes, little endian
//
// Packed numbers have the same width, which is just enough for the greatest of them,
// so a reader can look for a key in the dictionary and then read one column. The
// first number is in the lowest bits of the first byte.
package usageblock

import (
	"errors"
	"hash/crc32"
	"math/rand/v2"
	"time"
)

const (
	version = 1

	// MaxEvents is the greatest number of events that are written into one block.
	// A reader accepts twice as many.
	MaxEvents = 32_768
	maxRead   = 65_536

	// MaxBody is the approximate limit of a body that is written, in bytes.
	MaxBody = 1 << 20

	hour     = int64(time.Hour / time.Millisecond)
	baseLen  = 6
	maxSeq   = 1<<48 - 1
	crcLen   = 4
	halfLen  = 6
	keyLen   = 2 * halfLen
	wordLen  = 8
	ip4Len   = 4
	ip6Len   = 16
	overhead = 2 + 3 + baseLen + crcLen
)

const (
	flagRuns = 1 << iota
	flagTimes
	flagRoutes
	flagAgents
	flagOutcomes
	flagAddresses
	flagRequests
	flagReserved
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// IDBits is the number of random bits of a block's id.
const IDBits = 15

// The range of times that an id can hold: to the year 9999 and beyond.
const maxTime = 1<<48 - 1

// NewID returns an id for a block whose last event has that time, in unix
// milliseconds.
func NewID(last int64) int64 { return last<<IDBits | rand.Int64N(1<<IDBits) }

// Time returns the time of the last event of the block with that id.
func Time(id int64) int64 { return id >> IDBits }

// FirstID returns the lowest id of a block whose last event has that time, and
// LastID the highest.
func FirstID(at int64) int64 { return at << IDBits }

// LastID returns the highest id of a block whose last event has that time.
func LastID(at int64) int64 { return at<<IDBits | (1<<IDBits - 1) }

// HourOf returns the beginning of the hour of a time, both in unix milliseconds.
func HourOf(at int64) int64 {
	past := at % hour
	if past < 0 {
		past += hour
	}
	return at - past
}

// Clamp returns the nearest time that a block can hold.
func Clamp(at int64) int64 { return min(max(at, 0), maxTime) }

// NewBase returns a random number for the first of n events. The numbers of later
// events of a batch follow it.
func NewBase(n int) int64 { return rand.Int64N(maxSeq - int64(n)) }

// BaseOf returns a number for the first of n events that is always the same for the
// same sum.
func BaseOf(sum uint64, n int) int64 { return int64(sum % uint64(maxSeq-int64(n))) }

var (
	// ErrCorrupt means that a body is damaged.
	ErrCorrupt = errors.New("the block of usage events is damaged")
	// ErrNewer means that a body has a format that this version does not know.
	ErrNewer = errors.New("the block of usage events was written by a newer version")
)
