package faulttest_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/store/sqlite"
)

// fullDisk names the directory that TestDiskFills mounts a small file system on.
const fullDisk = "KEYFOLD_TEST_FULL_DISK"

// TestDiskIsFull runs TestDiskFills where no other process sees the mount.
func TestDiskIsFull(t *testing.T) {
	onlyWithEverything(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	child := exec.CommandContext(t.Context(), self, "-test.run=^TestDiskFills$", "-test.v")
	child.Env = append(os.Environ(), fullDisk+"="+t.TempDir())
	child.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	if os.Getuid() != 0 { // its own root may mount
		child.SysProcAttr.Cloneflags = syscall.CLONE_NEWUSER
		child.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		child.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	out, err := child.CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Error(err)
	}
}

// TestDiskFills fills the disk below a database and makes room again. What was
// refused meanwhile is not there, what was there can be used, and its uses are
// counted later. Mutation tried: an error of RecordUsage that drops the batch.
func TestDiskFills(t *testing.T) {
	dir := os.Getenv(fullDisk)
	if dir == "" {
		t.Skip("runs within TestDiskIsFull")
	}
	if err := syscall.Mount("none", dir, "tmpfs", 0, "size=6m"); err != nil {
		t.Fatalf("no small file system can be mounted here: %v", err)
	}
	store, err := sqlite.Open(t.Context(), filepath.Join(dir, "keyfold.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	services := map[string]*keyfold.Service{}
	for name, options := range map[string]*keyfold.Options{"from memory": nil, "from the file": {DisableCache: true}} {
		if services[name], err = keyfold.New(store, options); err != nil {
			t.Fatal(err)
		}
		defer services[name].Close(context.Background())
	}
	svc := services["from memory"]
	created := map[string]bool{}
	create := func() (keyfold.Key, keyfold.Token, error) {
		key, token, err := svc.CreateKey(t.Context(), keyfold.NewKey{Notes: strings.Repeat("x", 2000)})
		if err == nil {
			created[key.ID] = true
		}
		return key, token, err
	}
	old, token, err := create()
	if err != nil {
		t.Fatal(err)
	}
	victims := make([]keyfold.Key, 100)
	for i := range victims {
		if victims[i], _, err = create(); err != nil {
			t.Fatal(err)
		}
	}
	uses := 0
	use := func() {
		for name, svc := range services {
			if _, err := svc.Verify(t.Context(), keyfold.Request{Token: token.Reveal(), Route: fmt.Sprint("GET /", uses)}); err != nil {
				t.Errorf("a verify %s: %v", name, err)
			}
			uses++
		}
	}
	use()
	fill(t, dir)
	for refused := 0; refused < 20; {
		if _, _, err := create(); err != nil {
			refused++
			wantUnavailable(t, "a creation", err)
		}
		use()
	}
	revoked := 0
	for _, victim := range victims { // each needs less room than a creation
		if err := svc.RevokeKey(t.Context(), victim.ID, ""); err == nil {
			revoked++
		} else {
			wantUnavailable(t, "a revocation", err)
		}
	}
	for range 2000 {
		use()
	}
	wantUnavailable(t, "a flush", svc.Flush(t.Context()))
	use()
	whole(t, store, created, revoked)

	if err := os.Remove(filepath.Join(dir, "filler")); err != nil {
		t.Fatal(err)
	}
	for _, svc := range services {
		if err := svc.Close(t.Context()); err != nil {
			t.Error(err)
		}
	}
	if key, err := store.Key(t.Context(), old.ID); err != nil || key.Uses != int64(uses) || !key.RevokedAt.IsZero() {
		t.Errorf("%d uses, revoked at %v, %v; want %d uses and no revocation", key.Uses, key.RevokedAt, err, uses)
	}
	if revoked == len(victims) {
		t.Error("no revocation was refused; this shows little")
	}
	t.Logf("%d keys were created before the disk was full and 20 refused, %d of %d revoked; %d verifies", len(created), revoked, len(victims), uses)
}

func wantUnavailable(t *testing.T, what string, err error) {
	t.Helper()
	if !errors.Is(err, keyfold.ErrUnavailable) {
		t.Errorf("%s on a full disk: %v, want ErrUnavailable", what, err)
	}
}

// fill leaves room for a few changes.
func fill(t *testing.T, dir string) {
	t.Helper()
	filler, err := os.Create(filepath.Join(dir, "filler"))
	if err != nil {
		t.Fatal(err)
	}
	defer filler.Close()
	block := make([]byte, 4096)
	size := int64(0)
	for err == nil {
		var n int
		n, err = filler.Write(block)
		size += int64(n)
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	if err := filler.Truncate(size - 256<<10); err != nil {
		t.Fatal(err)
	}
}

// whole wants the keys, so many of them revoked, and everything that belongs to
// them and to those changes.
func whole(t *testing.T, store *sqlite.Store, keys map[string]bool, revoked int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	rows, err := store.Keys(ctx, keyfold.KeyScan{Index: keyfold.KeysAll, Limit: 10_000})
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range rows {
		if !keys[row.ID] {
			t.Errorf("key %s is there and its creation was refused", row.ID)
		}
	}
	for what, want := range map[string]int{
		"keyfold_keys": len(keys), "keyfold_keys WHERE revoked_at IS NOT NULL": revoked, "keyfold_key_totals": len(keys),
		"keyfold_changes": len(keys) + revoked, "keyfold_audit": len(keys) + revoked,
	} {
		var n int
		if err := store.DB().QueryRowContext(ctx, "SELECT COUNT(*) FROM "+what).Scan(&n); err != nil || n != want {
			t.Errorf("%d rows in %s, %v; want %d", n, what, err, want)
		}
	}
	var state string
	if err := store.DB().QueryRowContext(ctx, "PRAGMA integrity_check").Scan(&state); err != nil || state != "ok" {
		t.Errorf("the file is %q, %v; want ok", state, err)
	}
}
