package admin

import (
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/httpadapter"
	"github.com/keyfold/keyfold/httpadapter/internal/adminsecret"
)

// failure is a response of the document for requests that fail with one status.
// Its examples come from the code that answers such requests.
type failure struct {
	name        string // among the components of the document
	status      int
	description string
	examples    []*problem
}

// waitExample is the Retry-After of the examples.
const waitExample = 30 * time.Second

// failures are all responses to requests that fail. An operation has at most one
// for each status.
func failures() []failure {
	of := func(err error) *problem { return &problem{Problem: httpadapter.ProblemOf(err)} }
	invalid := of(&keyfold.InvalidError{Field: "ttl", Reason: "must be between 1 ms and 100 years"})
	tooManySecrets := refusalOf(adminsecret.Limited, waitExample)
	const tooManySecretsText = "More than ten wrong admin secrets came from this address within a minute (code too_many_failures). Wait for the time in Retry-After. " +
		"The correct secret is always accepted, unless it has fewer than 32 characters: such secrets are compared at most ten times a second for new addresses."
	return []failure{
		{
			"BadRequest", http.StatusBadRequest, "The query or the body is malformed.",
			[]*problem{malformedQuery(), malformedBody("The body is not a single JSON document.")},
		},
		{
			"Unauthorized", http.StatusUnauthorized, "The admin secret is missing or wrong.",
			[]*problem{refusalOf(adminsecret.Wrong, 0)},
		},
		{
			"Forbidden", http.StatusForbidden, "A browser sent the request from another origin.",
			[]*problem{crossOrigin()},
		},
		{
			"NotFound", http.StatusNotFound, "The key or user does not exist.",
			[]*problem{of(keyfold.ErrNotFound)},
		},
		{
			"Conflict", http.StatusConflict, "The current state of the key or user does not allow the change, or another user has the name. The member field says which field conflicts.",
			[]*problem{of(&keyfold.ConflictError{Field: "revoked_at", Reason: "key 3kTMd9Xb2QpLz7aC is revoked"})},
		},
		{
			"PreconditionFailed", http.StatusPreconditionFailed, "The key or user has changed since the given version was read.",
			[]*problem{of(keyfold.ErrStale)},
		},
		{
			"ContentTooLarge", http.StatusRequestEntityTooLarge, "The body is longer than 64 KiB.",
			[]*problem{bodyTooLarge()},
		},
		{
			"UnsupportedMediaType", http.StatusUnsupportedMediaType, "The body is not JSON in UTF-8.",
			[]*problem{unsupportedMediaType()},
		},
		{
			"Invalid", http.StatusUnprocessableEntity, "A value in the path, query, headers or body is invalid. The member field names it.",
			[]*problem{invalid},
		},
		{
			"InvalidLogin", http.StatusUnprocessableEntity, "The log-in is refused, whatever the reason (code invalid_login), or a value in the body is invalid.",
			[]*problem{invalidLogin(), invalid},
		},
		{
			"InvalidOneTimeToken", http.StatusUnprocessableEntity, "The token is refused, whatever the reason (code invalid_one_time_token), or a value in the body is invalid.",
			[]*problem{invalidOneTimeToken(), invalid},
		},
		{
			"PreconditionRequired", http.StatusPreconditionRequired, "The request has neither If-Match nor a version.",
			[]*problem{preconditionRequired()},
		},
		{
			"TooManySecrets", http.StatusTooManyRequests, tooManySecretsText,
			[]*problem{tooManySecrets},
		},
		{
			"TooManyAttempts", http.StatusTooManyRequests, "There were too many attempts on the account or from the user's address (code rate_limited). Wait for the time in Retry-After.\n\n" + tooManySecretsText,
			[]*problem{of(rateLimited{}), tooManySecrets},
		},
		{
			"NoMailer", http.StatusNotImplemented, "The server does not send mail.",
			[]*problem{noMailer()},
		},
		{
			"Unavailable", http.StatusServiceUnavailable, "The database did not respond in time. A change may have been made nevertheless: read the record before you try again.",
			[]*problem{of(keyfold.ErrUnavailable)},
		},
	}
}

// rateLimited is an example of a [keyfold.ErrRateLimited].
type rateLimited struct{}

func (rateLimited) Error() string             { return keyfold.ErrRateLimited.Error() }
func (rateLimited) Unwrap() error             { return keyfold.ErrRateLimited }
func (rateLimited) RetryAfter() time.Duration { return waitExample }

// failureNames returns the names of the failures of an operation.
func (rt route) failureNames() []string {
	names := []string{"BadRequest", "Unauthorized", "Unavailable"}
	if rt.method != http.MethodGet {
		names = append(names, "Forbidden", "ContentTooLarge", "UnsupportedMediaType")
	}
	if strings.Contains(rt.path, "/{id}") {
		names = append(names, "NotFound")
	}
	invalid, limited := "Invalid", "TooManySecrets"
	switch rt.id {
	case "update-key", "update-user":
		names = append(names, "Conflict", "PreconditionFailed", "PreconditionRequired")
	case "disable-key", "enable-key", "renew-key", "rotate-key", "create-user", "create-one-time-token":
		names = append(names, "Conflict")
	case "authenticate":
		invalid, limited = "InvalidLogin", "TooManyAttempts"
	case sendOperation:
		names, limited = append(names, "NoMailer"), "TooManyAttempts"
	case "use-change-email":
		names, invalid = append(names, "Conflict"), "InvalidOneTimeToken"
	case "use-verify-email", "use-reset-password":
		invalid = "InvalidOneTimeToken"
	}
	return append(names, invalid, limited)
}

// responseReferences returns the responses of an operation to requests that fail,
// by their statuses.
func (rt route) responseReferences() map[string]*huma.Response {
	references := map[string]*huma.Response{}
	names := rt.failureNames()
	for _, f := range failures() {
		if slices.Contains(names, f.name) {
			references[strconv.Itoa(f.status)] = &huma.Response{Ref: "#/components/responses/" + f.name}
		}
	}
	return references
}

// failureComponents describes the responses to requests that fail, and the schema
// that they share.
func failureComponents(schemas huma.Registry) map[string]*huma.Response {
	reference := schemas.Schema(reflect.TypeFor[problem](), true, "Problem")
	describeProblem(schemas.SchemaFromRef(reference.Ref))

	components := map[string]*huma.Response{}
	for _, f := range failures() {
		response := &huma.Response{
			Description: f.description,
			Headers:     map[string]*huma.Param{},
			Content:     map[string]*huma.MediaType{problemType: {Schema: reference, Examples: map[string]*huma.Example{}}},
		}
		for _, p := range f.examples {
			response.Content[problemType].Examples[p.Code] = &huma.Example{Value: p}
			if p.RetryAfter > 0 {
				response.Headers["Retry-After"] = &huma.Param{
					Description: "The number of seconds to wait before the next attempt.",
					Schema:      &huma.Schema{Type: huma.TypeInteger},
				}
			}
			if p.Challenge != "" {
				response.Headers["WWW-Authenticate"] = &huma.Param{
					Description: "The header that must hold the admin secret.",
					Schema:      &huma.Schema{Type: huma.TypeString},
				}
			}
		}
		components[f.name] = response
	}
	return components
}

// describeProblem adds what the tags of [httpadapter.Problem] do not say.
func describeProblem(s *huma.Schema) {
	var codes []string
	for _, f := range failures() {
		for _, p := range f.examples {
			codes = append(codes, p.Code)
		}
	}
	slices.Sort(codes)
	s.Description = "A problem document (RFC 9457) whose type is about:blank."
	s.AdditionalProperties = nil // RFC 9457 section 3.2: later versions may add members
	for name, description := range map[string]string{
		"title":  "The text of the status.",
		"status": "The HTTP status.",
		"detail": "What went wrong and what the client can do, for people.",
		"code": "What went wrong, for programs. A code never changes its meaning. Responses of the operations have one of: " +
			strings.Join(slices.Compact(codes), ", ") + ".",
		"field": "The name of the field that was refused, if the code is invalid or conflict.",
	} {
		s.Properties[name].Description = description
	}
	lowest, highest := 400.0, 599.0
	s.Properties["status"].Minimum, s.Properties["status"].Maximum = &lowest, &highest
}
