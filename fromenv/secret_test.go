package fromenv_test

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/keyfold/keyfold/fromenv"
)

func TestWeakSecretsAreRefused(t *testing.T) {
	t.Parallel()
	for _, row := range []struct{ name, value, says string }{
		{"empty", "", "is set but blank"},
		{"blank", strings.Repeat(" ", 40), "is set but blank"},
		{"a comment", "# set your secret key here, at least 32 characters", "is a comment, not a value"},
		{"a comment after a blank", " # put 32 random characters in this place", "is a comment, not a value"},
		{"the predecessor's example", "# set your secret key here", "is a comment, not a value"},
		{"the same without its sign", "set your secret key here", "is an example from documentation"},
		{"the predecessor's test image", "TEST_SECRET", "is an example from documentation"},
		{"an example", "Change-Me-To-Something-Random-1234567", "is an example from documentation"},
		{"another", "your-secret-key-of-32-characters-or-more", "is an example from documentation"},
		{"one of ours", "an-admin-secret-of-32-characters", "is an example from documentation"},
		{"another of ours", "read-this-from-a-file-or-a-variable", "is an example from documentation"},
		{"digits in order", "0123456789abcdef0123456789abcdef", "is an example from documentation"},
		{"not ASCII", goodSecret + "ä", "contains characters other than printable ASCII"},
		{"a new line at its end", goodSecret + "\n", "contains characters other than printable ASCII"},
		{"a blank at its end", goodSecret + " ", "has white space around it"},
		{"quotes around it", "'" + goodSecret + "'", "has quotes around it"},
		{"one character", strings.Repeat("x", 32), "is not random"},
		{"513 characters", strings.Repeat(goodSecret, 16) + "x", "is longer than 512 characters"},
	} {
		t.Run(row.name, func(t *testing.T) {
			names := []string{"KEYFOLD_SECRET", "KEYFOLD_PREVIOUS_SECRET", "FASTAPI_AUTH_SECRET", "FASTAPI_SIMPLE_SECURITY_SECRET"}
			for _, name := range names {
				_, err := read(name + "=" + row.value)
				wantsError(t, err, name, row.says, strings.TrimSpace(row.value))
				if !strings.Contains(err.Error(), "openssl rand -hex 32") {
					t.Errorf("%s: the error does not say how to make one: %v", row.name, err)
				}
			}
		})
	}
}

// The example of the predecessor has a comment directly after "=", which the parser reads
// as the value. Everyone who has seen the example knows this secret.
func TestPredecessorsExampleSecretIsRefused(t *testing.T) {
	t.Parallel()
	_, err := readFile(t, "FASTAPI_AUTH_SECRET= # set your secret key here\nFASTAPI_AUTH_AUTOMATIC_EXPIRATION=15 # Default=15\nFASTAPI_AUTH_DB_LOCATION=sqlite.db # change location of sqlite.db\n")
	wantsError(t, err, "FASTAPI_AUTH_SECRET", "is a comment, not a value", "set your secret")
	config, err := readFile(t, "FASTAPI_AUTH_AUTOMATIC_EXPIRATION=15 # Default=15\nFASTAPI_AUTH_DB_LOCATION=sqlite.db # change location of sqlite.db\n")
	if err != nil || config.Options().KeyTTL != 15*day || config.Database.Source() != "sqlite.db" {
		t.Errorf("the rest of it: %+v, %v", config, err)
	}
}

// Mutation tried: no comparison of the two secrets.
func TestPreviousSecretMustDiffer(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"KEYFOLD_SECRET", "FASTAPI_AUTH_SECRET"} {
		_, err := read(name+"="+goodSecret, "KEYFOLD_PREVIOUS_SECRET="+goodSecret)
		wantsError(t, err, "KEYFOLD_PREVIOUS_SECRET", "must differ from "+name, goodSecret)
	}
	mustRead(t, "KEYFOLD_SECRET="+goodSecret, "KEYFOLD_PREVIOUS_SECRET="+otherSecret)
}

func TestShortSecretsAreAcceptedOnlyUnderThePredecessorsNames(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"FASTAPI_AUTH_SECRET", "FASTAPI_SIMPLE_SECURITY_SECRET"} {
		t.Run(name, func(t *testing.T) {
			for _, secret := range []string{goodSecret[:8], goodSecret[:31], "garden gate 7"} {
				config := mustRead(t, name+"="+secret)
				if config.Secret.Reveal() != secret || !config.ShortSecret || len(config.Warnings) != 1 ||
					!strings.Contains(config.Warnings[0], name+" is shorter than 32 characters") || strings.Contains(config.Warnings[0], secret) {
					t.Errorf("%s of %d characters: %+v", name, len(secret), config)
				}
			}
			if config := mustRead(t, name+"="+goodSecret); config.ShortSecret || config.Warnings != nil {
				t.Errorf("%s of 32 characters: %+v", name, config)
			}
			for secret, says := range map[string]string{goodSecret[:7]: "is shorter than 8 characters", "aaaaaaaaab": "is not random"} {
				_, err := read(name + "=" + secret)
				wantsError(t, err, name, says, secret)
			}
		})
	}
	for _, name := range []string{"KEYFOLD_SECRET", "KEYFOLD_PREVIOUS_SECRET"} {
		_, err := read(name + "=" + goodSecret[:31])
		wantsError(t, err, name, "is shorter than 32 characters", goodSecret[:31])
	}
}

func TestPreviousSecretNeedsASecret(t *testing.T) {
	t.Parallel()
	_, err := read("KEYFOLD_PREVIOUS_SECRET=" + goodSecret)
	wantsError(t, err, "KEYFOLD_PREVIOUS_SECRET", "is set, but KEYFOLD_SECRET is not", goodSecret)
}

// Each secret contains a canary, which no representation of a Config may contain.
// Mutations tried: Secret with a string instead of its pointer; Peppers in the options of
// the Config; Database with a string instead of its source.
func TestConfigHidesItsSecrets(t *testing.T) {
	t.Parallel()
	const canary = "c4n4ry"
	secret := func(i int) string { return fmt.Sprintf("%d%s%s", i, canary, goodSecret) }
	config := mustRead(t, "KEYFOLD_SECRET="+secret(1), "KEYFOLD_PREVIOUS_SECRET="+secret(2), "KEYFOLD_PEPPERS=a:"+secret(3), "KEYFOLD_CURRENT_PEPPER=a",
		"KEYFOLD_DATABASE_URL=postgres://"+canary+":"+secret(4)+"@h/d?password="+secret(5), "KEYFOLD_PREFIX=visible")
	hidden := struct {
		config  fromenv.Config
		pointer *fromenv.Config
		secret  fromenv.Secret
		db      fromenv.Database
		list    []fromenv.Secret
	}{*config, config, config.Secret, config.Database, []fromenv.Secret{config.Secret}}
	shown := map[string]string{}
	for name, v := range map[string]any{
		"Config": *config, "*Config": config, "Secret": config.Secret, "*Secret": &config.Secret, "Database": config.Database,
		"Warnings": config.Warnings, "unexported fields": hidden, "pointer to them": &hidden,
	} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%08b", "%t", "%p", "%T", "%e"} {
			shown[verb+" of "+name] = fmt.Sprintf(verb, v)
		}
		if text, err := json.Marshal(v); err == nil {
			shown["JSON of "+name] = string(text)
		}
		if text, err := xml.Marshal(v); err == nil {
			shown["XML of "+name] = string(text)
		}
		var log bytes.Buffer
		slog.New(slog.NewTextHandler(&log, nil)).Info("m", "v", v)
		slog.New(slog.NewJSONHandler(&log, nil)).Info("m", "v", v)
		shown["slog of "+name] = log.String()
	}
	for name, text := range shown {
		if strings.Contains(text, canary) || strings.Contains(text, fmt.Sprintf("%x", canary)) || strings.Contains(text, fmt.Sprintf("%X", canary)) {
			t.Errorf("%s shows a secret: %s", name, text)
		}
	}
	if got := shown["%+v of Config"]; !strings.Contains(got, "postgres://h/d") || !strings.Contains(got, "[secret]") || !strings.Contains(got, "visible") {
		t.Errorf("%%+v shows too little: %s", got)
	}
	if got := shown["JSON of Config"]; !strings.Contains(got, `"Database":"postgres://h/d"`) || !strings.Contains(got, `"Secret":"[secret]"`) {
		t.Errorf("JSON shows too little: %s", got)
	}
	if got := fmt.Sprint(fromenv.Secret{}, fromenv.NewSecret("")); got != "[no secret] [no secret]" {
		t.Errorf("no secret is shown as %s", got)
	}
}
