//go:build unix

package keyfold_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/keyfold/keyfold"
)

// The variables of the test that stops a process. Set the seconds to 60 for the
// time that an operator would stop one.
const (
	stoppedChild   = "KEYFOLD_TEST_STOPPED_CHILD"
	stoppedSeconds = "KEYFOLD_TEST_STOP_SECONDS"
)

// order is what the process that is stopped is told, and sightings are its answer.
type order struct {
	Engine, DSN string
	Tokens      []string
}

type sightings struct {
	// LastAllowed is when the last verify that was allowed began, unix
	// nanoseconds, by token, and FirstRefused when the first refused one did.
	LastAllowed, FirstRefused []int64
}

// TestStoppedProcess is the process that TestStoppedProcessAllowsNothingRevokedWhenItGoesOn stops.
func TestStoppedProcess(t *testing.T) {
	if os.Getenv(stoppedChild) == "" {
		return
	}
	input := bufio.NewReader(os.Stdin)
	var told order
	line, err := input.ReadBytes('\n')
	if err != nil || json.Unmarshal(line, &told) != nil {
		t.Fatal("no order")
	}
	open := map[string]func(context.Context, string) (keyfold.Store, error){
		"sqlite": sqliteOpen, "postgres": postgresOpen, "mariadb": mysqlOpen, "mongodb": mongoOpen,
	}[told.Engine]
	store := opened(t)(open(t.Context(), told.DSN))
	svc := newService(t, store, &keyfold.Options{
		PollInterval: 50 * time.Millisecond, MaxStaleness: 500 * time.Millisecond, FlushInterval: time.Minute,
		Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
	})
	outcome(svc, told.Tokens[0])
	syncs(t, svc)
	for _, token := range told.Tokens {
		wants(t, svc, token, keyfold.OutcomeAllowed, "before")
	}
	result := sightings{LastAllowed: make([]int64, len(told.Tokens)), FirstRefused: make([]int64, len(told.Tokens))}
	stop := make(chan struct{})
	var group sync.WaitGroup
	for i, token := range told.Tokens {
		group.Go(func() {
			for {
				began := time.Now().UnixNano()
				switch outcome(svc, token) {
				case keyfold.OutcomeAllowed:
					result.LastAllowed[i] = began
				case keyfold.OutcomeRevoked:
					if result.FirstRefused[i] == 0 {
						result.FirstRefused[i] = began
					}
				}
				select {
				case <-stop:
					return
				case <-time.After(100 * time.Microsecond):
				}
			}
		})
	}
	fmt.Println("ready")
	_, _ = input.ReadByte() // until told to report, or left alone
	close(stop)
	group.Wait()
	answer, _ := json.Marshal(result)
	fmt.Printf("report %s\n", answer)
}

func TestStoppedProcessAllowsNothingRevokedWhenItGoesOn(t *testing.T) {
	// Mutation tried: a MaxStaleness that is not looked at.
	t.Parallel()
	pause := time.Second // longer than MaxStaleness
	if seconds, err := strconv.Atoi(os.Getenv(stoppedSeconds)); err == nil {
		pause = time.Duration(seconds) * time.Second
	}
	onEveryEngine(t, func(t *testing.T, e *engine) {
		_, there, keys, tokens := remembered(t, e, rarely, 8)
		self, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		child := exec.CommandContext(t.Context(), self, "-test.run=^TestStoppedProcess$")
		child.Env = append(os.Environ(), stoppedChild+"=1")
		input, err := child.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		output, err := child.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = child.Process.Kill(); _ = child.Wait() })
		line, _ := json.Marshal(order{e.name, e.dsn, tokens})
		if _, err := input.Write(append(line, '\n')); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewReader(output)
		if line, err := lines.ReadBytes('\n'); err != nil || string(line) != "ready\n" {
			t.Fatalf("the process says %q, %v", line, err)
		}
		time.Sleep(300 * time.Millisecond)
		if err := child.Process.Signal(syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		time.Sleep(50 * time.Millisecond)
		for _, key := range keys {
			if err := there.RevokeKey(t.Context(), key.ID, ""); err != nil {
				t.Fatal(err)
			}
		}
		revoked := time.Now().UnixNano()
		time.Sleep(pause)
		woken := time.Now().UnixNano()
		if err := child.Process.Signal(syscall.SIGCONT); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second) // enough for a verify of each token, also on a busy machine
		if _, err := input.Write([]byte("\n")); err != nil {
			t.Fatal(err)
		}
		var result sightings
		for {
			line, err := lines.ReadBytes('\n')
			if err != nil {
				t.Fatalf("no report: %v", err)
			}
			if text, ok := bytes.CutPrefix(line, []byte("report ")); ok {
				if err := json.Unmarshal(text, &result); err != nil {
					t.Fatal(err)
				}
				break
			}
		}
		for i := range tokens {
			if result.LastAllowed[i] == 0 || result.FirstRefused[i] < woken {
				t.Errorf("token %d: allowed last at %d, refused first at %d, woken at %d: this shows nothing", i, result.LastAllowed[i], result.FirstRefused[i], woken)
			}
			if late := time.Duration(result.LastAllowed[i] - revoked); late > 0 {
				t.Errorf("token %d was allowed by a verify that began %v after its revocation", i, late)
			}
		}
	})
}
