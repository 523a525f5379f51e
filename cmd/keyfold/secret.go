package main

import (
	"crypto/rand"
	"strings"
)

const (
	secretVariable = "KEYFOLD_SECRET"
	minSecret      = 32
	minDistinct    = 8 // characters that differ; random ones of that length have twenty and more
)

// examples are parts of values that are written in documents, and so known to
// everybody.
var examples = []string{
	"changeme", "change-me", "change_me", "replaceme", "replace-me", "replace_me", "your-secret", "your_secret", "yoursecret",
	"your secret", "set your", "example", "placeholder", "read-this-from", "an-admin-secret", "0123456789abcdef", "password",
}

// adminSecret returns the admin secret, and whether it was made here because
// none is set. Errors never repeat the value.
func (c *command) adminSecret(mayGenerate bool) (secret string, generated bool, err error) {
	secret, set := c.env(secretVariable)
	if !set {
		if !mayGenerate {
			return "", false, usage("%s must be set: each process would make another one for a database that several can share", secretVariable)
		}
		return rand.Text() + rand.Text(), true, nil
	}
	if reason := weakness(secret); reason != "" {
		return "", false, usage("%s %s; make one with: openssl rand -hex 32", secretVariable, reason)
	}
	return secret, false, nil
}

// weakness says what is wrong with a secret, or nothing.
func weakness(secret string) string {
	lower := strings.ToLower(secret)
	distinct := map[rune]bool{}
	for _, r := range secret {
		distinct[r] = true
		if r < ' ' || r > '~' {
			return "holds characters other than printable ASCII"
		}
	}
	switch {
	case strings.TrimSpace(secret) == "":
		return "is set but blank"
	case strings.HasPrefix(strings.TrimSpace(secret), "#"):
		return "is a comment, not a value"
	case secret != strings.TrimSpace(secret):
		return "has blanks around it"
	case len(secret) < minSecret:
		return "is shorter than 32 characters"
	}
	for _, example := range examples {
		if strings.Contains(lower, example) {
			return "is an example out of a document, not a secret"
		}
	}
	if len(distinct) < minDistinct {
		return "is not random"
	}
	return ""
}
