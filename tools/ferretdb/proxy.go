package main

import (
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"sync"
	"time"
)

// proxy passes requests of MongoDB's wire protocol on, one at a time, whatever
// the number of connections. A mongod applies an update of one document as one
// step; FerretDB 1.24 reads, computes and writes, and loses one of two updates
// that come at once. In turn they are whole, as on a mongod.
type proxy struct {
	backend string        // path of the server's socket
	limit   time.Duration // how long the server may take for one message
	log     *slog.Logger
	turn    sync.Mutex
}

// answerLimit is far beyond what the server needs, and less than its clients
// wait: one message that is never answered fails alone, and says so.
const answerLimit = 8 * time.Second

// serve returns when the listener is closed.
func (p *proxy) serve(listener net.Listener) error {
	for {
		client, err := listener.Accept()
		if err != nil {
			return err
		}
		go p.handle(client)
	}
}

// handle ends when either side hangs up, and hangs up on both when the server
// does not answer in time.
func (p *proxy) handle(client net.Conn) {
	defer client.Close()
	server, err := net.Dial("unix", p.backend)
	if err != nil {
		return
	}
	defer server.Close()
	for {
		// The turn begins when the request is here whole: a client that is slow
		// to send, or sends nothing, makes no other client wait.
		request, err := readMessage(client)
		if err != nil {
			return
		}
		reply, err := p.ask(server, request)
		if err != nil {
			if errors.Is(err, os.ErrDeadlineExceeded) {
				p.log.Error("no answer", slog.Duration("limit", p.limit), slog.String("command", commandOf(request)))
			}
			return
		}
		if _, err := client.Write(reply); err != nil {
			return
		}
	}
}

// ask returns the reply to a request, nil if none is wanted.
func (p *proxy) ask(server net.Conn, request []byte) ([]byte, error) {
	p.turn.Lock()
	defer p.turn.Unlock()
	parts, ordered := splitUpdate(request)
	if parts == nil {
		reply, err := p.askOnce(server, request)
		if err == nil && isUpdate(request) {
			reply, err = withoutConstraint(reply)
		}
		return reply, err
	}
	var sum updateReply
	var reply []byte
	for i, part := range parts {
		var err error
		if reply, err = p.askOnce(server, part); err == nil {
			if reply, err = withoutConstraint(reply); err == nil {
				err = sum.add(reply, i)
			}
		}
		if err != nil || sum.wholeFail {
			return reply, err
		}
		if ordered && len(sum.Errors) > 0 {
			break
		}
	}
	return sum.message(reply)
}

// askOnce reads the reply to a request that wants none too: FerretDB sends one,
// which the next request would take for its own.
func (p *proxy) askOnce(server net.Conn, request []byte) ([]byte, error) {
	if err := server.SetDeadline(time.Now().Add(p.limit)); err != nil {
		return nil, err
	}
	if _, err := server.Write(request); err != nil {
		return nil, err
	}
	reply, err := readMessage(server)
	if wantsNoReply(request) {
		reply = nil
	}
	return reply, err
}

// The header of a message: its length with the header, its id, the id that it
// replies to and the kind, 32 bits each. OP_MSG goes on with 32 flags.
const (
	headerLen  = 16
	maxMessage = 48_000_000 // maxMessageSizeBytes of the protocol
	opMsg      = 2013
	moreToCome = 1 << 1
)

func readMessage(from io.Reader) ([]byte, error) {
	var length [4]byte
	if _, err := io.ReadFull(from, length[:]); err != nil {
		return nil, err
	}
	n := binary.LittleEndian.Uint32(length[:])
	if n < headerLen || n > maxMessage {
		return nil, errors.New("not a message of MongoDB's wire protocol")
	}
	message := make([]byte, n)
	copy(message, length[:])
	_, err := io.ReadFull(from, message[len(length):])
	return message, err
}

func wantsNoReply(request []byte) bool {
	return len(request) >= headerLen+4 && binary.LittleEndian.Uint32(request[12:]) == opMsg &&
		binary.LittleEndian.Uint32(request[headerLen:])&moreToCome != 0
}
