package sqlstore_test

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/keyfold/keyfold/query/model"
	"github.com/keyfold/keyfold/store/internal/sqlstore"
)

// table is a feed in memory whose rows appear when the test says so.
type table struct {
	sqlstore.Querier
	meta model.Meta
	rows []model.Change // sorted by Seq
	now  int64
	read int // number of rows that were read in holes
}

func (f *table) Meta(context.Context) (model.Meta, error) { return f.meta, nil }

// from returns the rows with the number seq or a higher number.
func (f *table) from(seq int64) []model.Change {
	at, _ := slices.BinarySearchFunc(f.rows, seq, func(row model.Change, seq int64) int { return cmp.Compare(row.Seq, seq) })
	return f.rows[at:]
}

func (f *table) ChangeRow(_ context.Context, seq int64) (model.Change, error) {
	if rows := f.from(seq); len(rows) > 0 && rows[0].Seq == seq {
		return rows[0], nil
	}
	return model.Change{}, sql.ErrNoRows
}

func (f *table) ChangesAfter(_ context.Context, seq, limit int64) ([]model.Change, error) {
	rows := f.from(seq + 1)
	return rows[:min(int64(len(rows)), limit)], nil
}

func (f *table) CountChanges(_ context.Context, first, last int64) (int64, error) {
	return int64(len(f.from(first)) - len(f.from(last+1))), nil
}

// within implements SequenceFeed.Within, and counts the rows that it returns.
func (f *table) within(_ context.Context, ranges []sqlstore.Range, limit int) ([]model.Change, error) {
	var rows []model.Change
	for _, r := range ranges {
		inside := f.from(r.First)
		rows = append(rows, inside[:len(inside)-len(f.from(r.Last+1))]...)
	}
	rows = rows[:min(len(rows), limit)]
	f.read += len(rows)
	return rows, nil
}

func (f *table) ChangesBefore(_ context.Context, seq, limit int64) ([]model.Change, error) {
	var rows []model.Change
	for _, row := range slices.Backward(f.rows) {
		if row.Seq < seq && int64(len(rows)) < limit {
			rows = append(rows, row)
		}
	}
	return rows, nil
}

func (f *table) commit(seqs ...int64) {
	for _, seq := range seqs {
		f.rows = append(f.rows, model.Change{Seq: seq, At: 1000 + seq, Target: fmt.Sprint(seq)})
	}
	slices.SortFunc(f.rows, func(a, b model.Change) int { return int(a.Seq - b.Seq) })
}

type reader struct {
	t      *testing.T
	feed   sqlstore.SequenceFeed
	cursor sqlstore.Cursor
}

func newFeed(t *testing.T, seqs ...int64) (*table, *reader) {
	t.Helper()
	f := &table{meta: model.Meta{FeedID: "feed"}}
	f.commit(seqs...)
	r := &reader{t: t, feed: sqlstore.SequenceFeed{
		Querier: f, Window: 15 * time.Second, Clock: func() int64 { return f.now }, Within: f.within,
	}}
	var err error
	if r.cursor, err = r.feed.Now(t.Context()); err != nil {
		t.Fatal(err)
	}
	return f, r
}

func (r *reader) wantHeard(when string, want ...int64) {
	r.t.Helper()
	since, ok := sqlstore.ParseCursor(r.cursor.String())
	if !ok {
		r.t.Fatalf("%s: a cursor does not survive its text: %q", when, r.cursor.String())
	}
	changes, next, known, err := r.feed.Poll(r.t.Context(), since)
	if err != nil || !known {
		r.t.Fatalf("%s: known is %t, error %v", when, known, err)
	}
	r.cursor = next
	var got []int64
	for _, change := range changes {
		got = append(got, change.Seq)
	}
	if !slices.Equal(got, want) {
		r.t.Errorf("%s: got changes %v, want %v", when, got, want)
	}
}

func TestLateChangeIsReturnedOnce(t *testing.T) {
	t.Parallel()
	f, r := newFeed(t, 1, 2, 5) // 3 and 4 are open
	f.commit(8)                 // 6 and 7 too
	r.wantHeard("the next", 8)
	f.now = 14_000
	r.wantHeard("quiet")
	f.commit(4, 7, 9)
	r.wantHeard("after late changes and a new one", 4, 7, 9)
	r.wantHeard("quiet again")
	f.commit(3, 6)
	r.wantHeard("the last of them", 3, 6)
	f.now = 30_000
	r.wantHeard("at the end")
	if r.cursor.Rest != "" {
		t.Errorf("the cursor still contains the holes %q, want none", r.cursor.Rest)
	}
}

// A poll may come long after the previous one. Transactions that were open then have
// ended since, so their numbers are read once more before the holes are dropped.
func TestLateChangeIsReturnedAfterALongPause(t *testing.T) {
	t.Parallel()
	f, r := newFeed(t, 1, 3)
	f.now = 3_600_000
	f.commit(2)
	r.wantHeard("an hour later", 2)
	f.commit(4, 6)
	r.wantHeard("the next ones", 4, 6)
	f.now += 16_000
	r.wantHeard("quiet")
	f.commit(5) // took longer than any transaction may
	r.wantHeard("after a change that is too late")
}

// poll returns the numbers of the changes of one poll. Number 0 is a change without a
// target, which means that any key may have changed.
func (r *reader) poll() map[int64]bool {
	r.t.Helper()
	since, ok := sqlstore.ParseCursor(r.cursor.String())
	if size := len(r.cursor.String()); !ok || size > 8192 {
		r.t.Fatalf("a cursor of %d bytes does not survive its text", size)
	}
	changes, next, known, err := r.feed.Poll(r.t.Context(), since)
	if err != nil || !known {
		r.t.Fatalf("known is %t, error %v", known, err)
	}
	r.cursor = next
	returned := map[int64]bool{}
	for _, change := range changes {
		returned[change.Seq] = true
	}
	return returned
}

func TestManyHolesAreJoined(t *testing.T) {
	t.Parallel()
	var odd []int64
	for seq := int64(1); seq < 4000; seq += 2 {
		odd = append(odd, seq)
	}
	f, r := newFeed(t, odd...)
	for range 3 {
		if returned := r.poll(); len(returned) > 0 || f.read > 0 {
			t.Fatalf("a poll without new changes returned %d and read %d", len(returned), f.read)
		}
	}
	f.commit(600, 3990, 4100)
	if returned := r.poll(); !returned[600] || !returned[3990] || !returned[4100] {
		t.Error("a change in one of many holes was not returned")
	}
	if returned := r.poll(); len(returned) > 0 {
		t.Errorf("%d changes were returned for nothing", len(returned))
	}
	f.commit(602)
	if returned := r.poll(); !returned[602] {
		t.Error("the second change in one of many holes was not returned")
	}
	f.now = 16_000
	r.poll()
	if r.cursor.Rest != "" {
		t.Errorf("the cursor still contains the holes %q, want none", r.cursor.Rest)
	}
}

// A transaction with more changes than a poll returns commits late.
func TestLateLargeTransactionFlushesOnce(t *testing.T) {
	t.Parallel()
	f, r := newFeed(t, 1, 20_001, 20_003)
	var giant []int64
	for seq := int64(2); seq < 19_000; seq++ {
		giant = append(giant, seq)
	}
	f.commit(giant...)
	if returned := r.poll(); !returned[0] {
		t.Errorf("%d changes were returned, want one without a target", len(returned))
	}
	for range 3 {
		if returned := r.poll(); len(returned) > 0 {
			t.Errorf("%d changes were returned for nothing", len(returned))
		}
	}
	f.commit(20_002)
	if returned := r.poll(); !returned[20_002] {
		t.Error("a late change in another hole was not returned")
	}
	f.commit(19_500)
	if returned := r.poll(); !returned[19_500] && !returned[0] {
		t.Error("a late change in the same hole was not returned")
	}
}

// Many transactions take numbers. Some are rolled back, and some stay open for a long
// time. The first poll after a commit returns its changes, and a poll without new
// changes reads no rows.
//
// Mutations tried: a join that does not count the changes between the holes, a join
// that drops the oldest hole, a count that may be too low, a window that is too short.
func TestEveryChangeIsReturnedByTheFirstPollAfterItsCommit(t *testing.T) {
	t.Parallel()
	for seed := range uint64(12) {
		random := rand.New(rand.NewPCG(seed, 1))
		f, r := newFeed(t, 1)
		busy := 3 + int(seed%3)*40 // transactions a poll
		step := 1 + int64(seed%2)*2
		type open struct {
			seqs []int64
			end  int64
		}
		var pending []open
		next, returned, repeated, count := int64(2), map[int64]bool{}, 0, 0
		for range 150 {
			f.now += int64(random.IntN(200))
			for range random.IntN(busy) {
				tx := open{end: f.now + int64(random.IntN(100))}
				if random.IntN(20) == 0 {
					tx.end += int64(random.IntN(13_000))
				}
				for range 1 + random.IntN(3) {
					tx.seqs = append(tx.seqs, next)
					next += step
				}
				pending = append(pending, tx)
			}
			var committed []int64
			pending = slices.DeleteFunc(pending, func(tx open) bool {
				if tx.end > f.now {
					return false
				}
				if random.IntN(5) > 0 {
					committed = append(committed, tx.seqs...)
				}
				return true
			})
			f.commit(committed...)
			got := r.poll()
			for _, seq := range committed {
				if !got[seq] && !got[0] {
					t.Fatalf("seed %d: change %d was not returned", seed, seq)
				}
			}
			for seq := range got {
				if returned[seq] {
					repeated++
				}
				returned[seq], count = true, count+1
			}
			f.read = 0
			if again := r.poll(); len(again) > 0 || f.read > 0 {
				t.Fatalf("seed %d: a poll without new changes returned %d and read %d", seed, len(again), f.read)
			}
		}
		if busy == 3 && repeated > 0 {
			t.Errorf("seed %d: %d of %d changes were returned again", seed, repeated, count)
		}
	}
}

func TestModifiedCursorIsRefused(t *testing.T) {
	t.Parallel()
	_, r := newFeed(t, 1, 3)
	text := r.cursor.String()
	if _, ok := sqlstore.ParseCursor(text); !ok {
		t.Fatal("the cursor itself is refused")
	}
	for i := range text {
		for _, changed := range []string{text[:i], text[:i] + "0" + text[i:], text[:i] + text[i+1:]} {
			if _, ok := sqlstore.ParseCursor(changed); ok && changed != text {
				t.Errorf("ParseCursor accepts %q, a modified form of %q", changed, text)
			}
		}
	}
}

func TestStatements(t *testing.T) {
	t.Parallel()
	got := sqlstore.Statements("-- comment; not a statement\nCREATE TABLE a (\n    n INTEGER, -- why;\n    m TEXT\n);\n\nDROP TABLE b;\n")
	want := []string{"CREATE TABLE a (\n    n INTEGER,\n    m TEXT\n)", "DROP TABLE b"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
