package main

import (
	"errors"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// dialer serves clients of a proxy whose server answers as answer says.
func dialer(t *testing.T, answer func(server net.Conn, request []byte)) func() net.Conn {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "socket")
	backend, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	front, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = backend.Close(), front.Close() })
	go func() {
		for {
			server, err := backend.Accept()
			if err != nil {
				return
			}
			go func() {
				defer server.Close()
				for {
					request, err := readMessage(server)
					if err != nil {
						return
					}
					answer(server, request)
				}
			}()
		}
	}()
	p := &proxy{backend: socket, limit: 200 * time.Millisecond, log: slog.New(slog.DiscardHandler)}
	go func() { _ = p.serve(front) }()
	return func() net.Conn {
		client, err := net.Dial("tcp", front.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = client.Close() })
		_ = client.SetDeadline(time.Now().Add(30 * time.Second)) // fails what would hang
		return client
	}
}

func send(t *testing.T, client net.Conn, request []byte) {
	t.Helper()
	if _, err := client.Write(request); err != nil {
		t.Fatal(err)
	}
}

func TestOneMessageThatIsNeverAnsweredFailsAlone(t *testing.T) {
	t.Parallel()
	lost, asked := message(t, bson.D{{Key: "lost", Value: 1}}), make(chan struct{}, 1)
	dial := dialer(t, func(server net.Conn, request []byte) {
		if slices.Equal(request, lost) {
			asked <- struct{}{}
			return
		}
		_, _ = server.Write(request)
	})
	stuck, next := dial(), dial()
	send(t, stuck, lost)
	<-asked // now it is the turn of the message that is lost
	ping := message(t, bson.D{{Key: "ping", Value: 1}})
	send(t, next, ping)
	if reply, err := readMessage(next); err != nil || !slices.Equal(reply, ping) {
		t.Errorf("the next message is answered with %q, %v", reply, err)
	}
	if reply, err := readMessage(stuck); !errors.Is(err, io.EOF) {
		t.Errorf("the lost message is answered with %q, %v; want that the proxy hangs up", reply, err)
	}
}

// The server goes on where a client left while its message was there.
func TestClientThatLeavesKeepsNobodyWaiting(t *testing.T) {
	t.Parallel()
	gone, asked, left := message(t, bson.D{{Key: "gone", Value: 1}}), make(chan struct{}), make(chan struct{})
	dial := dialer(t, func(server net.Conn, request []byte) {
		if slices.Equal(request, gone) {
			close(asked)
			<-left
		}
		_, _ = server.Write(request)
	})
	client := dial()
	send(t, client, gone)
	<-asked
	_ = client.Close()
	close(left)
	ping, next := message(t, bson.D{{Key: "ping", Value: 1}}), dial()
	send(t, next, ping)
	if reply, err := readMessage(next); err != nil || !slices.Equal(reply, ping) {
		t.Errorf("the next message is answered with %q, %v", reply, err)
	}
}

func TestReplyThatNobodyWantsIsDropped(t *testing.T) {
	t.Parallel()
	client := dialer(t, func(server net.Conn, request []byte) { _, _ = server.Write(request) })()
	unwanted, ping := message(t, bson.D{{Key: "insert", Value: "c"}}), message(t, bson.D{{Key: "ping", Value: 1}})
	unwanted[headerLen] |= moreToCome
	send(t, client, unwanted)
	send(t, client, ping)
	if reply, err := readMessage(client); err != nil || !slices.Equal(reply, ping) {
		t.Errorf("the message is answered with %q, %v", reply, err)
	}
}
