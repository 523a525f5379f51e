package compat

import (
	"bytes"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/httpadapter"
)

// refusal is the answer {"detail":…} to a request that failed.
type refusal struct {
	status int
	detail any           // a text, or faults
	wait   time.Duration // zero: no Retry-After
}

func (r *refusal) Error() string { return http.StatusText(r.status) }

// fault describes a parameter that is missing or wrong, in the form of FastAPI.
type fault struct {
	Loc  []string `json:"loc"`
	Msg  string   `json:"msg"`
	Type string   `json:"type"`
}

// faulty returns the 422 for a parameter, or for all of them if there is no name.
func faulty(msg, kind, in string, name ...string) *refusal {
	return &refusal{
		status: http.StatusUnprocessableEntity,
		detail: []fault{{Loc: append([]string{in}, name...), Msg: msg, Type: kind}},
	}
}

func missing(name string) *refusal {
	return faulty("field required", "value_error.missing", "query", name)
}

// refuse answers a request with an error.
func (h *handler) refuse(w http.ResponseWriter, r *http.Request, err error) {
	refused, ok := errors.AsType[*refusal](err)
	if !ok {
		refused = refusalOf(err)
		if refused.status >= http.StatusInternalServerError && r.Context().Err() == nil { // else the client went away
			h.gate.Logger().LogAttrs(r.Context(), slog.LevelError, "keyfold: compat request failed", slog.String("error", err.Error()))
		}
	}
	refused.write(w)
}

// refusalOf returns the answer to an error of the Service.
func refusalOf(err error) *refusal {
	if bad, ok := errors.AsType[*keyfold.InvalidError](err); ok {
		return faulty(bad.Reason, "value_error", "query", bad.Field)
	}
	p := httpadapter.ProblemOf(err)
	if errors.Is(err, keyfold.ErrUnavailable) { // an overloaded process returns an ErrRateLimited as well
		p = httpadapter.ProblemOf(keyfold.ErrUnavailable)
	}
	if p.Detail == "" {
		p.Detail = p.Title
	}
	return &refusal{status: p.Status, detail: p.Detail, wait: p.RetryAfter}
}

func (r *refusal) write(w http.ResponseWriter) {
	w.Header().Set("Cache-Control", "no-store")
	if r.wait > 0 {
		w.Header().Set("Retry-After", strconv.FormatInt(int64((r.wait+time.Second-1)/time.Second), 10))
	}
	writeJSON(w, r.status, struct {
		Detail any `json:"detail"`
	}{r.detail})
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(encode(v)) // an error means that the client is gone
}

// encode returns JSON as Python writes it: without escapes for HTML and without a line break
// at the end. No value in this package fails to encode.
func encode(v any) []byte {
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	_ = encoder.Encode(v)
	return bytes.TrimSuffix(out.Bytes(), []byte("\n"))
}
