package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/internal/wire"
)

const (
	userPassword  = "nine purple herons over the lake"
	otherPassword = "eleven copper kettles in a row"
)

// typed runs a command with that standard input.
func (s *shell) typed(input string, args ...string) result {
	s.t.Helper()
	var stdout, stderr bytes.Buffer
	code := run(s.t.Context(), args, strings.NewReader(input), &stdout, &stderr, []string{"KEYFOLD_DATABASE_URL=sqlite:" + s.path})
	got := result{stdout: stdout.String(), stderr: stderr.String(), code: code}
	if secret := strings.TrimSpace(input); secret != "" && strings.Contains(got.stdout+got.stderr, secret) {
		s.t.Errorf("keyfold %v prints the password", args)
	}
	got.stderr = rulesLine.ReplaceAllString(got.stderr, "")
	return s.withoutDatabase(got)
}

func (s *shell) user(input string, args ...string) wire.User {
	s.t.Helper()
	got := s.typed(input, append(append([]string{"users"}, args...), "--json")...)
	if got.code != exitOK {
		s.t.Fatalf("keyfold users %v: exit code %d, %s", args, got.code, got.stderr)
	}
	return decoded[wire.User](s.t, got.stdout)
}

// logsIn asks the library, as a server would.
func (s *shell) logsIn(login, password string) bool {
	s.t.Helper()
	_, err := s.openService().Authenticate(s.t.Context(), keyfold.Credentials{Identifier: login, Password: password})
	return err == nil
}

func TestLifeOfAUser(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	user := s.user(userPassword+"\n", "create", "--username", "Olga", "--email", "olga@example.com", "--password")
	if !user.HasPassword || *user.Username != "Olga" || !s.logsIn("olga", userPassword) {
		t.Errorf("created %+v", user)
	}
	if got := s.prints("users", "create", "--username", "pavel"); !strings.HasPrefix(got, "created ") {
		t.Errorf("created %q", got)
	}
	if got := s.prints("users", "list"); !strings.Contains(got, "Olga") || !strings.Contains(got, "pavel") {
		t.Errorf("the list is\n%s", got)
	}
	if page := decoded[wire.UserPage](t, s.prints("users", "list", "--username", "OLGA", "--json")); len(page.Users) != 1 || page.Users[0].ID != user.ID {
		t.Errorf("the list of one name is %+v", page)
	}
	if shown := s.prints("users", "show", user.ID); !strings.Contains(shown, "olga@example.com") {
		t.Errorf("shown as\n%s", shown)
	}
	if got := s.user("", "update", user.ID, "--email", ""); got.Email != nil || got.Version != 2 {
		t.Errorf("updated to %+v", got)
	}
	s.fails(exitFailure, "stale", "users", "update", user.ID, "--username", "o", "--version", "1")

	for range 5 {
		s.logsIn("olga", otherPassword)
	}
	if s.logsIn("olga", userPassword) {
		t.Error("after five wrong passwords the right one is let in at once")
	}
	if got := s.prints("users", "unlock", user.ID, "--ip", "192.0.2.7"); got != "unlocked "+user.ID+"\n" || !s.logsIn("olga", userPassword) {
		t.Errorf("unlock: %q, want the right password to be let in then", got)
	}
	if got := s.typed(otherPassword+"\r\n", "users", "set-password", user.ID); got.code != exitOK || got.stdout != "set the password of "+user.ID+"\n" {
		t.Errorf("set-password: %+v", got)
	}
	if s.logsIn("olga", userPassword) || !s.logsIn("olga", otherPassword) {
		t.Error("the new password is not the one")
	}
	if got := s.user("", "disable", user.ID, "--reason", "left"); got.State != string(keyfold.UserDisabled) || *got.DisabledReason != "left" || s.logsIn("olga", otherPassword) {
		t.Errorf("disabled: %+v", got)
	}
	if got := s.user("", "enable", user.ID); got.State != string(keyfold.UserActive) || !s.logsIn("olga", otherPassword) {
		t.Errorf("enabled: %+v", got)
	}

	key := s.created("keys", "create", "--user", user.ID)
	if key.UserID == nil || *key.UserID != user.ID || !strings.Contains(s.prints("keys", "list", "--user", user.ID), key.ID) {
		t.Errorf("the key belongs to %v", key.UserID)
	}
	s.fails(exitUsage, "add --yes", "users", "delete", user.ID)
	s.prints("users", "delete", "olga", "--yes")
	s.fails(exitNotFound, "the key "+key.ID+" does not exist", "keys", "show", key.ID)
	s.fails(exitNotFound, "the user "+user.ID+" does not exist", "users", "show", user.ID)
}

func TestCommandsOnUsersRefuseWhatIsWrong(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	id := s.user("", "create", "--username", "olga").ID
	for _, row := range []struct {
		code  int
		input string
		says  string
		args  []string
	}{
		{exitUsage, "", "--username must be set", []string{"create"}},
		{exitUsage, "", "--username must be", []string{"create", "--username", "../x"}},
		{exitUsage, "", "--email must be", []string{"create", "--email", "x"}},
		{exitFailure, "", "the username is taken", []string{"create", "--username", "OLGA"}},
		{exitUsage, "", "standard input must contain a password", []string{"create", "--username", "rosa", "--password"}},
		{exitUsage, "too short\n", "password must ", []string{"create", "--username", "rosa", "--password"}},
		{exitUsage, "\n", "standard input must contain a password", []string{"set-password", id}},
		{exitUsage, "", "requires one user: an ID, a username or an e-mail address", []string{"show"}},
		{exitUsage, "", "requires one user", []string{"show", ""}},
		{exitNotFound, "", `argument 1 is not the ID, username or e-mail address of a user; "keyfold users list" lists the users`, []string{"show", "rosa"}},
		{exitUsage, "", "requires --username or --email", []string{"update", id}},
		{exitUsage, "", "state", []string{"list", "--state", "gone"}},
		{exitUsage, "", "--username must not be empty", []string{"list", "--username", ""}},
		{exitUsage, "", "--email must not be empty", []string{"list", "--email="}},
		{exitNotFound, "", "the user 0000000000000000 does not exist", []string{"disable", "0000000000000000"}},
		{exitNotFound, userPassword, "the user 0000000000000000 does not exist", []string{"set-password", "0000000000000000"}},
		{exitNotFound, "", "the user 0000000000000000 does not exist", []string{"unlock", "0000000000000000"}},
		{exitUsage, "", "--ip must be an IP address", []string{"unlock", id, "--ip", "home"}},
		{exitUsage, "", "--ip must be an IP address", []string{"unlock", id, "--ip", ""}},
	} {
		got := s.typed(row.input, append([]string{"users"}, row.args...)...)
		if got.code != row.code || got.stdout != "" || strings.Count(got.stderr, "\n") != 1 || !strings.Contains(got.stderr, row.says) {
			t.Errorf("keyfold users %v: exit code %d, standard output %q, standard error %q; want %d and one line with %q",
				row.args, got.code, got.stdout, got.stderr, row.code, row.says)
		}
	}
}
