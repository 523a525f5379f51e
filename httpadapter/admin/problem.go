package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/httpadapter"
)

const problemType = "application/problem+json"

// problem is a Problem that huma can send. It never contains a value that the
// client sent, or a name that the client chose.
type problem struct {
	httpadapter.Problem
	Allow string `json:"-"` // the Allow header, if not empty
}

var (
	_ huma.StatusError       = (*problem)(nil)
	_ huma.HeadersError      = (*problem)(nil)
	_ huma.ContentTypeFilter = (*problem)(nil)
)

func newProblem(status int, code, detail string) *problem {
	return &problem{Problem: httpadapter.Problem{Title: http.StatusText(status), Status: status, Code: code, Detail: detail}}
}

// The problems that this package itself reports.

func malformedBody(detail string) *problem {
	return newProblem(http.StatusBadRequest, "malformed_body", detail)
}

func malformedQuery() *problem {
	return newProblem(http.StatusBadRequest, "malformed_query", "The query is malformed.")
}

func crossOrigin() *problem {
	return newProblem(http.StatusForbidden, "cross_origin", "A browser sent this request from another origin.")
}

func bodyTooLarge() *problem {
	return newProblem(http.StatusRequestEntityTooLarge, "body_too_large", "The body is longer than 64 KiB.")
}

func unsupportedMediaType() *problem {
	return newProblem(http.StatusUnsupportedMediaType, "unsupported_media_type", "Send the body as application/json in UTF-8, without compression.")
}

func preconditionRequired() *problem {
	return newProblem(http.StatusPreconditionRequired, "precondition_required", "Send the ETag in If-Match, or the version in the body.")
}

func noMailer() *problem {
	return newProblem(http.StatusNotImplemented, "no_mailer", "This server does not send mail. Create a token and deliver it yourself.")
}

// invalidLogin is not a 401, which would mean that the admin secret is wrong.
func invalidLogin() *problem {
	return newProblem(http.StatusUnprocessableEntity, "invalid_login", "The username or password is incorrect.")
}

// invalidOneTimeToken is not a 401, which would mean that the admin secret is wrong.
func invalidOneTimeToken() *problem {
	return newProblem(http.StatusUnprocessableEntity, "invalid_one_time_token", "The token is invalid, has expired, or was already used.")
}

func invalidProblem(field, reason string) *problem {
	return &problem{Problem: httpadapter.ProblemOf(&keyfold.InvalidError{Field: field, Reason: reason})}
}

// Error returns the detail. Huma requires problems to be errors.
func (p *problem) Error() string { return p.Detail }

// GetStatus returns the status, for huma.
func (p *problem) GetStatus() int { return p.Status }

// GetHeaders returns the headers that depend on the problem. Huma adds them to the
// headers that are set already.
func (p *problem) GetHeaders() http.Header {
	h := p.Header()
	h.Del("Cache-Control") // ServeHTTP sets it
	h.Del("Content-Type")  // ContentType returns it
	return h
}

// ContentType returns the type of problem documents, for huma.
func (p *problem) ContentType(string) string { return problemType }

// write answers a request that did not reach huma.
func (p *problem) write(w http.ResponseWriter) {
	if p.Allow != "" {
		w.Header().Set("Allow", p.Allow)
	}
	p.Problem.Write(w)
}

// refuse converts an error of the Service to its response.
func (a *api) refuse(ctx context.Context, err error) error {
	if p, ok := errors.AsType[*problem](err); ok {
		return p
	}
	p := &problem{Problem: httpadapter.ProblemOf(err)}
	if p.Status >= http.StatusInternalServerError && ctx.Err() == nil { // otherwise the client is gone
		a.log.LogAttrs(ctx, slog.LevelError, "keyfold: admin request failed", slog.String("error", err.Error()))
	}
	return p
}

// replaceHumaErrors converts the errors of huma to problems of this package. It
// leaves out values and names that the client sent, which huma would repeat.
func replaceHumaErrors(ctx huma.Context, _ string, v any) (any, error) {
	if _, ours := v.(*problem); ours {
		return v, nil
	}
	refused, ok := v.(huma.StatusError)
	if !ok {
		return v, nil
	}
	ctx.SetHeader("Content-Type", problemType)
	status := refused.GetStatus()
	if status >= http.StatusInternalServerError {
		return newProblem(status, "internal", ""), nil
	}
	if model, ok := v.(*huma.ErrorModel); ok && len(model.Errors) > 0 {
		_, name, _ := strings.Cut(model.Errors[0].Location, ".") // query.limit, query.outcome[0]
		name, _, _ = strings.Cut(name, "[")
		if parameter := findParameter(ctx.Operation(), name); parameter != nil {
			return invalidProblem(name, parameterRequirement(parameter.Schema)), nil
		}
	}
	return newProblem(status, "invalid", ""), nil
}

// findParameter returns the parameter of that name, or nil if the operation does
// not have it. Other names come from the client.
func findParameter(op *huma.Operation, name string) *huma.Param {
	for _, parameter := range op.Parameters {
		if parameter.Name == name {
			return parameter
		}
	}
	return nil
}

// parameterRequirement says what a parameter with that schema must be.
func parameterRequirement(schema *huma.Schema) string {
	if schema.Items != nil {
		schema = schema.Items
	}
	switch {
	case len(schema.Enum) > 0:
		var values []string
		for _, value := range schema.Enum {
			values = append(values, fmt.Sprint(value))
		}
		return "must be one of " + strings.Join(values, ", ")
	case schema.Minimum != nil && schema.Maximum != nil:
		return fmt.Sprintf("must be between %v and %v", *schema.Minimum, *schema.Maximum)
	case schema.Format == "date-time":
		return "must be " + timeForm
	}
	return "must be a " + schema.Type
}

// encodeJSON writes v. It ignores errors of the connection, because the client is
// gone then.
func encodeJSON(w io.Writer, v any) error {
	encoded, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, _ = w.Write(append(encoded, '\n'))
	return nil
}
