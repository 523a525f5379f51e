package postgres

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/query/postgresdb"
)

var _ keyfold.FeedListener = (*Store)(nil)

const (
	connectTimeout = 10 * time.Second
	leastPause     = 100 * time.Millisecond // between two tries to listen
	greatestPause  = 10 * time.Second
	listenCheck    = 30 * time.Second // time without notifications after which the connection is checked
	checkTimeout   = 5 * time.Second
	leaveTimeout   = time.Second
)

// Listen implements [keyfold.FeedListener] with LISTEN. Each Service that verifies calls
// it. Each call uses one connection in addition to the pool, with the configuration and
// the hooks of the pool.
//
// A pooler that assigns server connections by transaction drops notifications. The
// Service then learns of changes at its next poll.
func (s *Store) Listen(ctx context.Context, wake func()) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-s.closed:
			cancel()
		case <-ctx.Done():
		}
	}()
	pause := leastPause
	for {
		began := time.Now()
		s.listen(ctx, wake)
		if time.Since(began) > greatestPause {
			pause = leastPause
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause/2 + rand.N(pause/2)):
		}
		pause = min(2*pause, greatestPause)
	}
}

// listen calls wake for each notification until the connection fails. It does not report
// errors, because polls of the same database report theirs.
func (s *Store) listen(ctx context.Context, wake func()) {
	conn, err := s.dial(ctx)
	if err != nil {
		return
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaveTimeout)
		defer cancel()
		_ = conn.Close(ctx)
	}()
	wake() // changes may have been committed before the connection was ready
	for {
		wait, cancel := context.WithTimeout(ctx, listenCheck)
		_, err := conn.WaitForNotification(wait)
		cancel()
		switch {
		case err == nil:
			wake()
		case ctx.Err() != nil || conn.IsClosed() || check(ctx, conn) != nil:
			return
		}
	}
}

// check detects a server that disappeared without closing the connection.
func check(ctx context.Context, conn *pgx.Conn) error {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	return conn.Ping(ctx)
}

// dial returns a listening connection with the configuration of the pool.
func (s *Store) dial(ctx context.Context) (*pgx.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	pool := s.pool.Config()
	config := pool.ConnConfig
	config.OnNotification = nil // it would consume the notifications
	if pool.BeforeConnect != nil {
		if err := pool.BeforeConnect(ctx, config); err != nil {
			return nil, err
		}
	}
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return nil, err
	}
	if err = s.subscribe(ctx, conn); err != nil {
		_ = conn.Close(ctx)
		return nil, err
	}
	return conn, nil
}

func (s *Store) subscribe(ctx context.Context, conn *pgx.Conn) error {
	if after := s.pool.Config().AfterConnect; after != nil { // the hook may set the search_path
		if err := after(ctx, conn); err != nil {
			return err
		}
	}
	meta, err := postgresdb.New(conn).Meta(ctx)
	if err != nil {
		return err
	}
	_, err = conn.Exec(ctx, "LISTEN "+pgx.Identifier{"keyfold_" + meta.FeedID}.Sanitize())
	return err
}
