package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/keyfold/keyfold/internal/wire"
)

// patience bounds each wait for something that is bound to happen.
const patience = 30 * time.Second

// binary is the command, built once for all tests.
var binary string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "keyfold-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	binary = filepath.Join(dir, "keyfold")
	build := exec.Command("go", append(buildFlags, "-o", binary, ".")...)
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "go build: %v\n%s", err, out)
		os.Exit(1)
	}
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// output gathers what a process writes, in lines.
type output struct {
	mu    sync.Mutex
	text  bytes.Buffer
	lines chan string
}

func (o *output) read(r io.Reader) {
	scanner := bufio.NewScanner(r)
	for scanner.Scan() {
		o.mu.Lock()
		o.text.WriteString(scanner.Text() + "\n")
		o.mu.Unlock()
		select {
		case o.lines <- scanner.Text():
		default: // the test no longer waits for a line
		}
	}
	close(o.lines)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// server is a running "keyfold serve".
type server struct {
	t              *testing.T
	cmd            *exec.Cmd
	url            string
	secret         string
	stdout, stderr *output
	read           sync.WaitGroup
	done           bool
}

// startServer starts the binary in dir and waits until it listens. Without a
// secret it has to print one.
func startServer(t *testing.T, dir, db, secret string, flags ...string) *server {
	t.Helper()
	args := append([]string{"serve", "--addr", "127.0.0.1:0", "--log-format", "json", "--db", db}, flags...)
	s := &server{
		t: t, cmd: exec.Command(binary, args...), secret: secret,
		stdout: &output{lines: make(chan string, 100)}, stderr: &output{lines: make(chan string, 100)},
	}
	s.cmd.Dir, s.cmd.Env = dir, environment(secret)
	stdout, err := s.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	stderr, err := s.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if !s.done {
			_ = s.cmd.Process.Kill()
			s.read.Wait()
			_ = s.cmd.Wait()
		}
	})
	s.read.Go(func() { s.stdout.read(stdout) })
	s.read.Go(func() { s.stderr.read(stderr) })
	s.awaitListening()
	return s
}

func environment(secret string) []string {
	env := []string{"PATH=" + os.Getenv("PATH"), "GORACE=halt_on_error=1"}
	if secret != "" {
		env = append(env, "KEYFOLD_SECRET="+secret)
	}
	return env
}

func (s *server) awaitListening() {
	s.t.Helper()
	timeout := time.After(patience)
	for {
		select {
		case line, ok := <-s.stderr.lines:
			if !ok {
				s.t.Fatalf("the server ended: %s", s.stderr)
			}
			const announced = "keyfold: admin secret (send it as the secret-key header): "
			if secret, found := strings.CutPrefix(line, announced); found {
				if s.secret != "" {
					s.t.Error("a secret was made although one is set")
				}
				s.secret = secret
				continue
			}
			var entry struct{ Msg, Addr string }
			if err := json.Unmarshal([]byte(line), &entry); err != nil {
				s.t.Fatalf("standard error has a line that is no JSON: %s", line)
			}
			if entry.Msg == "listening" {
				s.url = "http://" + entry.Addr
				return
			}
		case <-timeout:
			s.t.Fatalf("the server does not listen after %v: %s", patience, s.stderr)
		}
	}
}

// stop sends SIGTERM and wants the server to end in order.
func (s *server) stop() {
	s.t.Helper()
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		s.t.Error(err)
		return
	}
	s.awaitEnd()
}

func (s *server) awaitEnd() {
	s.t.Helper()
	timer := time.AfterFunc(patience, func() { _ = s.cmd.Process.Kill() })
	defer timer.Stop()
	s.read.Wait()
	err := s.cmd.Wait()
	s.done = true
	if err != nil {
		s.t.Errorf("the server did not end in order: %v: %s", err, s.stderr)
	}
}

// response is an answer that was read.
type response struct {
	status int
	header http.Header
	body   []byte
}

// send makes one request. Headers are given as name, value, name, value.
func send(ctx context.Context, client *http.Client, method, url, body string, headers ...string) (response, error) {
	r, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		return response{}, err
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	answer, err := client.Do(r)
	if err != nil {
		return response{}, err
	}
	defer answer.Body.Close()
	read, err := io.ReadAll(answer.Body)
	return response{answer.StatusCode, answer.Header, read}, err
}

// admin makes a request to the admin API and decodes its answer into v.
func (s *server) admin(method, path, body string, want int, v any) {
	s.t.Helper()
	headers := []string{"secret-key", s.secret}
	if body != "" {
		headers = append(headers, "Content-Type", "application/json")
	}
	a, err := send(s.t.Context(), http.DefaultClient, method, s.url+"/auth"+path, body, headers...)
	if err != nil || a.status != want {
		s.t.Fatalf("%s %s: status %d, %v, want %d: %s", method, path, a.status, err, want, a.body)
	}
	if v == nil {
		return
	}
	if err := json.Unmarshal(a.body, v); err != nil {
		s.t.Fatalf("%s %s: %v in %s", method, path, err, a.body)
	}
}

// get asks a route and returns its status.
func (s *server) get(path string, headers ...string) int {
	s.t.Helper()
	a, err := send(s.t.Context(), http.DefaultClient, "GET", s.url+path, "", headers...)
	if err != nil {
		s.t.Fatalf("GET %s: %v", path, err)
	}
	return a.status
}

// awaitUses waits until the key's uses that are stored are as many.
func (s *server) awaitUses(id string, want int64) {
	s.t.Helper()
	var key wire.Key
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		if s.admin("GET", "/keys/"+id, "", http.StatusOK, &key); key.Uses >= want {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	if key.Uses != want || key.LastUsedAt == nil {
		s.t.Errorf("key %s: %d uses, last at %v, want %d", id, key.Uses, key.LastUsedAt, want)
	}
}

// result is what a command printed and how it ended.
type result struct {
	stdout, stderr string
	code           int
}

// execute runs the binary to its end.
func execute(t *testing.T, dir string, env []string, args ...string) result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary, args...)
	var stdout, stderr bytes.Buffer
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = dir, env, &stdout, &stderr
	err := cmd.Run()
	if _, ended := errors.AsType[*exec.ExitError](err); err != nil && !ended {
		t.Fatalf("keyfold %v: %v", args, err)
	}
	return result{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

// keysJSON runs "keyfold keys … --json" on a database given by the variable
// and decodes what it prints.
func keysJSON[T any](t *testing.T, dir, db string, args ...string) (v T, printed result) {
	t.Helper()
	args = append([]string{"keys"}, append(args, "--json")...)
	printed = execute(t, dir, append(environment(""), "KEYFOLD_DATABASE_URL="+db), args...)
	if printed.code != exitOK {
		t.Fatalf("keyfold %v: exit code %d: %s", args, printed.code, printed.stderr)
	}
	if err := json.Unmarshal([]byte(printed.stdout), &v); err != nil {
		t.Fatalf("keyfold %v: %v in %s", args, err, printed.stdout)
	}
	return v, printed
}

// listKeys runs "keyfold keys list --all --json" and decodes every line.
func listKeys(t *testing.T, dir, db string, args ...string) (keys []wire.Key, printed result) {
	t.Helper()
	args = append([]string{"keys", "list", "--all", "--json"}, args...)
	printed = execute(t, dir, append(environment(""), "KEYFOLD_DATABASE_URL="+db), args...)
	if printed.code != exitOK {
		t.Fatalf("keyfold %v: exit code %d: %s", args, printed.code, printed.stderr)
	}
	return documents[wire.Key](t, printed.stdout), printed
}

// documents decodes JSON documents, one a line.
func documents[T any](t *testing.T, text string) []T {
	t.Helper()
	var all []T
	for line := range strings.Lines(text) {
		var v T
		if err := json.Unmarshal([]byte(line), &v); err != nil {
			t.Fatalf("%v in %q", err, line)
		}
		all = append(all, v)
	}
	return all
}

// awaitStatus waits until a route answers with that status.
func (s *server) awaitStatus(path string, want int, headers ...string) {
	s.t.Helper()
	var status int
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if status = s.get(path, headers...); status == want {
			return
		}
	}
	s.t.Errorf("GET %s: %d after %v, want %d", path, status, patience, want)
}
