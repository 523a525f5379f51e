package main

import (
	"crypto/rand"

	"github.com/keyfold/keyfold/fromenv"
)

// ensureSecret generates an admin secret if none is set, and reports whether it did.
func ensureSecret(config *fromenv.Config) (generated bool, err error) {
	switch {
	case config.Secret.IsSet():
		return false, nil
	case config.Database.Engine() != "sqlite":
		return false, usage(`KEYFOLD_SECRET must be set, because several servers can share this database; generate a value with "openssl rand -hex 32"`)
	}
	config.Secret = fromenv.NewSecret(rand.Text() + rand.Text())
	return true, nil
}
