package sqlite_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/keyfold/keyfold/internal/testdb"
	"github.com/keyfold/keyfold/store/internal/sqltest"
	"github.com/keyfold/keyfold/store/sqlite"
)

// openEnv is the variable with the path of the file that a child process opens.
const openEnv = "KEYFOLD_TEST_OPEN_PATH"

// openAsOtherUser opens the file in a child process and returns the error text. If the
// test runs as root, for which permissions have no effect, the child has the user ID
// 65534. It runs /proc/self/exe, because that user may not be able to enter the
// directory of the test binary.
func openAsOtherUser(t *testing.T, path string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe", "-test.run=^TestOpenInAChild$")
	cmd.Env = append(os.Environ(), openEnv+"="+path)
	cmd.Dir = "/"
	if os.Geteuid() == 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	}
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("the child process: %v: %s", err, out)
	}
	_, text, found := strings.Cut(string(out), "result: ")
	if !found {
		t.Fatalf("the child process opened nothing: %s", out)
	}
	text, _, _ = strings.Cut(text, "\n")
	return text
}

func TestOpenInAChild(t *testing.T) {
	path := os.Getenv(openEnv)
	if path == "" {
		t.Skip("this is not a test: the other tests run it in a child process")
	}
	store, err := sqlite.Open(context.Background(), path)
	if err == nil {
		err = store.Close()
	}
	fmt.Printf("result: %v\n", err)
}

// publicDir returns a directory that every user can enter and read.
func publicDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	must(t, os.Chmod(filepath.Dir(dir), 0o755))
	t.Cleanup(func() {
		_ = filepath.Walk(dir, func(path string, _ fs.FileInfo, _ error) error { return os.Chmod(path, 0o755) })
	})
	return dir
}

func TestOpenSaysWhichPermissionIsMissing(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		harm func(t *testing.T, dir, path string) // dir is writable, and so is path, a database
		path string                               // below dir; default data/keyfold.db
		want []string
	}{
		"nothing": {func(*testing.T, string, string) {}, "", []string{"<nil>"}},
		"the directory is not writable": {
			func(t *testing.T, dir, path string) { must(t, os.Chmod(filepath.Dir(path), 0o555)) }, "",
			[]string{`the directory "DIR/data" must be writable, because SQLite creates keyfold.db-wal and keyfold.db-shm in it`, "permission denied"},
		},
		"the directory is not writable, and the file is new": {
			func(t *testing.T, dir, path string) {
				must(t, os.Remove(path))
				must(t, os.Chmod(filepath.Dir(path), 0o555))
			}, "",
			[]string{`the directory "DIR/data" must be writable, because SQLite creates keyfold.db-wal and keyfold.db-shm in it`, "permission denied"},
		},
		"the directory of a link's target is not writable": {
			func(t *testing.T, dir, path string) {
				must(t, os.Symlink(path, filepath.Join(dir, "link.db")))
				must(t, os.Chmod(filepath.Dir(path), 0o555))
			}, "link.db",
			[]string{`the directory "DIR/data" must be writable, because SQLite creates keyfold.db-wal and keyfold.db-shm in it`},
		},
		"the directory cannot be entered": {
			func(t *testing.T, dir, path string) { must(t, os.Chmod(filepath.Dir(path), 0o600)) }, "",
			[]string{`the directory "DIR/data" must be writable`, "permission denied"},
		},
		"the directory above cannot be entered": {
			func(t *testing.T, dir, path string) { must(t, os.Chmod(filepath.Dir(path), 0o600)) }, "data/inner/keyfold.db",
			[]string{`the directory "DIR/data" must be open to this process`, "permission denied"},
		},
		"the file is not writable": {
			func(t *testing.T, dir, path string) { must(t, os.Chmod(path, 0o444)) }, "",
			[]string{`the file "DIR/data/keyfold.db" must be readable and writable (`, "permission denied"},
		},
		"the file is not readable": {
			func(t *testing.T, dir, path string) { must(t, os.Chmod(path, 0)) }, "",
			[]string{`the file "DIR/data/keyfold.db" must be readable and writable (`, "permission denied"},
		},
		"neither the file nor the directory is writable": {
			func(t *testing.T, dir, path string) {
				must(t, os.Chmod(path, 0o444))
				must(t, os.Chmod(filepath.Dir(path), 0o555))
			}, "",
			[]string{`the file "DIR/data/keyfold.db" must be readable and writable, and the directory "DIR/data" must be writable, because`},
		},
		"the log belongs to another user": {
			func(t *testing.T, dir, path string) {
				createEmpty(t, path+"-wal")
				must(t, os.Chmod(path+"-wal", 0))
			}, "",
			[]string{`the file "DIR/data/keyfold.db-wal" must be readable and writable (`},
		},
		"the directory does not exist": {
			func(*testing.T, string, string) {}, "no/keyfold.db",
			[]string{`the directory "DIR/no" must exist: no such file or directory`},
		},
		"the directory is a file": {
			func(*testing.T, string, string) {}, "data/keyfold.db/k.db",
			[]string{`"DIR/data/keyfold.db" must be a directory, but it is a file`},
		},
		"the file is a directory": {
			func(*testing.T, string, string) {}, "data",
			[]string{"the path must name a file, but it is a directory"},
		},
		"the file is a pipe": {
			func(t *testing.T, dir, path string) { must(t, syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o666)) }, "pipe",
			[]string{"the path must name a file, but it is a device, a pipe or a socket"},
		},
		"the file is not a database": {
			func(t *testing.T, dir, path string) {
				must(t, os.WriteFile(path, []byte(strings.Repeat("name,count\n", 200)), 0o666))
			}, "",
			[]string{"the file must be a SQLite database, but it is another kind of file or is encrypted"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := publicDir(t)
			path := filepath.Join(dir, "data", "keyfold.db")
			must(t, os.Mkdir(filepath.Dir(path), 0o755))
			must(t, openAndClose(t, path))
			must(t, os.Chmod(path, 0o666))
			must(t, os.Chmod(filepath.Dir(path), 0o777))
			row.harm(t, dir, path)
			if row.path != "" {
				path = filepath.Join(dir, row.path)
			}
			got := openAsOtherUser(t, path)
			for _, want := range row.want {
				if want = strings.ReplaceAll(want, "DIR", dir); !strings.Contains(got, want) {
					t.Errorf("Open: got %s\nwant %s", got, want)
				}
			}
			if strings.Contains(got, "readonly database") {
				t.Errorf("Open: got %s, which names the wrong cause", got)
			}
		})
	}
}

func TestOpenFailsWithTheErrorOfTheFileSystem(t *testing.T) {
	t.Parallel()
	if _, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "no", "keyfold.db")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Open in a directory that does not exist: %v, want fs.ErrNotExist", err)
	}
}

func TestOpenSaysThatTheFileIsDamaged(t *testing.T) {
	t.Parallel()
	path := testdb.SQLite(t)
	store, err := sqlite.Open(t.Context(), path)
	must(t, err)
	sqltest.Create(t, store)
	must(t, store.Close())
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	must(t, err)
	_, err = file.WriteAt([]byte(strings.Repeat("x", 3000)), 100) // the first page, after its header
	must(t, errors.Join(err, file.Close()))
	if _, err := sqlite.Open(t.Context(), path); err == nil || !strings.Contains(err.Error(), "the file is damaged; restore it from a backup") {
		t.Errorf("Open of a damaged file: %v", err)
	}
}
