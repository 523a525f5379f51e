//go:build unix

package fromenv_test

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/keyfold/keyfold/fromenv"
)

// warningsOf returns the warnings for a .env file with the text, the mode and the owner,
// and for the variables.
func warningsOf(t *testing.T, text string, mode os.FileMode, owner int, environ ...string) []string {
	t.Helper()
	path := write(t, ".env", text)
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
	if owner >= 0 {
		if err := os.Chown(path, owner, -1); err != nil {
			t.Fatal(err)
		}
	}
	config, err := fromenv.ReadConfig(&fromenv.Source{File: path, Environ: append([]string{}, environ...)})
	if err != nil {
		t.Fatal(err)
	}
	return config.Warnings
}

const (
	readable   = "can be read by every user of this machine"
	changeable = "can be changed by every user of this machine"
	foreign    = "belongs to another user"
)

// isMounted reports whether files in the directory are in memory and belong to root, as
// secrets that an orchestrator mounts. All users may read such files.
func isMounted(t *testing.T) bool {
	t.Helper()
	file, err := os.Open(write(t, "file", ""))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	return os.Geteuid() == 0 && fromenv.IsInMemory(file)
}

// Mutation tried: an exposure that is always empty.
func TestExposedFileCausesAWarning(t *testing.T) {
	t.Parallel()
	secret := "KEYFOLD_SECRET='" + goodSecret + "'\n"
	for name, row := range map[string]struct {
		text string
		mode os.FileMode
		want string
	}{
		"its own alone":                            {secret, 0o600, ""},
		"the group may read":                       {secret, 0o640, ""},
		"the group may change":                     {secret, 0o660, ""},
		"everybody may read":                       {secret, 0o644, readable},
		"everybody may read a predecessor's":       {"FASTAPI_AUTH_SECRET='" + goodSecret + "'\n", 0o604, readable},
		"everybody may read a password":            {"POSTGRES_PASSWORD='hunter-two'\n", 0o644, readable},
		"everybody may read what is no secret":     {"KEYFOLD_PREFIX='acme'\n", 0o644, ""},
		"everybody may read other programs' names": {"THEIR_SECRET='hunter-two'\n", 0o644, ""},
		"everybody may change":                     {secret, 0o602, changeable},
		"everybody may change what is no secret":   {"KEYFOLD_PREFIX='acme'\n", 0o606, changeable},
	} {
		t.Run(name, func(t *testing.T) {
			if row.want == readable && isMounted(t) {
				row.want = ""
			}
			got := warningsOf(t, row.text, row.mode, -1)
			if row.want == "" && got != nil || row.want != "" && (len(got) != 1 || !strings.Contains(got[0], row.want)) {
				t.Errorf("%s: warnings %q, want %q", name, got, row.want)
			}
			if strings.Contains(strings.Join(got, ""), goodSecret) {
				t.Errorf("%s: the warning contains the secret", name)
			}
		})
	}
}

func TestFileOfAnotherUserCausesAWarning(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("only root can give a file away")
	}
	const nobody = 65534
	got := warningsOf(t, "KEYFOLD_PREFIX='acme'\n", 0o600, nobody)
	if len(got) != 1 || !strings.Contains(got[0], foreign) {
		t.Errorf("warnings %q, want one that it %s", got, foreign)
	}
	if got := warningsOf(t, "KEYFOLD_PREFIX='acme'\n", 0o600, 0); got != nil {
		t.Errorf("root's: warnings %q, want none", got)
	}
}

func TestExposedSecretFileCausesAWarning(t *testing.T) {
	t.Parallel()
	path := write(t, "secret", goodSecret)
	for mode, want := range map[os.FileMode]string{0o400: "", 0o440: "", 0o444: readable, 0o666: changeable} {
		if want == readable && isMounted(t) {
			want = ""
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		config := mustRead(t, "KEYFOLD_SECRET_FILE="+path)
		if warned := slices.ContainsFunc(config.Warnings, func(w string) bool { return strings.Contains(w, "KEYFOLD_SECRET_FILE names "+want) }); warned != (want != "") {
			t.Errorf("mode %o: warnings %q, want %q", mode, config.Warnings, want)
		}
		if strings.Contains(strings.Join(config.Warnings, ""), path) {
			t.Errorf("mode %o: a warning contains the path, which may be a secret under the wrong name: %q", mode, config.Warnings)
		}
	}
}
