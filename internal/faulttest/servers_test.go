package faulttest_test

import (
	"bufio"
	"context"
	"database/sql"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/go-sql-driver/mysql"
)

// servers are the database servers of one test.
type servers struct {
	script    string
	variables map[string]string // the variables that the script sets
}

// startServers starts servers with one of the scripts. The servers stop when the test
// or its process ends, because the command that the script runs ends with its input.
func startServers(t *testing.T, script string, names ...string) *servers {
	t.Helper()
	s := &servers{script: "../../scripts/" + script, variables: map[string]string{}}
	cmd := exec.Command(s.script, append(append([]string{"run"}, names...), "--", "sh", "-c", "env; echo; exec cat")...)
	cmd.Env = s.environment()
	cmd.Stderr = os.Stderr
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
	t.Cleanup(func() {
		_ = input.Close()
		_, _ = io.Copy(io.Discard, output)
		_ = cmd.Wait()
	})
	for lines := bufio.NewScanner(output); lines.Scan() && lines.Text() != ""; {
		if name, value, _ := strings.Cut(lines.Text(), "="); strings.HasPrefix(name, "KEYFOLD_") {
			s.variables[name] = value
		}
	}
	if len(s.variables) == 0 {
		t.Fatalf("scripts/%s did not start what this test needs", script)
	}
	return s
}

// environment returns the environment of this process without the variables that name
// existing servers.
func (s *servers) environment() []string {
	var env []string
	for _, variable := range os.Environ() {
		if !strings.HasPrefix(variable, "KEYFOLD_TEST_") {
			env = append(env, variable)
		}
	}
	env = append(env, "KEYFOLD_TEST_PRIVATE=1", "KEYFOLD_TEST_REQUIRE=1", "KEYFOLD_TEST_DURABLE=1")
	for name, value := range s.variables {
		env = append(env, name+"="+value)
	}
	return env
}

// do runs a command of the script on the servers.
func (s *servers) do(t *testing.T, args ...string) {
	t.Helper()
	cmd := exec.Command(s.script, args...)
	cmd.Env, cmd.Stderr = s.environment(), os.Stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s %v: %v", s.script, args, err)
	}
}

// private is a server that only one test uses. It has an empty database.
type private struct {
	*servers
	name     string
	database string // its URL
}

// startPrivate starts a PostgreSQL or MariaDB server.
func startPrivate(t *testing.T, name string) private {
	t.Helper()
	s := startServers(t, "services", name)
	if name == "postgres" {
		return private{s, name, s.variables["KEYFOLD_TEST_POSTGRES_DSN"]}
	}
	config, err := mysql.ParseDSN(s.variables["KEYFOLD_TEST_MARIADB_DSN"])
	if err != nil {
		t.Fatal(err)
	}
	return private{s, name, createDatabase(t, config.Addr, "keyfold")}
}

// createDatabase creates a database on a MariaDB server and returns its URL.
func createDatabase(t *testing.T, address, name string) string {
	t.Helper()
	db := mysqlPool(t, address)
	if _, err := db.ExecContext(t.Context(), "CREATE DATABASE "+name+" CHARACTER SET utf8mb4"); err != nil {
		t.Fatal(err)
	}
	return "mysql://root@" + address + "/" + name
}

// mysqlPool returns a pool of connections to a MariaDB server as its administrator.
func mysqlPool(t *testing.T, address string) *sql.DB {
	t.Helper()
	db, err := sql.Open("mysql", fmt.Sprintf("root@tcp(%s)/", address))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// pause waits until d has passed or ctx is done.
func pause(ctx context.Context, d moment) {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	<-ctx.Done()
}
