package faulttest_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/keyfold/keyfold/internal/wire"
)

// mix sends a mix of requests to several processes on one database.
type mix struct {
	members []*member
	client  *http.Client
	clock   func() moment

	mu      sync.RWMutex // guards keys, users and broken
	history history

	answered, unsure atomic.Int64
	slowest          atomic.Int64 // nanoseconds of the slowest response
}

// answerLimit is the longest time that a client waits for a response.
const answerLimit = 15 * time.Second

// send sends a request to a process. The status is 0 if there was no response.
func (m *mix) send(ctx context.Context, to *member, method, path, body string, headers ...string) (status int, answer []byte, life *life) {
	base, life := to.now()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), answerLimit)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, base+path, strings.NewReader(body))
	if err != nil {
		panic(err)
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	began := time.Now()
	response, err := m.client.Do(r)
	if err != nil {
		return 0, nil, life
	}
	defer response.Body.Close()
	if answer, err = io.ReadAll(response.Body); err != nil {
		return 0, nil, life
	}
	for took := int64(time.Since(began)); ; {
		slowest := m.slowest.Load()
		if took <= slowest || m.slowest.CompareAndSwap(slowest, took) {
			return response.StatusCode, answer, life
		}
	}
}

// outcome is the result of a change.
type outcome uint8

const (
	made   outcome = iota // the response confirms the change
	denied                // the change was refused
	open                  // the result is unknown
)

// change sends a change to a random process.
func (m *mix) change(ctx context.Context, path, body string, answer any) outcome {
	headers := []string{"secret-key", adminSecret}
	if body != "" {
		headers = append(headers, "Content-Type", "application/json")
	}
	status, text, _ := m.send(ctx, m.members[rand.IntN(len(m.members))], http.MethodPost, "/auth"+path, body, headers...)
	switch {
	case status/100 == 2:
		if answer != nil {
			if err := json.Unmarshal(text, answer); err != nil {
				m.complain("POST %s: %v in %s", path, err, text)
			}
		}
		m.answered.Add(1)
		return made
	case status == 0, status == http.StatusServiceUnavailable:
		m.unsure.Add(1)
		return open
	case status == http.StatusConflict:
		return denied
	}
	m.complain("POST %s: %d %s", path, status, bytes.TrimSpace(text))
	return denied
}

func (m *mix) complain(format string, args ...any) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.history.broken = append(m.history.broken, fmt.Sprintf(format, args...))
}

// Clients change a random one of the newest 40 keys and users. They verify one of the
// newest 40 keys, so that every process has cached a key before it ends, or one of the
// newest 500, many of which ended so long ago that every process must refuse them.
const (
	recent = 40
	older  = 500
)

func newest[T any](m *mix, of *[]T, among int) (one T) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if n := len(*of); n > 0 {
		one = (*of)[max(0, n-1-rand.IntN(among))]
	}
	return one
}

func (m *mix) addKey(k *key) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.history.keys = append(m.history.keys, k)
}

// verifyUntil verifies random keys until ctx is done.
func (m *mix) verifyUntil(ctx context.Context) (done []verify) {
	for ctx.Err() == nil {
		k := newest(m, &m.history.keys, []int{recent, older}[rand.IntN(2)])
		if k == nil {
			time.Sleep(time.Millisecond)
			continue
		}
		v := verify{key: k, began: m.clock()}
		status, text, life := m.send(ctx, m.members[rand.IntN(len(m.members))], http.MethodGet, "/secure", "", "X-API-Key", k.token)
		v.ended, v.life = m.clock(), life
		switch status {
		case http.StatusOK:
			v.verdict = allowed
		case http.StatusUnauthorized, http.StatusTooManyRequests: // 429 after many bad keys
			v.verdict = refused
		case http.StatusServiceUnavailable:
			v.verdict = unavailable
		case 0:
			v.verdict = unanswered
		default:
			m.complain("GET /secure: %d %s", status, bytes.TrimSpace(text))
		}
		done = append(done, v)
		time.Sleep(2 * time.Millisecond)
	}
	return done
}

// changeUntil makes changes until ctx is done.
func (m *mix) changeUntil(ctx context.Context) {
	for ctx.Err() == nil {
		k, n := newest(m, &m.history.keys, recent), rand.IntN(100)
		switch {
		case n < 30 || k == nil:
			m.create(ctx)
		case n < 34:
			m.createUser(ctx)
		case n < 38:
			m.disableUser(ctx)
		case k.mu.TryLock():
			m.alter(ctx, k, n)
			k.mu.Unlock()
		}
		time.Sleep(rand.N(20 * time.Millisecond))
	}
}

// ttl returns a random expiry time long after the run.
func ttl() time.Time {
	return time.Now().Add(time.Hour + rand.N(1000*time.Hour)).Truncate(time.Second).UTC()
}

func (m *mix) create(ctx context.Context) {
	body := map[string]any{"expires_at": ttl()}
	user := newest(m, &m.history.users, recent)
	if user != nil && rand.IntN(2) == 0 {
		body["user_id"] = user.id
	} else {
		user = nil
	}
	text, _ := json.Marshal(body)
	var created wire.CreatedKey
	if m.change(ctx, "/keys", string(text), &created) == made {
		m.addKey(&key{
			id: created.Key.ID, token: created.Token, user: user, end: alive(), expires: []time.Time{*created.Key.ExpiresAt},
		})
	}
}

func (m *mix) createUser(ctx context.Context) {
	var created wire.User
	body := fmt.Sprintf(`{"username":"u%d"}`, rand.Int64())
	if m.change(ctx, "/users", body, &created) == made {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.history.users = append(m.history.users, &subject{id: created.ID, end: alive()})
	}
}

func (m *mix) disableUser(ctx context.Context) {
	u := newest(m, &m.history.users, recent)
	if u == nil || !u.mu.TryLock() {
		return
	}
	defer u.mu.Unlock()
	u.end.asked = min(u.end.asked, m.clock())
	if m.change(ctx, "/users/"+u.id+"/disable", "", nil) == made {
		u.end.acked = min(u.end.acked, m.clock())
	}
}

// alter changes a key. The caller must hold k.mu.
func (m *mix) alter(ctx context.Context, k *key, n int) {
	steady := k.end.asked == never && k.to == "" && !k.maybeNext // the key can be renewed and rotated
	switch {
	case n < 60 && steady:
		m.renew(ctx, k)
	case n < 75 && steady:
		m.rotate(ctx, k)
	case n >= 75:
		k.end.asked = min(k.end.asked, m.clock())
		if m.change(ctx, "/keys/"+k.id+"/revoke", "", nil) == made {
			k.end.acked, k.end.revoke = min(k.end.acked, m.clock()), true
		}
	}
}

func (m *mix) renew(ctx context.Context, k *key) {
	at := ttl()
	switch m.change(ctx, "/keys/"+k.id+"/renew", `{"expires_at":"`+at.Format(time.RFC3339)+`"}`, nil) {
	case made:
		k.expires = []time.Time{at}
	case open:
		k.expires = append(k.expires, at)
	case denied:
		if len(k.expires) == 1 { // otherwise an earlier renewal without a response may have been made
			m.complain("key %s is good and its renewal was refused", k.id)
		}
	}
}

func (m *mix) rotate(ctx context.Context, k *key) {
	ends := rand.IntN(2) == 0
	body := `{"overlap":"2h"}`
	if ends {
		body = `{"overlap":"0s"}`
		k.end.asked = min(k.end.asked, m.clock())
	}
	var created wire.CreatedKey
	switch m.change(ctx, "/keys/"+k.id+"/rotate", body, &created) {
	case made:
		if ends {
			k.end.acked = min(k.end.acked, m.clock())
		}
		k.to = created.Key.ID
		m.addKey(&key{
			id: k.to, token: created.Token, from: k.id, user: k.user, end: alive(), expires: []time.Time{*created.Key.ExpiresAt},
		})
	case open:
		k.maybeNext = true
	case denied:
		if len(k.expires) == 1 {
			m.complain("key %s is good and its rotation was refused", k.id)
		}
	}
}
