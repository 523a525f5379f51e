package main

import (
	"crypto/rand"

	"github.com/keyfold/keyfold/fromenv"
)

// ensureSecret makes an admin secret where none is set, and reports whether it
// did.
func ensureSecret(config *fromenv.Config) (made bool, err error) {
	switch {
	case config.Secret.IsSet():
		return false, nil
	case config.Database.Engine() != "sqlite":
		return false, usage("KEYFOLD_SECRET must be set: each process would make another one for a database that several can share; make one with: openssl rand -hex 32")
	}
	config.Secret = fromenv.NewSecret(rand.Text() + rand.Text())
	return true, nil
}
