package storelog_test

import (
	"bytes"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keyfold/keyfold/store/internal/storelog"
)

func TestAMessageIsWrittenOnceAMinute(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var log storelog.Log
		var out bytes.Buffer
		log.Warn("before there is a logger")
		log.SetLogger(slog.New(slog.NewTextHandler(&out, nil)))
		for range 5 {
			log.Warn("first", slog.Int("n", 1))
		}
		log.Warn("second")
		time.Sleep(time.Minute)
		log.Warn("first")
		log.Warn("second")
		var got []string
		for line := range strings.Lines(out.String()) {
			_, line, _ = strings.Cut(strings.TrimSpace(line), "msg=")
			got = append(got, line)
		}
		want := "first n=1, second, first omitted=4, second"
		if joined := strings.Join(got, ", "); joined != want {
			t.Errorf("got %s, want %s", joined, want)
		}
	})
}

// For the race detector: a Service may be made while connections report errors.
func TestLoggersMayBeChangedWhileMessagesAreWritten(t *testing.T) {
	t.Parallel()
	var log storelog.Log
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() { log.Warn("a message") })
		group.Go(func() { log.SetLogger(slog.New(slog.DiscardHandler)) })
	}
	group.Wait()
}
