package sqlite_test

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/store/internal/sqltest"
	"github.com/keyfold/keyfold/store/sqlite"
)

// smallDisk returns a store, and functions that fill and empty its disk. The disk is a
// mounted file system if this process may mount one, and otherwise a limit of the
// database.
func smallDisk(t *testing.T) (store *sqlite.Store, fill, empty func()) {
	t.Helper()
	dir := t.TempDir()
	if syscall.Mount("none", dir, "tmpfs", 0, "size=8m") != nil {
		return limitedDatabase(t, dir)
	}
	t.Cleanup(func() { must(t, syscall.Unmount(dir, syscall.MNT_DETACH)) })
	ballast := filepath.Join(dir, "ballast")
	fill = func() {
		file, err := os.Create(ballast)
		must(t, err)
		for err == nil {
			_, err = file.Write(make([]byte, 4096))
		}
		must(t, file.Close())
	}
	return open(t, filepath.Join(dir, "keyfold.db")), fill, func() { must(t, os.Remove(ballast)) }
}

// limitedDatabase is smallDisk with a limit on the number of pages.
func limitedDatabase(t *testing.T, dir string) (store *sqlite.Store, fill, empty func()) {
	t.Helper()
	store = open(t, filepath.Join(dir, "keyfold.db"))
	setMaxPages := func(n int) {
		_, err := store.DB().ExecContext(t.Context(), fmt.Sprintf("PRAGMA max_page_count = %d", n))
		must(t, err)
	}
	return store, func() { setMaxPages(1) }, func() { setMaxPages(1_000_000) } // SQLite raises 1 to the current number
}

func TestReadyFailsIfTheDiskIsFull(t *testing.T) {
	t.Parallel()
	store, fill, empty := smallDisk(t)
	svc, err := keyfold.New(store, &keyfold.Options{FlushInterval: 10 * time.Millisecond, DisableCache: true, Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
	must(t, err)
	defer svc.Close(t.Context())
	_, token, err := svc.CreateKey(t.Context(), keyfold.NewKey{})
	must(t, err)
	must(t, svc.Ready(t.Context()))
	fill()
	for range 10_000 { // until the free space inside the files is used
		if _, _, err = svc.CreateKey(t.Context(), keyfold.NewKey{}); err != nil {
			break
		}
	}
	if !errors.Is(err, keyfold.ErrUnavailable) || !errors.Is(err, keyfold.ErrNoSpace) {
		t.Fatalf("CreateKey on a full disk: %v, want ErrNoSpace", err)
	}
	var failed *keyfold.NotReadyError
	if err := svc.Ready(t.Context()); !errors.As(err, &failed) || failed.Part != keyfold.PartChanges || !errors.Is(err, keyfold.ErrNoSpace) {
		t.Errorf("Ready on a full disk: %v", err)
	}
	if err := store.Probe(t.Context()); !errors.Is(err, keyfold.ErrNoSpace) {
		t.Errorf("Probe on a full disk: %v", err)
	}
	if _, err := svc.Verify(t.Context(), keyfold.Request{Token: token.Reveal()}); err != nil {
		t.Errorf("Verify on a full disk: %v", err)
	}
	empty()
	for deadline := time.Now().Add(30 * time.Second); svc.Ready(t.Context()) != nil; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("30 s after the disk has free space again: %v", svc.Ready(t.Context()))
		}
	}
	sqltest.Create(t, store)
	var left int
	must(t, store.DB().QueryRowContext(t.Context(), "SELECT count(*) FROM keyfold_settings WHERE name LIKE 'probe%'").Scan(&left))
	if left != 0 {
		t.Errorf("%d rows of probes are left", left)
	}
}
