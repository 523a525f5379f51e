package keyfold

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Rules are the rules under which a program creates keys and users. A program
// that owns a database publishes its own, so that another one which only visits,
// such as the keyfold command, can follow them.
type Rules struct {
	Prefix      string
	Environment string
	KeyTTL      time.Duration // [Never] for no end
	MaxOverlap  time.Duration
	// Scopes are those that keys may be given; nil for any, and empty for none.
	Scopes []string
	// MinPasswordLength and MaxPasswordLength are the lengths of passwords, in characters. The
	// functions of a [PasswordPolicy] cannot be published.
	MinPasswordLength, MaxPasswordLength int
}

// keyRulesSetting is the name of the setting that holds the published rules, and
// the target of their change in the audit log.
const keyRulesSetting = "key_rules"

// maxKeyRules bounds the published rules, in bytes. A list of scopes may be long.
const maxKeyRules = 1 << 20

// storedRules is how rules are stored.
type storedRules struct {
	Prefix      string   `json:"prefix"`
	Environment string   `json:"environment"`
	KeyTTL      int64    `json:"key_ttl_ms"` // -1 for no end
	MaxOverlap  int64    `json:"max_overlap_ms"`
	Scopes      []string `json:"scopes"`
	MinPassword int      `json:"min_password"`
	MaxPassword int      `json:"max_password"`
}

// Rules returns the rules of this Service, as its Options say.
func (s *Service) Rules() Rules {
	o := s.opts
	return Rules{
		Prefix: o.Prefix, Environment: o.Environment, KeyTTL: o.KeyTTL, MaxOverlap: o.MaxOverlap,
		Scopes: slices.Clone(o.Scopes), MinPasswordLength: o.PasswordPolicy.MinLength, MaxPasswordLength: o.PasswordPolicy.MaxLength,
	}
}

// PublishRules stores the rules of this Service in the database, with a row in
// the audit log if they differ from those that are published. A program calls it
// when it owns the database; nothing publishes rules by itself. Errors:
// [InvalidError] when the scopes are longer than 1 MiB, ctx's own, [ErrUnavailable].
func (s *Service) PublishRules(ctx context.Context) error {
	rules := s.Rules()
	value, err := json.Marshal(rules.stored())
	if err != nil {
		return err // only strings and numbers get here
	}
	if len(value) > maxKeyRules {
		return invalid("Options.Scopes", "must be at most 1 MiB in total to be published")
	}
	before, err := s.PublishedRules(ctx)
	switch {
	case errors.Is(err, ErrNotFound):
	case err != nil:
		return err
	case equalRules(before, rules):
		return nil
	}
	m := newMutation(ctx, s.now(), "setting.key_rules", keyRulesSetting, nil, nil)
	m.After = string(value)
	if err == nil {
		old, _ := json.Marshal(before.stored())
		m.Before = string(old)
	}
	return storeError(ctx, s.store.SetSetting(ctx, keyRulesSetting, string(value), m))
}

// PublishedRules returns the rules that were published last, or [ErrNotFound].
// Other errors: ctx's own, [ErrUnavailable].
func (s *Service) PublishedRules(ctx context.Context) (Rules, error) {
	value, err := s.store.Setting(ctx, keyRulesSetting)
	if err != nil {
		return Rules{}, storeError(ctx, err)
	}
	var stored storedRules
	if err := json.Unmarshal([]byte(value), &stored); err != nil {
		return Rules{}, &unavailable{cause: fmt.Errorf("keyfold: the published key rules are damaged: %w", err)}
	}
	return stored.rules(), nil
}

func (r *Rules) stored() storedRules {
	stored := storedRules{
		Prefix: r.Prefix, Environment: r.Environment, KeyTTL: r.KeyTTL.Milliseconds(), MaxOverlap: r.MaxOverlap.Milliseconds(),
		Scopes: r.Scopes, MinPassword: r.MinPasswordLength, MaxPassword: r.MaxPasswordLength,
	}
	if r.KeyTTL == Never {
		stored.KeyTTL = -1
	}
	return stored
}

func (r *storedRules) rules() Rules {
	rules := Rules{
		Prefix: r.Prefix, Environment: r.Environment, KeyTTL: time.Duration(r.KeyTTL) * time.Millisecond,
		MaxOverlap: time.Duration(r.MaxOverlap) * time.Millisecond, Scopes: r.Scopes, MinPasswordLength: r.MinPassword, MaxPasswordLength: r.MaxPassword,
	}
	if r.KeyTTL < 0 {
		rules.KeyTTL = Never
	}
	return rules
}

func equalRules(a, b Rules) bool {
	left, _ := json.Marshal(a.stored())
	right, _ := json.Marshal(b.stored())
	return string(left) == string(right)
}
