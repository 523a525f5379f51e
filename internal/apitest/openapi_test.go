package apitest

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/pb33f/libopenapi"
	validator "github.com/pb33f/libopenapi-validator"
	"github.com/pb33f/libopenapi-validator/config"
	problems "github.com/pb33f/libopenapi-validator/errors"
)

// document is the description that the API gives of itself.
type document struct {
	validator  validator.Validator
	operations map[string]operation // by id
}

// operation is what the document says about one.
type operation struct {
	method, path string
	example      []byte // of the body; nil without a body
	statuses     []int
	codes        map[int][]string // of the problems in the examples, by status
}

func describe(t *testing.T, handler http.Handler) *document {
	t.Helper()
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, httptest.NewRequest("GET", "/openapi.json", nil))
	parsed, err := libopenapi.NewDocument(w.Body.Bytes())
	if err != nil {
		t.Fatalf("parse the document: %v", err)
	}
	checks, errs := validator.NewValidator(parsed, config.WithFormatAssertions())
	if len(errs) > 0 {
		t.Fatalf("read the document: %v", errs)
	}
	return &document{validator: checks, operations: readOperations(t, w.Body.Bytes())}
}

// readOperations finds the operations, so that no test has to list them.
func readOperations(t *testing.T, document []byte) map[string]operation {
	t.Helper()
	var read struct {
		Paths map[string]map[string]struct {
			OperationID string
			RequestBody *struct {
				Content map[string]struct{ Example json.RawMessage }
			}
			Responses map[string]struct {
				Ref string `json:"$ref"`
			}
		}
		Components struct {
			Responses map[string]struct {
				Content map[string]struct {
					Examples map[string]struct{ Value struct{ Code string } }
				}
			}
		}
	}
	if err := json.Unmarshal(document, &read); err != nil {
		t.Fatalf("decode the document: %v", err)
	}
	found := map[string]operation{}
	for path, methods := range read.Paths {
		for method, described := range methods {
			op := operation{method: strings.ToUpper(method), path: path, codes: map[int][]string{}}
			for status, response := range described.Responses {
				number, err := strconv.Atoi(status)
				if err != nil {
					t.Errorf("%s describes an answer %q", described.OperationID, status)
				}
				op.statuses = append(op.statuses, number)
				component := strings.TrimPrefix(response.Ref, "#/components/responses/")
				for _, example := range read.Components.Responses[component].Content["application/problem+json"].Examples {
					op.codes[number] = append(op.codes[number], example.Value.Code)
				}
			}
			slices.Sort(op.statuses)
			if described.RequestBody != nil {
				if op.example = described.RequestBody.Content["application/json"].Example; op.example == nil {
					t.Errorf("%s takes a body and shows no example of one", described.OperationID)
				}
			}
			found[described.OperationID] = op
		}
	}
	return found
}

func TestDocumentIsOpenAPI31(t *testing.T) {
	t.Parallel()
	s := newServer(t, nil)
	ok, errs := describe(t, s.handler).validator.ValidateDocument()
	if !ok || len(errs) > 0 {
		t.Errorf("the document is not valid: %s", explain(errs))
	}
}

// What the round trip relies on: that the validator sees what is wrong.
func TestValidatorSeesWrongDocumentsAndAnswers(t *testing.T) {
	t.Parallel()
	s := newServer(t, nil)
	doc := describe(t, s.handler)
	for name, row := range map[string]struct {
		status       int
		contentType  string
		body         string
		wantsNothing bool
	}{
		"a right answer":                     {200, "application/json", `{"keys":[],"next":null}`, true},
		"an answer without a member":         {200, "application/json", `{"next":null}`, false},
		"null where a list has to be":        {200, "application/json", `{"keys":null,"next":null}`, false},
		"a list of something else":           {200, "application/json", `{"keys":["x"],"next":null}`, false},
		"a status that is not described":     {202, "application/json", `{"keys":[],"next":null}`, false},
		"a type that is not described":       {200, "text/plain", `{"keys":[],"next":null}`, false},
		"a right problem":                    {401, "application/problem+json", `{"title":"Unauthorized","status":401,"code":"x"}`, true},
		"a problem without a code":           {401, "application/problem+json", `{"title":"Unauthorized","status":401}`, false},
		"a problem whose status is a text":   {401, "application/problem+json", `{"title":"Unauthorized","status":"401","code":"x"}`, false},
		"a problem that is not problem+json": {401, "application/json", `{"title":"Unauthorized","status":401,"code":"x"}`, false},
	} {
		t.Run(name, func(t *testing.T) {
			response := &http.Response{
				StatusCode: row.status, Header: http.Header{"Content-Type": {row.contentType}}, Body: io.NopCloser(strings.NewReader(row.body)),
			}
			ok, errs := doc.validator.ValidateHttpResponse(httptest.NewRequest("GET", "/keys", nil), response)
			if ok != row.wantsNothing {
				t.Errorf("%s: valid %t, %s", name, ok, explain(errs))
			}
		})
	}

	w := httptest.NewRecorder()
	s.handler.ServeHTTP(w, httptest.NewRequest("GET", "/openapi.json", nil))
	wrong := bytes.Replace(w.Body.Bytes(), []byte(`"in":"query"`), []byte(`"in":"nowhere"`), 1)
	parsed, err := libopenapi.NewDocument(wrong)
	if err != nil {
		t.Fatal(err)
	}
	checks, errs := validator.NewValidator(parsed)
	if len(errs) > 0 {
		return // seen
	}
	if ok, _ := checks.ValidateDocument(); ok {
		t.Error("a parameter that is nowhere is taken for valid")
	}
}

// explain is what is wrong, a line each.
func explain(errs []*problems.ValidationError) string {
	var lines []string
	for _, err := range errs {
		lines = append(lines, err.Message+": "+err.Reason)
		for _, part := range err.SchemaValidationErrors {
			lines = append(lines, "  "+part.FieldPath+": "+part.Reason)
		}
	}
	return strings.Join(lines, "\n")
}
