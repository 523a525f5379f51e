package fromenv_test

import (
	"strings"
	"testing"

	"github.com/keyfold/keyfold/fromenv"
)

// Outside single quotes, godotenv expands "$" and a name to a variable of the same file.
// Mutation tried: expandedNames without the mark.
func TestDollarOutsideSingleQuotesIsAnError(t *testing.T) {
	t.Parallel()
	const url = "postgres://u:pa$WORD@h/d"
	for line, want := range map[string]string{
		"KEYFOLD_DATABASE_URL='" + url + "'":                                       url,
		"KEYFOLD_DATABASE_URL=" + url:                                              "",
		"KEYFOLD_DATABASE_URL=\"" + url + "\"":                                     "",
		"export KEYFOLD_DATABASE_URL=" + url:                                       "",
		"KEYFOLD_DATABASE_URL: " + url:                                             "",
		"KEYFOLD_DATABASE_URL=postgres://u:pa$word@h/d":                            "", // this parser keeps the $, but shells expand it
		"KEYFOLD_DATABASE_URL=postgres://u:pa$@h/d":                                "",
		"KEYFOLD_DATABASE_URL=postgres://u:${WORD}@h/d":                            "",
		"WORD=x\nKEYFOLD_DATABASE_URL=postgres://u:${WORD}@h/d":                    "",
		"KEYFOLD_DATABASE_URL=\"postgres://u:pa\\$WORD@h/d\"":                      url,
		"KEYFOLD_DATABASE_URL='postgres://u:p@h/d' # costs $US 5":                  "postgres://u:p@h/d",
		"OTHER=$X\nKEYFOLD_DATABASE_URL='postgres://u:p@h/d'":                      "postgres://u:p@h/d",
		"KEYFOLD_DATABASE_URL='postgres://u:p@h/d'\n# costs $US 5\nOTHER=\"${A}\"": "postgres://u:p@h/d",
	} {
		t.Run(line, func(t *testing.T) {
			config, err := readFile(t, line+"\n")
			if want == "" {
				wantsError(t, err, "KEYFOLD_DATABASE_URL", `has a "$" outside single quotes in `, "pa$", "WORD@")
				return
			}
			if err != nil || config.Database.Source() != want {
				t.Errorf("%s: %v, want it read as it is", line, err)
			}
		})
	}
	if _, err := readFile(t, "KEYFOLD_DATABASE_URL="+url+"\n", "KEYFOLD_DATABASE_URL="+url); err != nil {
		t.Errorf("a value in the file that the environment replaces: %v", err)
	}
	for _, name := range []string{"KEYFOLD_SECRET", "KEYFOLD_PREVIOUS_SECRET", "KEYFOLD_PEPPERS", "KEYFOLD_PREFIX", "FASTAPI_AUTH_SECRET", "FASTAPI_AUTH_DB_LOCATION"} {
		_, err := readFile(t, name+"=a:f3a91c07d25e48b6a7c0e91f5d38b24c$HOME\n")
		wantsError(t, err, name, `has a "$" outside single quotes`, "f3a91")
	}
	_, err := readFile(t, "DATABASE_MODE=postgres\nPOSTGRES_HOST=h\nPOSTGRES_USER=u\nPOSTGRES_DATABASE=d\nPOSTGRES_PASSWORD=hunter$TWO\n")
	wantsError(t, err, "POSTGRES_PASSWORD", `has a "$" outside single quotes`, "hunter")
}

func TestFileIsReadAsItIsWritten(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"single quotes":         "KEYFOLD_SECRET='" + goodSecret + "'\n",
		"double quotes":         "KEYFOLD_SECRET=\"" + goodSecret + "\"\n",
		"none":                  "KEYFOLD_SECRET=" + goodSecret + "\n",
		"no line break at all":  "KEYFOLD_SECRET=" + goodSecret,
		"CRLF":                  "# first\r\nKEYFOLD_SECRET='" + goodSecret + "'\r\n",
		"a byte order mark":     "\ufeffKEYFOLD_SECRET='" + goodSecret + "'\n",
		"export":                "export KEYFOLD_SECRET='" + goodSecret + "'\n",
		"blanks around =":       "KEYFOLD_SECRET = '" + goodSecret + "'\n",
		"a comment behind":      "KEYFOLD_SECRET='" + goodSecret + "' # mine\n",
		"a comment, no quotes":  "KEYFOLD_SECRET=" + goodSecret + " # mine\n",
		"values over two lines": "OTHER='a\nb'\nKEYFOLD_SECRET='" + goodSecret + "'\n",
	} {
		t.Run(name, func(t *testing.T) {
			config, err := readFile(t, text)
			if err != nil || config.Secret.Reveal() != goodSecret {
				t.Errorf("%s: %v", name, err)
			}
		})
	}
}

func TestErrorOfAMalformedFileNamesTheLine(t *testing.T) {
	t.Parallel()
	for text, line := range map[string]string{
		"hunter-two":                                       "line 1:",
		"A='1'\n# a\n\nhunter two\nB=1":                    "line 4:",
		"A='1'\nKEYFOLD_SECRET='hunter\nB=2\nC=3\n":        "line 2:",
		"A='1\n2\n3'\nB=1\nKEYFOLD-SECRET=hunter\nC=1\n":   "line 5:",
		"A=1\nKEYFOLD_SECRET hunter==\n":                   "line 2:",
		"A=1\nKEYFOLD_SECRET":                              "line 2:",
		"A=1\nKEYFOLD_SECRET='a'hunter\n":                  "line 2:",
		"KEYFOLD_SECRET='hunter\\'\nKEYFOLD_PREFIX='kf'\n": "line 1:",
	} {
		path := write(t, ".env", text)
		_, err := fromenv.ReadConfig(&fromenv.Source{File: path, Environ: []string{}})
		wantsError(t, err, path, line, "hunter")
	}
	path := write(t, ".env", strings.Repeat("A=1\n", 20_000))
	_, err := fromenv.ReadConfig(&fromenv.Source{File: path, Environ: []string{}})
	wantsError(t, err, path, "larger than 64 KiB")
}

// ReadConfig must not panic, and its error must not contain a part of the file.
func FuzzFile(f *testing.F) {
	for _, seed := range []string{"KEYFOLD_ADDR=':1'", "A=$B", "A='", "A=\"\\", "export A", ": =", "KEYFOLD_SECRET a=b", "\ufeff#", "KEYFOLD_KEY_TTL=\"$A\\n\"\r\n"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		const canary = "hunter-two-canary"
		_, err := readFile(t, text+"\nKEYFOLD_SECRET='"+canary)
		if err != nil && strings.Contains(err.Error(), canary) {
			t.Errorf("%q: %v", text, err)
		}
	})
}
