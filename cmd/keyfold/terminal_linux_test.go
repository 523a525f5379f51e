package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"unicode/utf8"
	"unsafe"
)

// At a terminal, bulk changes wait for an answer.
func TestBulkChangeAsksAtATerminal(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	s.seed(2, "a", "x")
	s.seed(1, "a", "y")
	s.prints("keys", "disable", "--tenant", "y", "--yes")
	in := " in sqlite:" + s.path
	disables := "This will disable 2 keys of owner a" + in + "; "
	revokes := "This will revoke 3 keys of owner a" + in + "; this cannot be undone. Type yes to continue: "
	for _, row := range []struct {
		verb, answer, asks string
		code               int
		says               string
	}{
		{"revoke", "no\n", revokes, exitFailure, "not confirmed; nothing was changed"},
		{"disable", "yes\n", disables, exitOK, "disabled 2 keys"},
		{"revoke", "yes\n", revokes, exitOK, "revoked 3 keys"},
	} {
		t.Run(row.verb, func(t *testing.T) {
			screen, ended := terminalRun(t, row.answer, []string{"KEYFOLD_DATABASE_URL=sqlite:" + s.path}, "keys", row.verb, "--owner", "a")
			if ended != row.code || !strings.Contains(screen, row.asks) || !strings.Contains(screen, row.says) {
				t.Errorf("%s, answering %q: exit code %d, screen %q", row.verb, row.answer, ended, screen)
			}
		})
	}
	if screen, ended := terminalRun(t, "", []string{"KEYFOLD_DATABASE_URL=sqlite:" + s.path}, "keys", "revoke", "--owner", "a"); ended != exitOK ||
		screen != "revoked 0 keys"+in+"\r\n" {
		t.Errorf("where nothing is left: exit code %d, screen %q", ended, screen)
	}
	s.seed(1, "a", "z")
	// No person is at /dev/null, although it is a character device too.
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	var stdout, stderr bytes.Buffer
	code := run(t.Context(), []string{"keys", "disable", "--owner", "a", "--db", "sqlite:" + s.path}, null, &stdout, &stderr,
		nil)
	if code != exitUsage || !strings.Contains(stderr.String(), "standard input is not a terminal; add --yes") {
		t.Errorf("from %s: exit code %d, %q", os.DevNull, code, &stderr)
	}
}

// screenWidth is the width of the terminals of these tests.
const screenWidth = 80

// terminalRun runs the binary at a pseudo-terminal, types the answer, and
// returns what the screen shows and the exit code. See pty(7).
func terminalRun(t *testing.T, answer string, env []string, args ...string) (screen string, code int) {
	t.Helper()
	return terminalTalk(t, [][2]string{{"", answer}}, env, args...)
}

// terminalTalk is terminalRun for a dialogue: what the screen has to show before
// each answer is typed, and the answer.
func terminalTalk(t *testing.T, dialogue [][2]string, env []string, args ...string) (screen string, code int) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer master.Close()
	var number, unlocked int32
	control(t, master, syscall.TIOCGPTN, &number)
	control(t, master, syscall.TIOCSPTLCK, &unlocked)
	control(t, master, syscall.TIOCSWINSZ, &[4]uint16{24, screenWidth}) // rows and columns
	slave, err := os.OpenFile("/dev/pts/"+strconv.Itoa(int(number)), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary, args...)
	cmd.Env = append(environment(""), env...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	err = cmd.Start()
	_ = slave.Close()
	if err != nil {
		t.Fatal(err)
	}
	var shown bytes.Buffer
	for _, turn := range dialogue {
		for b := make([]byte, 1); !strings.HasSuffix(shown.String(), turn[0]); {
			n, err := master.Read(b)
			if err != nil {
				t.Fatalf("the screen ends with %q, want %q", &shown, turn[0])
			}
			shown.Write(b[:n])
		}
		if _, err := io.WriteString(master, turn[1]); err != nil {
			t.Fatal(err)
		}
	}
	_, _ = io.Copy(&shown, master) // it ends with EIO when the other side is closed
	err = cmd.Wait()
	if _, ended := errors.AsType[*exec.ExitError](err); err != nil && !ended {
		t.Fatal(err)
	}
	return shown.String(), cmd.ProcessState.ExitCode()
}

func control[T any](t *testing.T, file *os.File, request uintptr, value *T) {
	t.Helper()
	if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, file.Fd(), request, uintptr(unsafe.Pointer(value))); errno != 0 {
		t.Fatal(errno)
	}
}

// Mutations tried: asking before the terminal is made silent; leaving it silent
// between the questions alone.
func TestPasswordIsTypedTwiceAndNotShown(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	id := s.user("", "create", "--username", "olga").ID
	for _, row := range []struct {
		second string
		code   int
		says   string
	}{
		{otherPassword, exitUsage, "the two passwords differ; nothing was changed"},
		{userPassword, exitOK, "set the password of " + id},
	} {
		t.Run(row.second, func(t *testing.T) {
			dialogue := [][2]string{{"New password: ", userPassword + "\n"}, {"Repeat the password: ", row.second + "\n"}}
			screen, code := terminalTalk(t, dialogue, []string{"KEYFOLD_DATABASE_URL=sqlite:" + s.path}, "users", "set-password", id)
			if code != row.code || !strings.Contains(screen, row.says) || strings.Contains(screen, userPassword) || strings.Contains(screen, otherPassword) {
				t.Errorf("exit code %d, screen %q; want %d and %q, and no password", code, screen, row.code, row.says)
			}
			if logsIn := s.logsIn("olga", userPassword); logsIn != (row.code == exitOK) {
				t.Errorf("after %q the password is good: %t", row.says, logsIn)
			}
		})
	}
	for _, ahead := range []string{userPassword + "\r" + userPassword + "\r", "\r", "\x03", "\x04"} {
		t.Run(ahead, func(t *testing.T) { // typed ahead; nothing; control-C, control-D
			dialogue := [][2]string{{"New password: ", ahead}}
			screen, code := terminalTalk(t, dialogue, []string{"KEYFOLD_DATABASE_URL=sqlite:" + s.path}, "users", "set-password", id)
			want, says := exitUsage, "no password was entered"
			if strings.HasPrefix(ahead, userPassword) {
				want, says = exitOK, "set the password of "+id
			}
			if code != want || !strings.Contains(screen, says) || strings.Contains(screen, userPassword) {
				t.Errorf("%q typed at once: exit code %d, screen %q; want %d and %q", ahead, code, screen, want, says)
			}
		})
	}
}

// Mutation tried: tables that ignore the width of the terminal.
func TestTablesFitTheTerminal(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	env := []string{"KEYFOLD_DATABASE_URL=sqlite:" + s.path}
	for args, noun := range map[string]string{"keys list": "keys", "users list": "users", "usage events": "usage", "usage totals": "usage"} {
		screen, code := terminalRun(t, "", env, strings.Fields(args)...)
		if want := "keyfold: no " + noun + " found in sqlite:" + s.path + "\r\n"; code != exitOK || screen != want {
			t.Errorf("keyfold %s without rows: exit code %d, screen %q, want %q", args, code, screen, want)
		}
		if got := s.prints(strings.Fields(args)...); got != "" {
			t.Errorf("keyfold %s without rows, in a pipe: %q", args, got)
		}
	}
	id := s.created("keys", "create", "--name", strings.Repeat("long name ", 5), "--owner", "cust_42", "--expires-at", "2999-01-31").ID
	screen, code := terminalRun(t, "", env, "keys", "list")
	lines := strings.Split(strings.TrimSuffix(screen, "\r\n"), "\r\n")
	if code != exitOK || len(lines) != 2 || !strings.HasPrefix(lines[0], "ID ") || !strings.HasPrefix(lines[1], id+"  ") || !strings.Contains(lines[1], "…") {
		t.Fatalf("exit code %d, screen\n%s", code, screen)
	}
	for _, line := range lines {
		if width := utf8.RuneCountInString(line); width > screenWidth {
			t.Errorf("a line has %d columns, want at most %d: %s", width, screenWidth, line)
		}
	}
	if strings.Contains(screen, "TENANT") {
		t.Errorf("an empty optional column is shown:\n%s", screen)
	}
}

// Single keys ask as well, because revoking and deleting cannot be undone.
func TestRevokeAndDeleteAskAtATerminal(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	env := []string{"KEYFOLD_DATABASE_URL=sqlite:" + s.path}
	id := s.created("keys", "create", "--name", "ci").ID
	for _, verb := range []string{"revoke", "delete"} {
		t.Run(verb, func(t *testing.T) {
			asks := "This will " + verb + " key " + id + " (ci) in sqlite:" + s.path + "; this cannot be undone. Type yes to continue: "
			for answer, want := range map[string]int{"no\n": exitFailure, "": exitNotFound} {
				if answer == "" { // nothing to ask about
					screen, code := terminalRun(t, "", env, "keys", verb, nobodyID)
					if code != want || strings.Contains(screen, "Type yes") {
						t.Errorf("%s of an unknown key: exit code %d, screen %q", verb, code, screen)
					}
					continue
				}
				screen, code := terminalRun(t, answer, env, "keys", verb, id)
				if code != want || !strings.Contains(screen, asks) || !strings.Contains(screen, "not confirmed; nothing was changed") {
					t.Errorf("%s, answering %q: exit code %d, screen %q; want %d and %q", verb, answer, code, screen, want, asks)
				}
			}
		})
	}
	if k := s.key(id); k.Version != 1 {
		t.Errorf("changed without confirmation: %+v", k)
	}
	for _, verb := range []string{"revoke", "delete"} {
		t.Run(verb, func(t *testing.T) {
			if screen, code := terminalRun(t, "yes\n", env, "keys", verb, id); code != exitOK {
				t.Errorf("%s: exit code %d, screen %q", verb, code, screen)
			}
		})
	}
}
