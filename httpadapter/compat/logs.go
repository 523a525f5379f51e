package compat

import (
	"bufio"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"

	"github.com/keyfold/keyfold"
)

// logPage is the number of keys in memory at a time.
const logPage = 200

// logLine is a key in /logs, with the names, the order and the nulls of the contract.
type logLine struct {
	APIKey          string  `json:"api_key"`
	Name            *string `json:"name"`
	Username        *string `json:"username"`
	Email           *string `json:"email"`
	IsActive        bool    `json:"is_active"`
	NeverExpire     bool    `json:"never_expire"`
	ExpirationDate  string  `json:"expiration_date"`
	LatestQueryDate *string `json:"latest_query_date"`
	TotalQueries    int64   `json:"total_queries"`
}

// logs lists all keys, the newest first. It reads them in pages of [logPage]; a key that
// exists during the whole request is listed once. If a later page cannot be read, the JSON
// is left incomplete, so that the client does not take it for the whole list.
func (h *handler) logs(w http.ResponseWriter, r *http.Request, _ params) error {
	ctx := r.Context()
	if err := h.svc.Flush(ctx); err != nil && ctx.Err() == nil {
		h.gate.Logger().LogAttrs(ctx, slog.LevelWarn, "keyfold: the counts in /logs lack the latest uses", slog.Any("error", err))
	}
	lines, next, err := h.logPage(ctx, "")
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	out := bufio.NewWriter(w)
	_, _ = out.WriteString(`{"logs":[`)
	for comma := ""; ; {
		for i := range lines {
			_, _ = out.WriteString(comma)
			_, _ = out.Write(encode(&lines[i]))
			comma = ","
		}
		if err := out.Flush(); err != nil {
			return nil // the client is gone
		}
		if next == "" {
			break
		}
		if lines, next, err = h.logPage(ctx, next); err != nil {
			if ctx.Err() == nil {
				h.gate.Logger().LogAttrs(ctx, slog.LevelError, "keyfold: compat request failed half-way", slog.Any("error", err))
			}
			return nil
		}
	}
	_, _ = io.WriteString(w, "]}")
	return nil
}

// logPage returns the lines of a page, and the cursor of the next page.
func (h *handler) logPage(ctx context.Context, cursor string) (lines []logLine, next string, err error) {
	page, err := h.svc.Keys(ctx, keyfold.KeyQuery{Cursor: cursor, Limit: logPage})
	if err != nil {
		return nil, "", err
	}
	users := map[string]keyfold.User{}
	for i := range page.Keys {
		key := &page.Keys[i]
		user, known := users[key.UserID]
		if key.UserID != "" && !known {
			if user, err = h.svc.User(ctx, key.UserID); err != nil && !errors.Is(err, keyfold.ErrNotFound) {
				return nil, "", err
			}
			users[key.UserID] = user
		}
		lines = append(lines, newLogLine(key, &user))
	}
	return lines, page.Next, nil
}

func newLogLine(key *keyfold.Key, user *keyfold.User) logLine {
	line := logLine{
		APIKey: beginning(key), Name: orNull(key.Name), Username: orNull(user.Username), Email: orNull(user.Email),
		IsActive:       key.DisabledAt.IsZero() && key.RevokedAt.IsZero() && !key.UserDisabled,
		NeverExpire:    key.ExpiresAt.IsZero(),
		ExpirationDate: formatDate(key.ExpiresAt),
		TotalQueries:   key.Uses,
	}
	if line.Username == nil {
		line.Username = line.Name
	}
	if !key.LastUsedAt.IsZero() {
		line.LatestQueryDate = orNull(formatDate(key.LastUsedAt))
	}
	return line
}

func orNull(text string) *string {
	if text == "" {
		return nil
	}
	return &text
}
