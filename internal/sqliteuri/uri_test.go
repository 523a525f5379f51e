package sqliteuri_test

import (
	"database/sql"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	_ "modernc.org/sqlite"

	"github.com/keyfold/keyfold/internal/sqliteuri"
)

const (
	unix    = false
	windows = true
)

func TestURI(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		path    string
		windows bool
		want    string
	}{
		{`/var/lib/keyfold.db`, unix, "file:///var/lib/keyfold.db"},
		{`/a b/c?d#e%20f.db`, unix, "file:///a%20b/c%3Fd%23e%2520f.db"},
		{`/a\b:c.db`, unix, "file:///a%5Cb:c.db"},
		{`/é.db`, unix, "file:///%C3%A9.db"},
		{`C:\data\keyfold.db`, windows, "file:///C:/data/keyfold.db"},
		{`c:/data/keyfold.db`, windows, "file:///c:/data/keyfold.db"},
		{`C:\a b\c?d#e%20f.db`, windows, "file:///C:/a%20b/c%3Fd%23e%2520f.db"},
		{`\\server\share\keyfold.db`, windows, "file:////server/share/keyfold.db"},
		{`//server/share/keyfold.db`, windows, "file:////server/share/keyfold.db"},
		{`\\server\a b\c#d%.db`, windows, "file:////server/a%20b/c%23d%25.db"},
		{`\\?\C:\a b\k.db`, windows, "file:%5C%5C%3F%5CC:%5Ca%20b%5Ck.db"},
		{`\\?\UNC\server\share\k.db`, windows, "file:%5C%5C%3F%5CUNC%5Cserver%5Cshare%5Ck.db"},
		{`\\.\C:\k.db`, windows, "file:%5C%5C.%5CC:%5Ck.db"},
	} {
		t.Run(row.path, func(t *testing.T) {
			if got := sqliteuri.For(row.path, row.windows); got != row.want {
				t.Errorf("For(%q, windows %v) = %q, want %q", row.path, row.windows, got, row.want)
			}
		})
	}
}

// A UNC path with the directories of Unix leads to the same file there: SQLite
// takes the two slashes at its beginning for one.
func TestSQLiteFindsThePathInTheURI(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("makes files with characters that Windows does not allow in names")
	}
	dir := t.TempDir()
	unc := `\\` + strings.ReplaceAll(strings.TrimPrefix(dir, "/"), "/", `\`) + `\`
	for _, name := range []string{"k.db", "a b.db", "c#d%20e&f=g.db", "h?mode=memory.db"} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(dir, name)
			create(t, sqliteuri.Of(path))
			if err := os.Remove(path); err != nil {
				t.Errorf("the URI of a path of Unix: %v", err)
			}
			create(t, sqliteuri.For(unc+name, windows))
			if err := os.Remove(path); err != nil {
				t.Errorf("the URI of a UNC path: %v", err)
			}
		})
	}
}

func create(t *testing.T, uri string) {
	t.Helper()
	db, err := sql.Open("sqlite", uri+"?mode=rwc")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.ExecContext(t.Context(), "CREATE TABLE t (a)"); err != nil {
		t.Errorf("%q: %v", uri, err)
	}
	if err := db.Close(); err != nil {
		t.Error(err)
	}
}

// SQLite refuses a URI with an authority before it looks for a file.
func TestPathOfWindowsIsNotAnAuthority(t *testing.T) {
	t.Parallel()
	refused := func(uri string) bool {
		db, err := sql.Open("sqlite", uri+"?mode=ro")
		if err == nil {
			err = db.PingContext(t.Context())
			_ = db.Close()
		}
		return err != nil && strings.Contains(err.Error(), "authority")
	}
	if !refused("file://C:/data/k.db") {
		t.Error("SQLite takes an authority, so this test proves nothing")
	}
	for _, path := range []string{`C:\data\k.db`, `C:/data/k.db`, `\\server\share\k.db`, `//server/share/k.db`, `\\?\C:\data\k.db`} {
		t.Run(path, func(t *testing.T) {
			if uri := sqliteuri.For(path, windows); refused(uri) {
				t.Errorf("SQLite finds an authority in %q", uri)
			}
		})
	}
}
