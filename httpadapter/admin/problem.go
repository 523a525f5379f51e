package admin

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/httpadapter"
)

const problemType = "application/problem+json"

// problem makes a Problem an answer of huma. It never repeats a value that was
// sent, or a name that the client made up.
type problem struct {
	httpadapter.Problem
	Allow string `json:"-"` // the Allow header; empty: none
}

var (
	_ huma.StatusError       = (*problem)(nil)
	_ huma.HeadersError      = (*problem)(nil)
	_ huma.ContentTypeFilter = (*problem)(nil)
)

func newProblem(status int, code, detail string) *problem {
	return &problem{Problem: httpadapter.Problem{Title: http.StatusText(status), Status: status, Code: code, Detail: detail}}
}

func invalidProblem(field, reason string) *problem {
	return &problem{Problem: httpadapter.ProblemOf(&keyfold.InvalidError{Field: field, Reason: reason})}
}

// Error is the detail: a problem is also what huma takes for an error.
func (p *problem) Error() string { return p.Detail }

// GetStatus is the status, for huma.
func (p *problem) GetStatus() int { return p.Status }

// GetHeaders is the headers that depend on the problem, for huma, which adds
// them to those that are set.
func (p *problem) GetHeaders() http.Header {
	h := p.Header()
	h.Del("Cache-Control") // set already
	h.Del("Content-Type")  // by ContentType
	return h
}

// ContentType is that of problem documents, for huma.
func (p *problem) ContentType(string) string { return problemType }

// write answers a request that did not get as far as huma.
func (p *problem) write(w http.ResponseWriter) {
	if p.Allow != "" {
		w.Header().Set("Allow", p.Allow)
	}
	p.Problem.Write(w)
}

// refuse turns an error of the Service into the answer to it.
func (a *api) refuse(ctx context.Context, err error) error {
	if p, ok := errors.AsType[*problem](err); ok {
		return p
	}
	p := &problem{Problem: httpadapter.ProblemOf(err)}
	if p.Status >= http.StatusInternalServerError && ctx.Err() == nil { // else the client went away
		a.log.LogAttrs(ctx, slog.LevelError, "keyfold: admin request failed", slog.String("error", err.Error()))
	}
	return p
}

// ownProblems turns what huma itself refuses into problems of this package. It
// leaves out the values and names that huma would send back.
func ownProblems(ctx huma.Context, _ string, v any) (any, error) {
	if _, ours := v.(*problem); ours {
		return v, nil
	}
	refused, ok := v.(huma.StatusError)
	if !ok {
		return v, nil
	}
	ctx.SetHeader("Content-Type", problemType)
	p := newProblem(refused.GetStatus(), "invalid", "")
	model, ok := v.(*huma.ErrorModel)
	switch {
	case p.Status >= http.StatusInternalServerError:
		p.Code = "internal"
	case ok && len(model.Errors) > 0:
		_, field, _ := strings.Cut(model.Errors[0].Location, ".") // query.limit
		if isDeclared(ctx.Operation(), field) {
			p.Field, p.Detail = field, model.Errors[0].Message
		}
	}
	return p, nil
}

// isDeclared reports whether a name is a parameter of the operation, and not of
// the client's own making.
func isDeclared(op *huma.Operation, name string) bool {
	return slices.ContainsFunc(op.Parameters, func(p *huma.Param) bool { return p.Name == name })
}

// encodeJSON writes v whole. A client that does not take it is gone, and that
// is no error of this side.
func encodeJSON(w io.Writer, v any) error {
	encoded, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, _ = w.Write(append(encoded, '\n'))
	return nil
}
