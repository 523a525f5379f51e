package sqlstore_test

import (
	"context"
	"database/sql"
	"fmt"
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
}

func (f *table) Meta(context.Context) (model.Meta, error) { return f.meta, nil }

func (f *table) ChangeRow(_ context.Context, seq int64) (model.Change, error) {
	for _, row := range f.rows {
		if row.Seq == seq {
			return row, nil
		}
	}
	return model.Change{}, sql.ErrNoRows
}

func (f *table) ChangesAfter(_ context.Context, seq, limit int64) ([]model.Change, error) {
	var rows []model.Change
	for _, row := range f.rows {
		if row.Seq > seq && int64(len(rows)) < limit {
			rows = append(rows, row)
		}
	}
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
	r := &reader{t: t, feed: sqlstore.SequenceFeed{Querier: f, Window: 15 * time.Second, Clock: func() int64 { return f.now }}}
	var err error
	if r.cursor, err = r.feed.Now(t.Context()); err != nil {
		t.Fatal(err)
	}
	return f, r
}

func (r *reader) hears(when string, want ...int64) {
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
		r.t.Errorf("%s: heard of %v, want %v", when, got, want)
	}
}

func TestALateChangeIsHeardOnce(t *testing.T) {
	t.Parallel()
	f, r := newFeed(t, 1, 2, 5) // 3 and 4 are open
	f.commit(8)                 // 6 and 7 too
	r.hears("the next", 8)
	f.now = 14_000
	r.hears("quiet")
	f.commit(4, 7, 9)
	r.hears("late ones and a new one", 4, 7, 9)
	r.hears("quiet again")
	f.commit(3, 6)
	r.hears("the last of them", 3, 6)
	f.now = 30_000
	r.hears("at the end")
	if r.cursor.Rest != "" {
		t.Errorf("the cursor still looks for %q, want nothing", r.cursor.Rest)
	}
}

// A poll may come long after the last one: what was open then has been
// committed since, and is looked at once more before it is given up.
func TestALateChangeIsHeardAfterALongPause(t *testing.T) {
	t.Parallel()
	f, r := newFeed(t, 1, 3)
	f.now = 3_600_000
	f.commit(2)
	r.hears("an hour later", 2)
	f.commit(4, 6)
	r.hears("the next ones", 4, 6)
	f.now += 16_000
	r.hears("quiet")
	f.commit(5) // took longer than any transaction may
	r.hears("too late")
}

func TestManyHolesAreJoined(t *testing.T) {
	t.Parallel()
	var odd []int64
	for seq := int64(1); seq < 1200; seq += 2 {
		odd = append(odd, seq)
	}
	f, r := newFeed(t, odd...)
	if size := len(r.cursor.String()); size > 8192 {
		t.Errorf("the cursor has %d bytes", size)
	}
	f.commit(600, 1300)
	_, next, known, err := r.feed.Poll(t.Context(), r.cursor)
	if err != nil || !known || next.Mark != 1300 {
		t.Fatalf("Poll: mark %d, known %t, %v", next.Mark, known, err)
	}
	changes, _, _, _ := r.feed.Poll(t.Context(), r.cursor)
	heard := map[int64]bool{}
	for _, change := range changes {
		heard[change.Seq] = true
	}
	if !heard[600] || !heard[1300] {
		t.Error("a change in one of many holes was passed over")
	}
}

func TestACursorThatWasChangedIsRefused(t *testing.T) {
	t.Parallel()
	_, r := newFeed(t, 1, 3)
	text := r.cursor.String()
	if _, ok := sqlstore.ParseCursor(text); !ok {
		t.Fatal("the cursor itself is refused")
	}
	for i := range text {
		for _, changed := range []string{text[:i], text[:i] + "0" + text[i:], text[:i] + text[i+1:]} {
			if _, ok := sqlstore.ParseCursor(changed); ok && changed != text {
				t.Errorf("cursor %q is taken for %q", changed, text)
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
