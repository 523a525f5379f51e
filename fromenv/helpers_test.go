package fromenv_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/fromenv"
)

const (
	goodSecret  = "f3a91c07d25e48b6a7c0e91f5d38b24c"
	otherSecret = "07c4e2d9b8a15f36c0de74198ab2f35e"
)

// read reads the variables, each as NAME=value, and no file. It also reads DATABASE_MODE
// and DEV_MODE.
func read(environ ...string) (*fromenv.Config, error) {
	if environ == nil {
		environ = []string{}
	}
	return fromenv.ReadConfig(&fromenv.Source{File: os.DevNull, Environ: environ, Compat: true})
}

// mustRead is like read, but fails the test if there is an error.
func mustRead(t *testing.T, environ ...string) *fromenv.Config {
	t.Helper()
	config, err := read(environ...)
	if err != nil {
		t.Fatalf("Read: %v", err)
	}
	return config
}

// write writes a file in a temporary directory and returns its path.
func write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// readFile reads a .env file with the text, and the variables as the environment.
func readFile(t *testing.T, text string, environ ...string) (*fromenv.Config, error) {
	t.Helper()
	if environ == nil {
		environ = []string{}
	}
	return fromenv.ReadConfig(&fromenv.Source{File: write(t, ".env", text), Environ: environ, Compat: true})
}

// wantsError checks that err is an [fromenv.Error] with the name and the reason, and does
// not contain any of the hidden texts.
func wantsError(t *testing.T, err error, name, reason string, hidden ...string) {
	t.Helper()
	if err == nil {
		t.Errorf("no error, want %s %s", name, reason)
		return
	}
	text := err.Error()
	if detail, ok := errors.AsType[*fromenv.Error](err); !ok || !errors.Is(err, keyfold.ErrInvalid) || !strings.Contains(text, "keyfold: "+name+" ") ||
		!strings.Contains(text, reason) {
		t.Errorf("error %v (%+v), want %s %s", err, detail, name, reason)
	}
	for _, value := range hidden {
		if value != "" && strings.Contains(text, value) {
			t.Errorf("the error repeats %q: %v", value, err)
		}
	}
}
