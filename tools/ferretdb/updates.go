package main

import (
	"bytes"
	"encoding/binary"
	"errors"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// FerretDB 1.24 answers an update that a unique index forbids with an error of
// its database, not with the one that a mongod has for it. It keeps a cursor open
// for each statement of an update command until the command ends, and waits for
// ever once its connections are used up; and it ends an unordered command at the
// first error. So a command of many statements is split into commands of one,
// and their replies are put together.

// The kinds of the sections of an OP_MSG.
const (
	bodySection     = 0
	sequenceSection = 1
)

// splitUpdate returns the statements of an update command as requests of their
// own, nil if the request is anything else or has only one.
func splitUpdate(request []byte) (parts [][]byte, ordered bool) {
	body, statements := parseUpdate(request)
	if len(statements) < 2 {
		return nil, false
	}
	ordered = true
	if value, err := body.LookupErr("ordered"); err == nil {
		ordered = value.Boolean()
	}
	for _, statement := range statements {
		parts = append(parts, updateOf(request, body, statement))
	}
	return parts, ordered
}

// commandOf returns the name of a request's command, empty if it has none.
func commandOf(request []byte) string {
	body, _ := parseMessage(request)
	first, err := body.IndexErr(0)
	if err != nil {
		return ""
	}
	return first.Key()
}

func isUpdate(request []byte) bool {
	body, _ := parseUpdate(request)
	return body != nil
}

// duplicateKey is a mongod's code for what a unique index forbids.
const duplicateKey = 11000

// withoutConstraint turns the error of the database into that of a mongod.
func withoutConstraint(reply []byte) ([]byte, error) {
	if !bytes.Contains(reply, []byte("UNIQUE constraint failed")) {
		return reply, nil
	}
	refused := updateReply{Errors: []bson.D{{
		{Key: "index", Value: int32(0)}, {Key: "code", Value: int32(duplicateKey)}, {Key: "errmsg", Value: "E11000 duplicate key error"},
	}}}
	return refused.message(reply)
}

// parseUpdate returns the body of an update command and its statements, nil for
// any other.
func parseUpdate(request []byte) (body bson.Raw, statements []bson.Raw) {
	if commandOf(request) != "update" {
		return nil, nil
	}
	return parseMessage(request)
}

// parseMessage returns the body of an OP_MSG and the statements of an update,
// which drivers put into a section of their own.
func parseMessage(request []byte) (body bson.Raw, statements []bson.Raw) {
	if len(request) < headerLen+5 || binary.LittleEndian.Uint32(request[12:]) != opMsg {
		return nil, nil
	}
	for rest := request[headerLen+4:]; len(rest) > 5; {
		size := int(binary.LittleEndian.Uint32(rest[1:]))
		if size < 5 || size+1 > len(rest) {
			return nil, nil
		}
		section := rest[1 : 1+size]
		switch rest[0] {
		case bodySection:
			body = bson.Raw(section)
		case sequenceSection:
			statements = sequence(section[4:])
		}
		rest = rest[1+size:]
	}
	return body, statements
}

// sequence returns the documents behind the name of a section.
func sequence(section []byte) (docs []bson.Raw) {
	const name = "updates\x00"
	if len(section) < len(name) || string(section[:len(name)]) != name {
		return nil
	}
	for rest := section[len(name):]; len(rest) >= 5; {
		size := int(binary.LittleEndian.Uint32(rest))
		if size < 5 || size > len(rest) {
			return nil
		}
		docs = append(docs, bson.Raw(rest[:size]))
		rest = rest[size:]
	}
	return docs
}

// updateOf returns an update command of one statement.
func updateOf(request []byte, body, statement bson.Raw) []byte {
	part := append([]byte(nil), request[:headerLen+4]...)
	part = append(part, bodySection)
	part = append(part, body...)
	part = append(part, sequenceSection)
	part = binary.LittleEndian.AppendUint32(part, uint32(4+len("updates\x00")+len(statement)))
	part = append(part, "updates\x00"...)
	part = append(part, statement...)
	binary.LittleEndian.PutUint32(part, uint32(len(part)))
	return part
}

// updateReply is the reply to an update command.
type updateReply struct {
	N         int32    `bson:"n"`
	Modified  int32    `bson:"nModified"`
	Upserted  []bson.D `bson:"upserted,omitempty"`
	Errors    []bson.D `bson:"writeErrors,omitempty"`
	OK        float64  `bson:"ok"`
	wholeFail bool
}

// add puts the reply to the statement at that index to the others.
func (u *updateReply) add(reply []byte, index int) error {
	if len(reply) < headerLen+5+4 {
		return errors.New("a reply is too short")
	}
	var one updateReply
	if err := bson.Unmarshal(reply[headerLen+5:], &one); err != nil {
		return err
	}
	u.wholeFail = one.OK != 1
	u.N += one.N
	u.Modified += one.Modified
	u.Upserted = append(u.Upserted, renumber(one.Upserted, index)...)
	u.Errors = append(u.Errors, renumber(one.Errors, index)...)
	return nil
}

func renumber(docs []bson.D, index int) []bson.D {
	for _, doc := range docs {
		for i := range doc {
			if doc[i].Key == "index" {
				doc[i].Value = int32(index)
			}
		}
	}
	return docs
}

// message returns the reply as one to the request that the last reply is to.
func (u *updateReply) message(last []byte) ([]byte, error) {
	u.OK = 1
	doc, err := bson.Marshal(u)
	if err != nil {
		return nil, err
	}
	message := append([]byte(nil), last[:headerLen+5]...)
	message = append(message, doc...)
	binary.LittleEndian.PutUint32(message, uint32(len(message)))
	return message, nil
}
