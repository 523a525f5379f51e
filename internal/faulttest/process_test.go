package faulttest_test

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience is the longest time that a test waits for an event.
const patience = 60 * time.Second

const adminSecret = "5d1c90e7b3f24a68815ee0d94c7fa2b6"

// binary is the path of the command, which TestMain builds once for all tests.
var binary string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "keyfold-faults-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	binary = filepath.Join(dir, "keyfold")
	build := exec.Command("go", "build", "-o", binary, "../../cmd/keyfold")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "go build: %v\n%s", err, out)
		os.Exit(1)
	}
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// member is a process of a run, which executes "keyfold serve". A test can kill it and
// start it again. Each start begins a new life.
type member struct {
	database string
	sync     bool // the process stores a use before it responds
	clock    func() moment

	mu    sync.Mutex // guards what follows, which changes when it is started again
	cmd   *exec.Cmd
	url   string
	life  *life
	ended chan struct{}
	log   *tail
}

// tail is a writer that keeps the last lines of a log.
type tail struct {
	mu    sync.Mutex
	lines []string
}

func (l *tail) add(line string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.lines = append(l.lines, line); len(l.lines) > 30 {
		l.lines = l.lines[1:]
	}
}

func (l *tail) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Join(l.lines, "\n")
}

// start begins a life and returns when the process listens.
func (m *member) start() error {
	cmd := exec.Command(binary, "serve", "--addr", "127.0.0.1:0", "--log-format", "json")
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), "KEYFOLD_ENV_FILE=" + os.DevNull, "KEYFOLD_SECRET=" + adminSecret,
		"KEYFOLD_DATABASE_URL=" + m.database, "KEYFOLD_USAGE=async",
	}
	if m.sync {
		cmd.Env[len(cmd.Env)-1] = "KEYFOLD_USAGE=sync"
	}
	stderr, err := cmd.StderrPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	log, listening, ended := &tail{}, make(chan string, 1), make(chan struct{})
	go func() {
		readLog(stderr, log, listening)
		_ = cmd.Wait()
		close(ended)
	}()
	select {
	case address := <-listening:
		m.mu.Lock()
		defer m.mu.Unlock()
		m.cmd, m.url, m.ended, m.log = cmd, "http://"+address, ended, log
		m.life = &life{sync: m.sync, killed: never}
		return nil
	case <-ended:
		return fmt.Errorf("the process ended: %s", log)
	case <-time.After(patience):
		_ = cmd.Process.Kill()
		return fmt.Errorf("the process does not listen: %s", log)
	}
}

func readLog(r io.Reader, log *tail, listening chan<- string) {
	for scanner := bufio.NewScanner(r); scanner.Scan(); {
		log.add(scanner.Text())
		var entry struct{ Msg, Addr string }
		if json.Unmarshal(scanner.Bytes(), &entry) == nil && entry.Msg == "listening" {
			listening <- entry.Addr
		}
	}
}

// now returns the URL and the life of the process.
func (m *member) now() (url string, life *life) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.url, m.life
}

// kill ends the process with SIGKILL and returns when it is gone.
func (m *member) kill() {
	m.mu.Lock()
	m.life.killed = m.clock()
	cmd, ended := m.cmd, m.ended
	m.mu.Unlock()
	_ = cmd.Process.Kill()
	<-ended
}

// stop ends the process with SIGTERM. It returns an error if the process fails.
func (m *member) stop() error {
	_ = m.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-m.ended:
	case <-time.After(patience):
		_ = m.cmd.Process.Kill()
		<-m.ended
		return errors.New("the process does not end: " + m.log.String())
	}
	if code := m.cmd.ProcessState.ExitCode(); code != 0 {
		return fmt.Errorf("the process ended with %d: %s", code, m.log)
	}
	return nil
}
