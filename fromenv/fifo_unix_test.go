//go:build unix

package fromenv_test

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/keyfold/keyfold/fromenv"
)

// Opening a FIFO without a writer blocks forever.
func TestFIFOIsRefusedWithoutOpeningIt(t *testing.T) {
	t.Parallel()
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, source := range map[string]fromenv.Source{
		fifo:                       {File: fifo, Environ: []string{}},
		"KEYFOLD_ENV_FILE=" + fifo: {Environ: []string{"KEYFOLD_ENV_FILE=" + fifo}},
		"KEYFOLD_SECRET_FILE":      {File: os.DevNull, Environ: []string{"KEYFOLD_SECRET_FILE=" + fifo}},
	} {
		t.Run(name, func(t *testing.T) {
			read := make(chan error, 1)
			go func() {
				_, err := fromenv.ReadConfig(&source)
				read <- err
			}()
			select {
			case err := <-read:
				wantsError(t, err, name, "cannot be read: it is not a regular file")
			case <-time.After(30 * time.Second):
				t.Errorf("%s: it waits for a writer", name)
			}
		})
	}
}

// Kubernetes mounts the keys of a secret behind two links.
func TestLinkedFileIsRead(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := write(t, "secret", goodSecret)
	if err := os.Symlink(filepath.Dir(file), filepath.Join(dir, "..data")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join("..data", "secret"), filepath.Join(dir, "secret")); err != nil {
		t.Fatal(err)
	}
	if got := mustRead(t, "KEYFOLD_SECRET_FILE="+filepath.Join(dir, "secret")).Secret.Reveal(); got != goodSecret {
		t.Error("the secret differs from the content of the file")
	}
	null := filepath.Join(dir, ".env")
	if err := os.Symlink(os.DevNull, null); err != nil {
		t.Fatal(err)
	}
	if _, err := fromenv.ReadConfig(&fromenv.Source{File: null, Environ: []string{}}); err != nil {
		t.Errorf("a link to the null device, which hides a file: %v", err)
	}
}
