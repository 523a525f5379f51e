package mongo

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/internal/testdb"
)

// These tests are in the package because they stop a mutation between any two of its
// commands.

// fault is a failure of one command of a mutation.
type fault struct {
	name  string
	runs  bool // the server executes the command, and its answer is lost
	final bool // the process dies, and no later command runs
}

func faults() []fault {
	return []fault{
		{name: "the process dies", final: true},
		{name: "the command fails"},
		{name: "the answer is lost", runs: true},
	}
}

var errStopped = errors.New("stopped by the test")

// stopAt makes the n-th command of the store from now on fail, and sets hit if there is
// such a command.
func stopAt(s *Store, n int, f fault, hit *bool) {
	seen := 0
	*hit = false
	s.intercept = func(_ string, run func() error) error {
		seen++
		if seen < n || seen > n && !f.final {
			return run()
		}
		*hit = true
		if f.runs {
			_ = run()
		}
		return errStopped
	}
}

// rig is a database with two processes: a victim, whose commands fail, and a repairer.
type rig struct {
	*testing.T
	victim, repairer *Store
	next             int
}

func newRig(t *testing.T) *rig {
	t.Helper()
	uri := testdb.Mongo(t)
	r := &rig{T: t}
	for _, store := range []**Store{&r.victim, &r.repairer} {
		s, err := Open(t.Context(), uri)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = s.Close() })
		*store = s
	}
	r.repairer.sweeps.Store(time.Now().Add(time.Hour).UnixMilli()) // it sweeps only when a test calls sweep
	return r
}

func (r *rig) must(err error) {
	r.Helper()
	if err != nil {
		r.Fatal(err)
	}
}

// id returns a unique text.
func (r *rig) id(kind string) string {
	r.next++
	return fmt.Sprintf("%s-%d", kind, r.next)
}

func (r *rig) mutation(action, target string) keyfold.Mutation {
	return keyfold.Mutation{At: time.Now(), Action: action, Target: target}
}

func (r *rig) key(userID string) keyfold.KeyRecord {
	id, at := r.id("key"), time.Now()
	return keyfold.KeyRecord{
		Key: keyfold.Key{ID: id, UserID: userID, LineageID: id, Version: 1, CreatedAt: at, UpdatedAt: at, ExpiresAt: at.Add(time.Hour)},
	}
}

func (r *rig) addKey(userID string) keyfold.KeyRecord {
	r.Helper()
	key := r.key(userID)
	r.must(r.repairer.CreateKey(r.Context(), key, r.mutation("key.create", key.ID)))
	return key
}

func (r *rig) user() keyfold.UserRecord {
	id, at := r.id("user"), time.Now()
	return keyfold.UserRecord{
		User:        keyfold.User{ID: id, CreatedAt: at, UpdatedAt: at, Version: 1},
		UsernameKey: "name of " + id, EmailKey: "mail of " + id, PasswordVersion: 1,
	}
}

func (r *rig) addUser() keyfold.UserRecord {
	r.Helper()
	user := r.user()
	r.must(r.repairer.CreateUser(r.Context(), user, r.mutation("user.create", user.ID)))
	return user
}

func (r *rig) token(user keyfold.UserRecord, n byte) keyfold.OneTimeTokenRecord {
	r.next++
	return keyfold.OneTimeTokenRecord{
		Sum: [32]byte{n, byte(r.next), byte(r.next >> 8)}, Purpose: keyfold.PurposeResetPassword, UserID: user.ID, PasswordVersion: user.PasswordVersion,
		EmailKey: user.EmailKey, CreatedAt: time.Now(), ExpiresAt: time.Now().Add(time.Hour),
	}
}

// attempt is a mutation that a test stops.
type attempt struct {
	do func(s *Store, m keyfold.Mutation) error
	// happened reports whether readers see that the target changed.
	happened   func(target string) bool
	targets    []string // of the audit entries of the mutation
	keys       []string // keys whose deletion has audit entries too
	feedTarget string   // target of a feed entry
}

func (r *rig) live(id string) (keyfold.KeyRecord, bool) {
	r.Helper()
	key, err := r.repairer.Key(r.Context(), id)
	if err != nil && !errors.Is(err, keyfold.ErrNotFound) {
		r.Fatal(err)
	}
	return key, err == nil
}

func (r *rig) member(id string) (keyfold.UserRecord, bool) {
	r.Helper()
	user, err := r.repairer.User(r.Context(), id)
	if err != nil && !errors.Is(err, keyfold.ErrNotFound) {
		r.Fatal(err)
	}
	return user, err == nil
}

// mutations returns all mutations of a Store, each on its own documents.
func mutations() map[string]func(r *rig) attempt {
	return map[string]func(*rig) attempt{
		"CreateKey": func(r *rig) attempt {
			key := r.key(r.addUser().ID)
			return attempt{
				do:       func(s *Store, m keyfold.Mutation) error { return s.CreateKey(r.Context(), key, m) },
				happened: func(string) bool { _, is := r.live(key.ID); return is },
				targets:  []string{key.ID}, feedTarget: key.ID,
			}
		},
		"UpdateKey": func(r *rig) attempt {
			key := r.addKey("")
			key.Name = "edited"
			return attempt{
				do:       func(s *Store, m keyfold.Mutation) error { return s.UpdateKey(r.Context(), key, m) },
				happened: func(string) bool { now, _ := r.live(key.ID); return now.Name == "edited" && now.Version == 2 },
				targets:  []string{key.ID}, feedTarget: key.ID,
			}
		},
		"RenewKey": func(r *rig) attempt {
			key, end := r.addKey(""), time.UnixMilli(2_000_000_000_000)
			return attempt{
				do:       func(s *Store, m keyfold.Mutation) error { return s.RenewKey(r.Context(), key.ID, 1, end, m) },
				happened: func(string) bool { now, _ := r.live(key.ID); return now.ExpiresAt.Equal(end) && now.Version == 2 },
				targets:  []string{key.ID}, feedTarget: key.ID,
			}
		},
		"RotateKey": func(r *rig) attempt {
			old := r.addKey("")
			rotation := keyfold.Rotation{OldID: old.ID, OldVersion: 1, OldEnd: time.Now().Add(time.Minute), New: r.key("")}
			return attempt{
				do: func(s *Store, m keyfold.Mutation) error { return s.RotateKey(r.Context(), rotation, m) },
				happened: func(string) bool {
					now, _ := r.live(old.ID)
					_, is := r.live(rotation.New.ID)
					if is != (now.RotatedTo == rotation.New.ID) {
						r.Errorf("half a rotation: the successor lives: %t, and the old key names %q", is, now.RotatedTo)
					}
					return is
				},
				targets: []string{old.ID}, feedTarget: rotation.New.ID,
			}
		},
		"SetKeyState": func(r *rig) attempt {
			ids := []string{r.addKey("").ID, r.addKey("").ID, r.addKey("").ID}
			return attempt{
				do: func(s *Store, m keyfold.Mutation) error {
					_, err := s.SetKeyState(r.Context(), ids, keyfold.RevokeChange, "", m)
					return err
				},
				happened: func(id string) bool { now, _ := r.live(id); return !now.RevokedAt.IsZero() },
				targets:  ids, feedTarget: ids[0],
			}
		},
		"DeleteKey": func(r *rig) attempt {
			key := r.addKey("")
			return attempt{
				do:       func(s *Store, m keyfold.Mutation) error { return s.DeleteKey(r.Context(), key.ID, m) },
				happened: func(string) bool { _, is := r.live(key.ID); return !is },
				targets:  []string{key.ID}, feedTarget: key.ID,
			}
		},
		"CreateUser": func(r *rig) attempt {
			user := r.user()
			return attempt{
				do:       func(s *Store, m keyfold.Mutation) error { return s.CreateUser(r.Context(), user, m) },
				happened: func(string) bool { _, is := r.member(user.ID); return is },
				targets:  []string{user.ID}, feedTarget: user.ID,
			}
		},
		"UpdateUser": func(r *rig) attempt {
			user := r.addUser()
			user.UsernameKey = "renamed " + user.ID
			return attempt{
				do:       func(s *Store, m keyfold.Mutation) error { return s.UpdateUser(r.Context(), user, m) },
				happened: func(string) bool { now, _ := r.member(user.ID); return now.UsernameKey == user.UsernameKey },
				targets:  []string{user.ID}, feedTarget: user.ID,
			}
		},
		"SetPassword": func(r *rig) attempt {
			user := r.addUser()
			return attempt{
				do: func(s *Store, m keyfold.Mutation) error {
					return s.SetPassword(r.Context(), user.ID, "hash", keyfold.AnyPassword, m)
				},
				happened: func(string) bool { now, _ := r.member(user.ID); return now.PasswordVersion == 2 },
				targets:  []string{user.ID}, feedTarget: user.ID,
			}
		},
		"SetUserState": func(r *rig) attempt {
			user := r.addUser()
			return attempt{
				do: func(s *Store, m keyfold.Mutation) error {
					_, err := s.SetUserState(r.Context(), user.ID, keyfold.DisableChange, "", m)
					return err
				},
				happened: func(string) bool { now, _ := r.member(user.ID); return !now.DisabledAt.IsZero() },
				targets:  []string{user.ID}, feedTarget: user.ID,
			}
		},
		"DeleteUser": func(r *rig) attempt {
			user := r.addUser()
			keys := []string{r.addKey(user.ID).ID, r.addKey(user.ID).ID}
			r.must(r.repairer.CreateOneTimeToken(r.Context(), r.token(user, 1), r.mutation("user.one_time", user.ID)))
			return attempt{
				do: func(s *Store, m keyfold.Mutation) error { return s.DeleteUser(r.Context(), user.ID, m) },
				happened: func(string) bool {
					_, is := r.member(user.ID)
					for _, id := range keys {
						if _, exists := r.live(id); exists != is {
							r.Errorf("half a deletion: the user exists: %t, and a key: %t", is, exists)
						}
					}
					return !is
				},
				targets: []string{user.ID}, keys: keys, feedTarget: user.ID,
			}
		},
		"CreateOneTimeToken": func(r *rig) attempt {
			user := r.addUser()
			r.must(r.repairer.CreateOneTimeToken(r.Context(), r.token(user, 1), r.mutation("user.one_time", user.ID)))
			var made keyfold.OneTimeTokenRecord
			return attempt{
				do: func(s *Store, m keyfold.Mutation) error {
					made = r.token(user, 2) // each try creates another token
					return s.CreateOneTimeToken(r.Context(), made, m)
				},
				happened: func(string) bool {
					_, err := r.repairer.OneTimeToken(r.Context(), made.Sum)
					return err == nil
				},
				targets: []string{user.ID}, feedTarget: user.ID,
			}
		},
		"UseOneTimeToken": func(r *rig) attempt {
			user := r.addUser()
			token := r.token(user, 1)
			r.must(r.repairer.CreateOneTimeToken(r.Context(), token, r.mutation("user.one_time", user.ID)))
			return attempt{
				do: func(s *Store, m keyfold.Mutation) error {
					_, err := s.UseOneTimeToken(r.Context(), keyfold.OneTimeTokenUse{Sum: token.Sum, Purpose: token.Purpose, PasswordHash: "hash"}, m)
					return err
				},
				happened: func(string) bool {
					now, _ := r.member(user.ID)
					_, err := r.repairer.OneTimeToken(r.Context(), token.Sum)
					if used := now.PasswordHash == "hash"; used == (err == nil) {
						r.Errorf("half a use: the password is set: %t, and the token exists: %t", used, err == nil)
					}
					return now.PasswordHash == "hash"
				},
				targets: []string{user.ID}, feedTarget: user.ID,
			}
		},
	}
}

// TestMutationsCanBeStoppedAnywhere stops each mutation at each of its commands with
// each fault. Another process then repairs the database, and documents, audit log and
// feed must agree.
//
// Mutations tried: a finish without audit entries, a resolve that always withdraws, an
// apply without the condition on the last change.
func TestMutationsCanBeStoppedAnywhere(t *testing.T) {
	t.Parallel()
	for name, prepare := range mutations() {
		for _, f := range faults() {
			t.Run(name+"/"+f.name, func(t *testing.T) {
				t.Parallel()
				r := newRig(t)
				for n := 1; r.stopped(prepare(r), n, f); n++ {
					if n > 100 || t.Failed() {
						t.Fatalf("failed at command %d, or does not end", n)
					}
				}
			})
		}
	}
}

// stopped stops an attempt at its n-th command and checks the result. It returns false
// if the attempt has fewer commands.
func (r *rig) stopped(a attempt, n int, f fault) bool {
	r.Helper()
	m := r.mutation(r.id("test"), a.targets[0])
	_, cursor, err := r.repairer.Changes(r.Context(), "")
	r.must(err)
	var hit bool
	stopAt(r.victim, n, f, &hit)
	err = a.do(r.victim, m)
	r.victim.intercept = nil
	r.must(r.repairer.sweep(r.Context(), -time.Second))
	happened := r.consistent(fmt.Sprintf("stopped at command %d", n), a, m, cursor)
	if err == nil && happened != len(a.targets) {
		r.Errorf("command %d: success was reported, and %d of %d happened", n, happened, len(a.targets))
	}
	if happened < len(a.targets) { // after an error, the caller tries again
		if err := a.do(r.repairer, m); err != nil {
			r.Errorf("command %d: the next try fails: %v", n, err)
		}
		if happened := r.consistent(fmt.Sprintf("stopped at command %d and tried again", n), a, m, cursor); happened != len(a.targets) {
			r.Errorf("command %d: after the next try %d of %d happened", n, happened, len(a.targets))
		}
	}
	return hit
}

// consistent checks that documents, audit log and feed agree, and returns the number of
// targets that changed.
func (r *rig) consistent(when string, a attempt, m keyfold.Mutation, cursor string) (happened int) {
	r.Helper()
	ctx := r.Context()
	for _, target := range a.targets {
		is, rows := a.happened(target), r.audited(m.Action, target)
		if is {
			happened++
		}
		if want := map[bool]int{true: 1}[is]; rows != want {
			r.Errorf("%s: %s changed: %t, with %d audit entries", when, target, is, rows)
		}
	}
	for _, key := range a.keys {
		if rows := r.audited("key.delete", key); happened > 0 && rows != 1 || happened == 0 && rows != 0 {
			r.Errorf("%s: the deletion of key %s has %d audit entries", when, key, rows)
		}
	}
	changes, _, err := r.repairer.Changes(ctx, cursor)
	r.must(err)
	announced := slices.ContainsFunc(changes, func(c keyfold.Change) bool { return c.Action == m.Action && c.Target == a.feedTarget })
	if a.happened(a.feedTarget) && !announced {
		r.Errorf("%s: the change is not in the feed", when)
	}
	open, err := list[changeDoc](ctx, r.repairer.changes, bson.D{is("state", open)})
	r.must(err)
	hidden, err := list[head](ctx, r.repairer.keys, bson.D{is("live", false)})
	r.must(err)
	gone, err := list[head](ctx, r.repairer.users, bson.D{is("live", false)})
	r.must(err)
	if len(open)+len(hidden)+len(gone) > 0 {
		r.Errorf("%s: changes %v, keys %v and users %v are left", when, open, hidden, gone)
	}
	return happened
}

func (r *rig) audited(action, target string) (rows int) {
	r.Helper()
	entries, err := r.repairer.Audit(r.Context(), keyfold.AuditScan{Target: target, Limit: 100})
	r.must(err)
	for _, entry := range entries {
		if entry.Action == action {
			rows++
		}
	}
	return rows
}

// TestUsageCanBeStoppedAnywhere stops a batch at each of its commands, in each
// way. Sent again, or swept up, or both at once, it counts once. It fails when
// the updates are not guarded by the ticket, and when a batch is closed before
// it was added.
func TestUsageCanBeStoppedAnywhere(t *testing.T) {
	t.Parallel()
	for _, part := range []int{maxPart, 100} {
		for _, f := range faults() {
			t.Run(fmt.Sprintf("parts of %d/%s", part, f.name), func(t *testing.T) {
				t.Parallel()
				r := newRig(t)
				r.victim.maxPart, r.repairer.maxPart = part, part
				for n, more := 1, true; more; n++ {
					if n > 100 || t.Failed() {
						t.Fatalf("failed at command %d, or does not end", n)
					}
					more = r.stoppedBatch(n, f)
				}
			})
		}
	}
}

func (r *rig) stoppedBatch(n int, f fault) bool {
	r.Helper()
	ctx := r.Context()
	key, hour := r.addKey("").ID, time.Now().Truncate(time.Hour)
	refusedAt := hour.Add(-time.Duration(n) * time.Hour) // of this call alone
	batch := keyfold.UsageBatch{
		RecorderID: r.id("recorder"), Number: 7, At: time.Now(),
		Keys: []keyfold.KeyUses{{KeyID: key, Uses: 3, LastUsedAt: hour}, {KeyID: "nobody", Uses: 9}},
		Hours: []keyfold.UsageHour{
			{KeyID: key, HourAt: hour, Count: 3}, {HourAt: refusedAt, Outcome: keyfold.OutcomeMissing, Count: 5},
		},
		Events: []keyfold.UsageEvent{{At: hour, KeyID: key, Route: strings.Repeat("r", 200)}, {At: hour, KeyID: key}},
	}
	var hit bool
	stopAt(r.victim, n, f, &hit)
	_, err := r.victim.RecordUsage(ctx, batch)
	r.victim.intercept = nil
	if err != nil {
		again := make(chan error, 2) // from two processes at once, as after a restart
		for _, s := range []*Store{r.victim, r.repairer} {
			go func() { _, err := s.RecordUsage(ctx, batch); again <- err }()
		}
		r.must(errors.Join(<-again, <-again))
	}
	r.must(r.repairer.sweep(ctx, -time.Second))
	now, _ := r.live(key)
	scan := keyfold.UsageScan{KeyID: key, From: hour, To: hour.Add(time.Hour), Limit: 10}
	hours, err := r.repairer.UsageHours(ctx, scan)
	r.must(err)
	events, err := r.repairer.UsageEvents(ctx, scan)
	r.must(err)
	refusals, err := r.repairer.UsageHours(ctx, keyfold.UsageScan{
		From: refusedAt, To: refusedAt.Add(time.Hour), Outcomes: []keyfold.Outcome{keyfold.OutcomeMissing},
	})
	r.must(err)
	if now.Uses != 3 || len(hours) != 1 || hours[0].Count != 3 || len(events) != 2 || len(refusals) != 1 || refusals[0].Count != 5 {
		r.Errorf("command %d: %d uses, hours %v, %d events, refusals %v; want 3, 3, 2 and 5", n, now.Uses, hours, len(events), refusals)
	}
	result, err := r.repairer.RecordUsage(ctx, batch)
	if err != nil || !result.Duplicate {
		r.Errorf("command %d: the batch can be sent once more: %+v, %v", n, result, err)
	}
	return hit
}
