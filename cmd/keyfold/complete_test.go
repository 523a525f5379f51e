package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// completions asks the command what could stand at the end of a line.
func completions(t *testing.T, args ...string) []string {
	t.Helper()
	got := call(t, map[string]string{"KEYFOLD_DATABASE_URL": "postgres://u:hunter-two@h/d"}, append([]string{"__complete"}, args...)...)
	if got.code != exitOK || strings.Contains(got.stdout+got.stderr, "hunter") {
		t.Fatalf("__complete %q: %+v", args, got)
	}
	lines := strings.Split(strings.TrimSpace(got.stdout), "\n")
	if directive := lines[len(lines)-1]; directive != ":4" { // ShellCompDirectiveNoFileComp
		t.Errorf("__complete %q ends with %q, want no names of files", args, directive)
	}
	words := []string{}
	for _, line := range lines[:len(lines)-1] {
		word, _, _ := strings.Cut(line, "\t")
		words = append(words, word)
	}
	return words
}

func TestCompletion(t *testing.T) {
	t.Parallel()
	for line, want := range map[string][]string{
		"keys r":                       {"renew", "revoke", "rotate"},
		"keys ":                        {"create", "delete", "disable", "enable", "list", "renew", "revoke", "rotate", "show", "update", "verify"},
		"usage ":                       {"events", "export", "report", "totals"},
		"keys revoke ":                 {},
		"keys list --state ":           {"active", "expired", "user_disabled", "disabled", "revoked"},
		"keys list --state d":          {"disabled"},
		"users list --state ":          {"active", "disabled"},
		"usage report --by ":           {"hour", "day"},
		"usage events --outcome user_": {"user_disabled"},
		"usage totals --outcome ":      outcomeNames(),
		"serve --log-format ":          {"text", "json"},
		"keys rotate --over":           {"--overlap"},
		"keys list --owner ":           {},
		"completion ":                  {"bash", "fish", "powershell", "zsh"},
	} {
		t.Run(line, func(t *testing.T) {
			if got := completions(t, strings.Split(line, " ")...); !slices.Equal(got, want) {
				t.Errorf("keyfold %s… completes to %q, want %q", line, got, want)
			}
		})
	}
}

func TestEachShellHasAScript(t *testing.T) {
	t.Parallel()
	for shell, mark := range map[string]string{
		"bash": "complete -o default -F __start_keyfold keyfold", "zsh": "#compdef keyfold", "fish": "complete -c keyfold", "powershell": "Register-ArgumentCompleter",
	} {
		t.Run(shell, func(t *testing.T) {
			script := call(t, nil, "completion", shell)
			if script.code != exitOK || script.stderr != "" || !strings.Contains(script.stdout, mark) {
				t.Errorf("completion %s: exit code %d, %q; want %q", shell, script.code, script.stderr, mark)
			}
			// Where the shell is installed, it has to be able to read it.
			if _, err := exec.LookPath(shell); err == nil && shell != "powershell" {
				cmd := exec.Command(shell, "-n")
				cmd.Stdin = strings.NewReader(script.stdout)
				if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
					t.Errorf("%s -n: %v: %s", shell, err, out)
				}
			}
		})
	}
	for _, args := range [][]string{{"tcsh"}, {"bash", "x"}} {
		if got := call(t, nil, append([]string{"completion"}, args...)...); got.code != exitUsage || got.stdout != "" {
			t.Errorf("completion %q: %+v", args, got)
		}
	}
}

// bashCompletion is what the package bash-completion gives to scripts of
// completion, where it is not installed.
const bashCompletion = `_get_comp_words_by_ref() { words=("${COMP_WORDS[@]}"); cword=$COMP_CWORD; cur=${words[cword]}; prev=${words[cword-1]}; }`

// tab prints what bash offers when the tabulator is pressed behind a line.
const tab = `
source completion
COMP_LINE=$1 COMP_POINT=${#1} COMP_TYPE=9
read -ra COMP_WORDS <<<"$1"
[[ $1 != *' ' ]] || COMP_WORDS+=('')
COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
compopt() { :; }
__start_keyfold
printf '%s\n' "${COMPREPLY[@]}"
`

func TestBashCompletes(t *testing.T) {
	t.Parallel()
	bash, err := exec.LookPath("bash")
	if err != nil {
		if os.Getenv("CI") == "true" || os.Getenv("KEYFOLD_TEST_REQUIRE") == "1" {
			t.Fatal("bash is not installed")
		}
		t.Skip("bash is not installed")
	}
	dir := t.TempDir()
	script := execute(t, dir, environment(""), "completion", "bash")
	if err := os.WriteFile(filepath.Join(dir, "completion"), []byte(script.stdout), 0o600); err != nil {
		t.Fatal(err)
	}
	setups := []string{bashCompletion}
	if _, err := os.Stat("/usr/share/bash-completion/bash_completion"); err == nil {
		setups = append(setups, "source /usr/share/bash-completion/bash_completion")
	}
	for line, want := range map[string][]string{
		"keyfold keys r":              {"renew", "revoke", "rotate"},
		"keyfold keys list --state e": {"expired"},
		"keyfold usage report --by ":  {"day", "hour"},
		"keyfold mig":                 {"migrate"},
		"keyfold keys revoke 8fJ2kQ":  {},
	} {
		t.Run(line, func(t *testing.T) {
			for _, setup := range setups {
				cmd := exec.Command(bash, "--noprofile", "--norc", "-c", setup+tab, "bash", line)
				cmd.Dir, cmd.Env = dir, []string{"PATH=" + filepath.Dir(binary) + string(filepath.ListSeparator) + os.Getenv("PATH")}
				out, err := cmd.Output()
				if err != nil {
					t.Errorf("%q: %v", line, err)
				}
				var words []string
				for offered := range strings.Lines(string(out)) { // "renew    (Give a key more time)"
					if fields := strings.Fields(offered); len(fields) > 0 {
						words = append(words, fields[0])
					}
				}
				slices.Sort(words)
				if !slices.Equal(words, want) {
					t.Errorf("%q completes to %q, want %q", line, words, want)
				}
			}
		})
	}
}
