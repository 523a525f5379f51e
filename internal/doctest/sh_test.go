//go:build unix

package doctest

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

func TestPages(t *testing.T) {
	t.Parallel()
	all := pages(t)
	if t.Failed() {
		return
	}
	built := build(t, all)
	for _, p := range all {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			p.try(t, built)
		})
	}
}

// try runs the blocks of a page: the Go ones by themselves, the shell ones in
// the order of the page.
func (p *page) try(t *testing.T, built binaries) {
	r := &reader{t: t, page: p, built: built}
	for _, b := range p.blocks {
		switch program := built.programs[b]; {
		case b.tag == "sh":
			r.types(b)
		case b.has("from"): // see TestExcerptsAreInTheirFiles
		case b.has("program"):
			r.program = program
		case program != "":
			t.Run(fmt.Sprint("line ", b.line), func(t *testing.T) { t.Parallel(); b.runProgram(t, program) })
		default:
			t.Run(fmt.Sprint("line ", b.line), func(t *testing.T) { t.Parallel(); b.runFragment(t, built.fragments) })
		}
	}
	r.interrupts()
}

// substitutions is all that differs between what a page shows and what is run.
// Without a reader it is the port alone.
func (p *page) substitutions(r *reader) *strings.Replacer {
	if r == nil {
		return strings.NewReplacer("localhost:8080", "127.0.0.1:"+p.port, "8080", p.port)
	}
	keyfold := quote(r.built.keyfold)
	return strings.NewReplacer(
		"go run ./cmd/keyfold serve", keyfold+" serve --addr 127.0.0.1:"+p.port,
		"go run ./cmd/keyfold", keyfold,
		"go run .", quote(r.program),
		"8080", p.port,
	)
}

// pasted is what a reader copies out of the output when a block says
// "read -r NAME".
var pasted = map[string]*regexp.Regexp{
	"SECRET": regexp.MustCompile(`admin secret \(.*\): (\S+)`),
	"TOKEN":  regexp.MustCompile(`\b(kf_[0-9A-Za-z]{16}_[0-9A-Za-z]{32}_[0-9A-Za-z]{6})\b`),
}

var asks = regexp.MustCompile(`^read -r ([A-Z]+)\n$`)

// reader follows a page with two terminals: one for what stays in the
// foreground, one for the rest.
type reader struct {
	t       *testing.T
	page    *page
	built   binaries
	program string // what "go run ." runs
	dir     string
	busy    *terminal
	running *block // in busy
	free    *terminal
	seen    string // everything that was printed
}

func (r *reader) types(b *block) {
	t := r.t
	t.Helper()
	if r.dir == "" {
		r.dir = filepath.Join(t.TempDir(), "a new directory")
		if err := os.Mkdir(r.dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	text := r.page.substitutions(r).Replace(b.text)
	if b.has("stays") {
		r.interrupts()
		r.busy, r.running = open(t, r.dir, true), b
		r.busy.write(text)
		r.awaitsServer(b)
		return
	}
	if r.free == nil {
		r.free = open(t, r.dir, false)
	}
	if match := asks.FindStringSubmatch(b.text); match != nil {
		text += r.copies(b, match[1]) + "\n"
	}
	late := time.Now().Add(patience)
	for {
		output, status := r.free.run(b, text)
		r.seen += output
		var err error
		if status != "0" {
			err = fmt.Errorf("%v: exit status %s: %s\n%s", b, status, output, r.free.errors.String())
		} else if b.output != nil {
			err = b.output.matches(output)
		} else if strings.TrimSpace(output) != "" {
			err = fmt.Errorf("%v: it prints what the page does not show:\n%s", b, output)
		}
		if err == nil {
			return
		}
		if !b.has("again") || time.Now().After(late) {
			t.Fatal(err)
		}
		time.Sleep(50 * time.Millisecond) // a process writes what this waits for
	}
}

// awaitsServer waits until what stays in the foreground has printed what the
// page shows, and answers.
func (r *reader) awaitsServer(b *block) {
	r.t.Helper()
	var err error
	for late := time.Now().Add(patience); time.Now().Before(late); time.Sleep(20 * time.Millisecond) {
		printed := r.busy.output.String()
		if b.output == nil {
			r.t.Fatalf("%v: the page has to show what a program prints that stays", b)
		}
		if err = b.output.matches(printed); err != nil {
			continue
		}
		var conn net.Conn
		if conn, err = net.Dial("tcp", "127.0.0.1:"+r.page.port); err == nil {
			_ = conn.Close()
			r.seen += printed
			return
		}
	}
	r.t.Fatalf("%v: after %v: %v", b, patience, err)
}

// copies returns the newest text of that kind in what was printed.
func (r *reader) copies(b *block, name string) string {
	r.t.Helper()
	if pasted[name] == nil {
		r.t.Fatalf("%v: doctest does not know what a reader would paste for %s", b, name)
	}
	found := pasted[name].FindAllStringSubmatch(r.seen, -1)
	if len(found) == 0 {
		r.t.Fatalf("%v: nothing that was printed is a %s", b, name)
	}
	return found[len(found)-1][1]
}

// interrupts ends what stays in the foreground as Ctrl-C does, and wants it to
// end in order.
func (r *reader) interrupts() {
	if r.busy == nil {
		return
	}
	r.t.Helper()
	if err := syscall.Kill(-r.busy.cmd.Process.Pid, syscall.SIGINT); err != nil {
		r.t.Error(err)
	}
	if _, status := r.busy.run(r.running, ""); status != "0" {
		r.t.Errorf("%v: interrupted, it ended with exit status %s:\n%s", r.running, status, r.busy.output.String())
	}
	r.busy = nil
}

// terminal is a shell that reads commands as they are typed.
type terminal struct {
	t              *testing.T
	cmd            *exec.Cmd
	in             *os.File
	output, errors *screen
	mark           int
}

// screen is what a terminal shows.
type screen struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(p)
}

func (s *screen) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

// open starts a shell in that directory. Standard error goes where standard
// output goes, or apart: curl draws its progress there if it meets no terminal.
func open(t *testing.T, dir string, together bool) *terminal {
	t.Helper()
	for _, program := range []string{"bash", "curl"} {
		if _, err := exec.LookPath(program); err != nil {
			if os.Getenv("CI") == "true" || os.Getenv("KEYFOLD_TEST_REQUIRE") == "1" {
				t.Fatalf("%s is not installed", program)
			}
			t.Skipf("%s is not installed: blocks of sh cannot be tried", program)
		}
	}
	// Should the test be killed, this pipe is closed, and the shell kills all that
	// it started.
	alive, held, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	s := &terminal{t: t, cmd: exec.Command("bash", "--noprofile", "--norc", "-s"), output: &screen{}, errors: &screen{}}
	in, out, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	s.in = out
	s.cmd.Dir, s.cmd.Stdin, s.cmd.Stdout, s.cmd.Stderr = dir, in, s.output, s.errors
	if together {
		s.cmd.Stderr = s.output
	}
	for _, variable := range os.Environ() {
		if !strings.HasPrefix(variable, "KEYFOLD_") {
			s.cmd.Env = append(s.cmd.Env, variable)
		}
	}
	s.cmd.Env = append(s.cmd.Env, "NO_PROXY=*", "no_proxy=*")
	s.cmd.ExtraFiles = []*os.File{alive} // 3
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	s.cmd.WaitDelay = patience
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = in.Close()
	_ = alive.Close()
	t.Cleanup(func() {
		_ = held.Close()
		_ = out.Close()
		_ = syscall.Kill(-s.cmd.Process.Pid, syscall.SIGKILL) // its children too
		_ = s.cmd.Wait()
	})
	s.write("{ read -r <&3; kill -KILL 0; } 2>/dev/null &\n")
	return s
}

func (s *terminal) write(text string) {
	s.t.Helper()
	if _, err := s.in.WriteString(text); err != nil {
		s.t.Fatal(err)
	}
}

// run types the text and returns what is printed on standard output until it
// is done, and the exit status.
func (s *terminal) run(b *block, text string) (output, status string) {
	s.t.Helper()
	s.mark++
	mark := fmt.Sprintf("-- done %d: ", s.mark)
	before := len(s.output.String())
	s.write(text + "printf '\\n" + mark + "%s\\n' $?\n")
	for late := time.Now().Add(2 * patience); time.Now().Before(late); time.Sleep(5 * time.Millisecond) {
		printed := s.output.String()[before:]
		if done, rest, found := strings.Cut(printed, "\n"+mark); found && strings.HasSuffix(rest, "\n") {
			return done, strings.TrimSpace(rest)
		}
	}
	s.t.Fatalf("%v: not done after %v:\n%s%s", b, 2*patience, s.output.String()[before:], s.errors.String())
	return "", ""
}

func quote(text string) string { return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'" }

// freePort returns a port of 127.0.0.1 below those that are given to outgoing
// connections, so that it is still free when a server takes it.
func freePort(t *testing.T) string {
	t.Helper()
	for range 50 {
		port := strconv.Itoa(20000 + rand.IntN(12000))
		if listener, err := net.Listen("tcp", "127.0.0.1:"+port); err == nil {
			_ = listener.Close()
			return port
		}
	}
	t.Fatal("no free port")
	return ""
}
