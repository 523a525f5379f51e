package main

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/internal/wire"
)

const nobodyID = "0000000000000000"

func TestCreateTakesEveryField(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	key := s.created("keys", "create", "--name", "ci", "--notes", "one\ntwo", "--owner", "cust_42", "--tenant", "acme", "--environment", "live",
		"--scope", "a:b", "--scope", "c:*", "--network", "192.0.2.0/24", "--network", "2001:db8::/32", "--metadata", "plan=pro", "--metadata", "eq=a=b",
		"--expires-at", "2999-01-31T18:30:00+02:00", "--idle-timeout", "30d")
	if key.Name != "ci" || key.Notes != "one\ntwo" || key.OwnerID != "cust_42" || key.Tenant != "acme" || key.Environment != "live" ||
		!slices.Equal(key.Scopes, []string{"a:b", "c:*"}) || !slices.Equal(key.Networks, []string{"192.0.2.0/24", "2001:db8::/32"}) ||
		key.Metadata["plan"] != "pro" || key.Metadata["eq"] != "a=b" || len(key.Metadata) != 2 || key.IdleTimeout == nil || *key.IdleTimeout != "30d" ||
		key.ExpiresAt == nil || !key.ExpiresAt.Equal(time.Date(2999, 1, 31, 16, 30, 0, 0, time.UTC)) {
		t.Errorf("created %+v", key)
	}
	shown := s.prints("keys", "show", key.ID)
	for _, want := range []string{
		"ID            " + key.ID, "Name          ci", "State         active", "Scopes        a:b c:*", "Metadata      eq=a=b", "              plan=pro",
		"Notes         one", "              two", "Expires       2999-01-31T16:30:00.000Z", "Idle timeout  30d", "Last used     -", "Version       1",
	} {
		t.Run(want, func(t *testing.T) {
			if !strings.Contains(shown, want+"\n") {
				t.Errorf("show has no line %q:\n%s", want, shown)
			}
		})
	}
	if key := s.created("keys", "create", "--expires-at", "2999-01-31"); !key.ExpiresAt.Equal(time.Date(2999, 1, 31, 0, 0, 0, 0, time.UTC)) {
		t.Errorf("--expires-at 2999-01-31: the key expires at %v, want the start of that day", key.ExpiresAt)
	}
	for args, life := range map[string]time.Duration{"--ttl 1w": 7 * 24 * time.Hour, "--ttl 1y": 365 * 24 * time.Hour, "": 15 * 24 * time.Hour, "--ttl 1d12h": 36 * time.Hour, "--ttl never": 0, "--never": 0} {
		t.Run(args, func(t *testing.T) {
			key := s.created(append([]string{"keys", "create"}, strings.Fields(args)...)...)
			if life == 0 && key.ExpiresAt != nil || life > 0 && (key.ExpiresAt == nil || key.ExpiresAt.Sub(key.CreatedAt) != life) {
				t.Errorf("create %s: from %v to %v, want %v", args, key.CreatedAt, key.ExpiresAt, life)
			}
		})
	}
}

func TestUpdateChangesWhatIsGivenAndNothingElse(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	key := s.created("keys", "create", "--name", "ci", "--owner", "a", "--scope", "a:b", "--network", "192.0.2.0/24", "--metadata", "x=1", "--idle-timeout", "1h")
	if got := s.prints("keys", "update", key.ID, "--name", "build", "--notes", "n", "--tenant", "t", "--owner", ""); got != "updated "+key.ID+"; its version is 2\n" {
		t.Errorf("update prints %q", got)
	}
	if k := s.key(key.ID); k.Name != "build" || k.Notes != "n" || k.Tenant != "t" || k.OwnerID != "" || len(k.Scopes) != 1 || len(k.Networks) != 1 ||
		k.Metadata["x"] != "1" || k.IdleTimeout == nil || k.Version != 2 {
		t.Errorf("updated to %+v", k)
	}
	k := decoded[wire.Key](t, s.prints("keys", "update", key.ID, "--scope", "c:d", "--scope", "e:f", "--network", "2001:db8::/32", "--metadata", "y=2",
		"--idle-timeout", "2h", "--json"))
	if !slices.Equal(k.Scopes, []string{"c:d", "e:f"}) || !slices.Equal(k.Networks, []string{"2001:db8::/32"}) || len(k.Metadata) != 1 || k.Metadata["y"] != "2" ||
		*k.IdleTimeout != "2h0m0s" || k.Name != "build" || k.Version != 3 {
		t.Errorf("updated to %+v", k)
	}
	s.prints("keys", "update", key.ID, "--no-scopes", "--no-networks", "--no-metadata", "--idle-timeout", "none", "--version", "3")
	if k := s.key(key.ID); len(k.Scopes)+len(k.Networks)+len(k.Metadata) != 0 || k.IdleTimeout != nil {
		t.Errorf("emptied to %+v", k)
	}
	s.fails(exitFailure, `is at version 4; see "keyfold keys show `+key.ID, "keys", "update", key.ID, "--name", "late", "--version", "3")
	if k := s.key(key.ID); k.Name != "build" || k.Version != 4 {
		t.Errorf("a stale update made %+v", k)
	}
	s.prints("keys", "revoke", key.ID, "--yes")
	s.fails(exitFailure, "is revoked; this cannot be undone", "keys", "update", key.ID, "--name", "x")
}

func TestRenewAndRotate(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	key := s.created("keys", "create", "--name", "ci", "--scope", "a:b")
	if got := s.prints("keys", "renew", key.ID, "--expires-at", "2001-01-01T00:00:00Z"); got != "renewed "+key.ID+"; it expired at 2001-01-01T00:00:00Z\n" ||
		s.key(key.ID).State != string(keyfold.KeyExpired) {
		t.Errorf("renew to a time that is past prints %q", got)
	}
	s.fails(exitFailure, "is expired; renew it first", "keys", "rotate", key.ID)
	if got := s.prints("keys", "renew", key.ID, "--expires-at", "2999-01-01T00:00:00Z"); got != "renewed "+key.ID+"; it expires at 2999-01-01T00:00:00Z\n" {
		t.Errorf("renew prints %q", got)
	}
	if k := decoded[wire.Key](t, s.prints("keys", "renew", key.ID, "--ttl", "1d", "--json")); k.ExpiresAt.Year() != 2999 {
		t.Errorf("a time to live shortened the key to %v", k.ExpiresAt)
	}
	if got := s.prints("keys", "renew", key.ID, "--never"); got != "renewed "+key.ID+"; it never expires\n" {
		t.Errorf("renew prints %q", got)
	}

	next, about := s.token("keys", "rotate", key.ID, "--overlap", "1h")
	if !strings.Contains(about, "replaced key "+key.ID+" with key "+next+"; the new key never expires; the old key expires at ") {
		t.Errorf("rotate says %q", about)
	}
	old, fresh := s.key(key.ID), s.key(next)
	if old.RotatedTo == nil || *old.RotatedTo != next || fresh.RotatedFrom == nil || fresh.Name != "ci" || old.ExpiresAt == nil ||
		old.ExpiresAt.Sub(fresh.CreatedAt) != time.Hour || fresh.ExpiresAt != nil {
		t.Errorf("old %+v, new %+v", old, fresh)
	}
	s.fails(exitFailure, "was rotated to "+next+"\n", "keys", "rotate", key.ID)
	s.fails(exitFailure, "renew "+next+" instead", "keys", "renew", key.ID)
	s.prints("keys", "revoke", key.ID, "--yes")
	for _, verb := range []string{"rotate", "renew", "enable"} {
		s.fails(exitFailure, "is revoked; this cannot be undone, and key "+next+" has replaced it", "keys", verb, key.ID)
	}
	for _, overlap := range []string{"none", "0s"} {
		t.Run(overlap, func(t *testing.T) {
			last := s.created("keys", "rotate", next, "--overlap", overlap, "--ttl", "2d")
			if old := s.key(next); old.State != string(keyfold.KeyRevoked) || last.ExpiresAt == nil || last.ExpiresAt.Sub(last.CreatedAt) != 48*time.Hour {
				t.Errorf("--overlap %s: old %+v, new %+v", overlap, old, last)
			}
			next = last.ID
		})
	}
	s.prints("keys", "disable", next)
	s.fails(exitFailure, "is disabled; enable it first", "keys", "rotate", next)
}

func TestRevokeDisableEnableAndDeleteTakeManyIDs(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	a, b := s.created("keys", "create", "--name", "a").ID, s.created("keys", "create", "--name", "b").ID

	if got := s.prints("keys", "disable", a, b, "--reason", "audit"); got != "disabled "+a+"\ndisabled "+b+"\n" {
		t.Errorf("disable prints %q", got)
	}
	if k := s.key(a); k.State != string(keyfold.KeyDisabled) || k.DisabledReason == nil || *k.DisabledReason != "audit" {
		t.Errorf("disabled %+v", k)
	}
	if shown := s.prints("keys", "show", a); !strings.Contains(shown, "Reason        audit\n") {
		t.Errorf("show does not print the reason:\n%s", shown)
	}
	keys := documents[wire.Key](t, s.prints("keys", "enable", a, b, "--json"))
	if len(keys) != 2 || keys[0].ID != a || keys[1].State != string(keyfold.KeyActive) {
		t.Errorf("enabled %+v", keys)
	}

	// One id that is unknown keeps no other from being revoked.
	got := s.run("keys", "revoke", a, nobodyID, b, "--yes")
	if got.code != exitNotFound || got.stdout != "revoked "+a+"\nrevoked "+b+"\n" ||
		got.stderr != "keyfold: the key "+nobodyID+` does not exist; "keyfold keys list" lists the keys`+"\n" {
		t.Errorf("revoke: %d, %q, %q", got.code, got.stdout, got.stderr)
	}
	s.fails(exitFailure, "is revoked; this cannot be undone", "keys", "enable", a)

	if gone := decoded[wire.Key](t, s.prints("keys", "delete", a, "--yes", "--json")); gone.ID != a || gone.State != string(keyfold.KeyRevoked) {
		t.Errorf("deleted %+v", gone)
	}
	if got := s.prints("keys", "delete", b, "--yes"); got != "deleted "+b+"\n" {
		t.Errorf("delete prints %q", got)
	}
	if page := decoded[wire.KeyPage](t, s.prints("keys", "list", "--json")); len(page.Keys) != 0 || page.Next != nil {
		t.Errorf("left: %+v", page)
	}
}

func TestCommandsOnKeysRefuseWhatIsWrong(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	id := s.created("keys", "create").ID
	token := "kf_0123456789abcdef_0123456789abcdef0123456789abcdef_000000"
	s.secrets = append(s.secrets, "hunter", token)
	for _, verb := range []string{"show", "update", "renew", "rotate", "revoke", "disable", "enable", "delete"} {
		args := []string{"keys", verb}
		if verb == "update" {
			args = append(args, "--name", "x")
		}
		s.fails(exitUsage, "requires", args...)
		s.fails(exitUsage, "argument 1 must be a key ID of 16 letters and digits", append(args, "hunter-two")...)
		if verb == "revoke" || verb == "delete" {
			s.fails(exitUsage, "keyfold keys "+verb+" asks for confirmation, and standard input is not a terminal; add --yes", append(args, id)...)
			args = append(args, "--yes")
		}
		s.fails(exitNotFound, "the key "+nobodyID+" does not exist", append(args, nobodyID)...)
	}
	for _, row := range []struct{ args, says string }{
		{"create --name " + strings.Repeat("x", 129), "--name must be at most 128 characters"},
		{"create --owner " + strings.Repeat("x", 129), "--owner must be at most 128 bytes"},
		{"create --scope a:b --scope hunter*", "--scope (number 2) must be "},
		{"create --network 192.0.2.1/24", "--network (number 1) must be a CIDR prefix"},
		{"create --environment HUNTER", "--environment must be 1 to 16 lower-case letters and digits"},
		{"create --idle-timeout 1s", "--idle-timeout must be between 1 minute and 100 years, or none"},
		{"create --idle-timeout 0s", "--idle-timeout must be a duration above zero"},
		{"create --ttl 0s", "--ttl must be a duration above zero"},
		{"create --ttl=", "--ttl must be a duration above zero"},
		{"create --expires-at 2001-01-01T00:00:00Z", "--expires-at must be in the future"},
		{"create --user=", "--user must not be empty"},
		{"list --owner=", "--owner must not be empty"},
		{"list --user=", "--user must not be empty"},
		{"list --tenant=", "--tenant must not be empty"},
		{"list --state=", "--state must not be empty"},
		{"create --expires-at 2999-02-29", "--expires-at must be a date or an RFC 3339 time"},
		{"create --expires-at 2999-01-31Z", "--expires-at must be a date or an RFC 3339 time"},
		{"create --expires-at=", "--expires-at must be a date or an RFC 3339 time"},
		{"create --ttl 200000d", "--ttl must be a duration above zero"},
		{"create --ttl 40000d", "--ttl must be between 1 ms and 100 years, or never"},
		{"rotate " + id + " --overlap hunter", `--overlap must be a duration above zero`},
		{"rotate " + id + " --overlap 30d", "--overlap must be between 1 ms and 7d, or none"},
		{"rotate " + id + " --never --ttl 1d", "--ttl and --never cannot be used together"},
		{"renew " + id + " --expires-at hunter", "--expires-at must be a date or an RFC 3339 time"},
		{"update " + id, "at least one field to change is required"},
		{"update " + id + " --version 1", "at least one field to change is required"},
		{"update " + id + " --version 0 --name x", "--version must be 1 or more"},
		{"update " + id + " --version hunter --name x", "--version must be a whole number"},
		{"update " + id + " --scope a:b --no-scopes", "--scope and --no-scopes cannot be used together"},
		{"revoke " + id + " --yes --reason " + strings.Repeat("x", 257), "--reason must be at most 256 characters"},
		{"revoke " + id + " --owner a", "accepts either key IDs or --owner, --user and --tenant, not both"},
		{"revoke --owner=", "--owner must not be empty"},
		{"disable --tenant=", "--tenant must not be empty"},
		{"enable --owner a", "unknown flag: --owner"},
		{"list --limit 0", "--limit must be above zero"},
		{"list --limit hunter", "--limit must be a whole number"},
		{"list --limit 5 --all", "--limit and --all cannot be used together"},
		{"list --json=hunter", "--json must be true or false, or have no value"},
		{"list --cursor hunter", "--cursor must be the value of next from the previous page, with the same filters"},
		{"list --state hunter", "--state must be one of active, expired, user_disabled, disabled, revoked"},
		{"list -hunter", "unknown flag"},
		{"list --" + token, "unknown flag"},
		{"list --=hunter", "unknown flag"},
	} {
		if row.args == "list -hunter" {
			row.args = "list -xhunter"
		}
		s.fails(exitUsage, row.says, append([]string{"keys"}, strings.Fields(row.args)...)...)
	}
	for _, args := range []string{"create", "list", "revoke --yes"} {
		s.fails(exitNotFound, `--user is not the ID, username or e-mail address of a user; "keyfold users list" lists the users`,
			append([]string{"keys"}, strings.Fields(args+" --user hunter")...)...)
	}
	if k := s.key(id); k.Version != 1 || k.State != string(keyfold.KeyActive) {
		t.Errorf("a refused command changed the key: %+v", k)
	}
}

// Mutation tried: Key.State without the user.
func TestStateOfAKeyTellsOfItsUser(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	s.fails(exitNotFound, "the user "+nobodyID+` does not exist; "keyfold users list" lists the users`, "keys", "create", "--user", nobodyID)
	user := s.user("", "create", "--username", "olga")
	id := s.created("keys", "create", "--user", user.ID).ID
	if shown := s.prints("keys", "show", id); !strings.Contains(shown, "State         active\n") || !strings.Contains(shown, "User          "+user.ID+"\n") {
		t.Errorf("shown as\n%s", shown)
	}
	s.user("", "disable", user.ID)
	if shown := s.prints("keys", "show", id); !strings.Contains(shown, "State         user_disabled\n") {
		t.Errorf("shown as\n%s", shown)
	}
	if k := s.key(id); k.State != string(keyfold.KeyUserDisabled) {
		t.Errorf("as JSON the state is %q, want %q", k.State, keyfold.KeyUserDisabled)
	}
	if made := s.created("keys", "create", "--user", user.ID); made.State != string(keyfold.KeyUserDisabled) {
		t.Errorf("a key that was created for a disabled user is %q, want %q", made.State, keyfold.KeyUserDisabled)
	}
	if listed := s.prints("keys", "list", "--state", "active"); strings.Contains(listed, id) {
		t.Errorf("--state active lists the key of a disabled user:\n%s", listed)
	}
	if listed := s.prints("keys", "list", "--state", "user_disabled"); !strings.Contains(listed, id) {
		t.Errorf("--state user_disabled does not list the key:\n%s", listed)
	}
}

// Of several ids the first that failed decides, also where another failure has
// a code of its own. Mutation tried: eachKey without classify.
func TestFirstFailureOfSeveralIDsDecides(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	id := s.created("keys", "create").ID
	svc, c := s.openService(), &command{stdout: io.Discard}
	for _, row := range []struct {
		code  int
		first error
		then  error
	}{
		{exitFailure, errors.New("the database is down"), keyfold.ErrNotFound},
		{exitNotFound, keyfold.ErrNotFound, errors.New("the database is down")},
	} {
		errs := []error{row.first, row.then}
		err := c.eachKey(t.Context(), svc, []string{id, nobodyID}, false, "changed", func(string) (keyfold.Key, error) {
			err := errs[0]
			errs = errs[1:]
			return keyfold.Key{}, err
		})
		if failed, ok := errors.AsType[*failure](err); !ok || failed.code != row.code {
			t.Errorf("%v, then %v: %+v, want exit code %d", row.first, row.then, failed, row.code)
		}
	}
}

// brokenPipe is a reader that has gone away.
type brokenPipe struct{}

func (brokenPipe) Write([]byte) (int, error) { return 0, errors.New("broken pipe") }

func TestTokenThatCannotBePrintedIsAnError(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	id := s.created("keys", "create").ID
	for _, args := range [][]string{{"keys", "create"}, {"keys", "create", "--json"}, {"keys", "rotate", id}} {
		var stderr bytes.Buffer
		code := run(t.Context(), append(args, "--db", "sqlite:"+s.path), strings.NewReader(""), brokenPipe{}, &stderr,
			nil)
		if code != exitFailure || !strings.Contains(stderr.String(), "could not be printed and is lost") {
			t.Errorf("keyfold %v: exit code %d, %q", args, code, &stderr)
		}
	}
}

func TestTablesAreAligned(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	s.created("keys", "create", "--name", "a name that is rather long, and not cut", "--never")
	s.created("keys", "create", "--name", "é", "--owner", "o", "--expires-at", "2999-01-01T00:00:00Z")
	list := s.prints("keys", "list")
	for number, want := range map[int][]string{
		2: {"é", "a name that is rather long, and not cut"}, 3: {"o", ""}, 4: {"", ""}, 5: {"active", "active"},
		6: {"2999-01-01T00:00:00Z", "never"}, 7: {"0", "0"}, 8: {"", ""},
	} {
		if got := column(t, list, number); !slices.Equal(got, want) {
			t.Errorf("column %d holds %q, want %q:\n%s", number, got, want, list)
		}
	}
	s.created("keys", "create", "--tenant", "acme")
	if got := column(t, s.prints("keys", "list"), 4); !slices.Equal(got, []string{"acme", "", ""}) {
		t.Errorf("tenants %q", got)
	}
}
