package main

import (
	"encoding/binary"
	"slices"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// message returns an OP_MSG of a command and, if there are any, its updates.
func message(t *testing.T, command bson.D, updates ...bson.D) []byte {
	t.Helper()
	m := make([]byte, headerLen+4)
	binary.LittleEndian.PutUint32(m[12:], opMsg)
	body, err := bson.Marshal(command)
	if err != nil {
		t.Fatal(err)
	}
	m = append(append(m, bodySection), body...)
	if len(updates) > 0 {
		section := []byte("updates\x00")
		for _, update := range updates {
			doc, err := bson.Marshal(update)
			if err != nil {
				t.Fatal(err)
			}
			section = append(section, doc...)
		}
		m = append(m, sequenceSection)
		m = binary.LittleEndian.AppendUint32(m, uint32(4+len(section)))
		m = append(m, section...)
	}
	binary.LittleEndian.PutUint32(m, uint32(len(m)))
	return m
}

func TestOnlyUpdatesOfManyStatementsAreSplit(t *testing.T) {
	t.Parallel()
	update := bson.D{{Key: "update", Value: "c"}, {Key: "ordered", Value: false}}
	one := bson.D{{Key: "q", Value: bson.D{}}}
	for _, whole := range [][]byte{
		message(t, update), message(t, update, one), message(t, bson.D{{Key: "insert", Value: "c"}}, one, one), {1, 2, 3},
	} {
		if parts, _ := splitUpdate(whole); parts != nil {
			t.Errorf("%q was split into %d", whole, len(parts))
		}
	}
	two := bson.D{{Key: "q", Value: bson.D{{Key: "_id", Value: 2}}}}
	parts, ordered := splitUpdate(message(t, update, one, two))
	want := [][]byte{message(t, update, one), message(t, update, two)}
	if ordered || !slices.EqualFunc(parts, want, slices.Equal) {
		t.Errorf("split into %q, ordered %t; want %q, false", parts, ordered, want)
	}
}

func TestRepliesArePutTogether(t *testing.T) {
	t.Parallel()
	var sum updateReply
	hit := message(t, bson.D{{Key: "n", Value: int32(1)}, {Key: "nModified", Value: int32(1)}, {Key: "ok", Value: 1.0}})
	refused, err := withoutConstraint(message(t, bson.D{{Key: "ok", Value: 0.0}, {Key: "errmsg", Value: "UNIQUE constraint failed: x"}}))
	if err != nil {
		t.Fatal(err)
	}
	for i, reply := range [][]byte{hit, refused, hit} {
		if err := sum.add(reply, i); err != nil || sum.wholeFail {
			t.Fatalf("reply %d: %v, failed as a whole: %t", i, err, sum.wholeFail)
		}
	}
	whole, err := sum.message(hit)
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		N, NModified int32
		OK           float64
		WriteErrors  []struct{ Index, Code int32 } `bson:"writeErrors"`
	}
	if err := bson.Unmarshal(whole[headerLen+5:], &got); err != nil {
		t.Fatal(err)
	}
	if got.N != 2 || got.OK != 1 || len(got.WriteErrors) != 1 || got.WriteErrors[0].Index != 1 || got.WriteErrors[0].Code != duplicateKey {
		t.Errorf("the replies together are %+v", got)
	}
	if n := binary.LittleEndian.Uint32(whole); int(n) != len(whole) {
		t.Errorf("the length is said to be %d, and is %d", n, len(whole))
	}
}
