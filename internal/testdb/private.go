package testdb

import (
	"bufio"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-sql-driver/mysql"
)

// PrivateMariaDB starts a MariaDB server for one test, with the given options of
// mariadbd, such as "--init-connect=SET autocommit=0". It returns the configuration
// of an administrator's connection that does not name a database. The server stops
// when the test or its process ends.
//
// PrivateMariaDB takes a few seconds. If the test does not need its own server, use
// [MariaDB].
func PrivateMariaDB(t testing.TB, options ...string) *mysql.Config {
	t.Helper()
	cmd := exec.Command(filepath.Join(moduleRoot(t), "scripts", "services"), "run", "mariadb", "--",
		"sh", "-c", `echo "$`+mariadb.variable+`"; exec cat`)
	for _, variable := range os.Environ() {
		if !strings.HasPrefix(variable, "KEYFOLD_TEST_") {
			cmd.Env = append(cmd.Env, variable)
		}
	}
	cmd.Env = append(cmd.Env, "KEYFOLD_TEST_PRIVATE=1", "KEYFOLD_TEST_REQUIRE=1",
		"KEYFOLD_TEST_MARIADB_OPTIONS="+strings.Join(options, "\n"))
	var messages strings.Builder
	cmd.Stderr = &messages
	input, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	output, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stop := func() {
		_ = input.Close() // ends cat, and with it the script and the server
		_, _ = io.Copy(io.Discard, output)
		_ = cmd.Wait()
	}
	dsn, _ := bufio.NewReader(output).ReadString('\n')
	config, err := parseMariaDB(strings.TrimSpace(dsn))
	if dsn == "" || err != nil {
		stop()
		if os.Getenv("CI") == "true" || os.Getenv("KEYFOLD_TEST_REQUIRE") == "1" {
			t.Fatalf("testdb: no private MariaDB server: %s", messages.String())
		}
		t.Skipf("testdb: no private MariaDB server: %s", messages.String())
	}
	t.Cleanup(stop)
	return config
}

// moduleRoot returns the directory of go.mod above the package under test.
func moduleRoot(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for ; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "scripts", "services")); err == nil {
			return dir
		}
		if dir == filepath.Dir(dir) {
			t.Fatal("testdb: no scripts/services above the working directory")
		}
	}
}
