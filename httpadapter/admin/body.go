package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/keyfold/keyfold"
)

const maxBody = 64 << 10

type bodyKey struct{}

// withBody reads the whole body of a request and stores it in the context for
// decodeBody. It refuses a body that is not a single, strict JSON document, and an
// empty body where one is required.
func withBody(w http.ResponseWriter, r *http.Request, in input) (*http.Request, *problem) {
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		return r, nil
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
			return nil, bodyTooLarge()
		}
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return nil, newProblem(http.StatusRequestTimeout, "body_timeout", "The body did not arrive in time.")
		}
		return nil, malformedBody("The body could not be read.")
	}
	if len(body) == 0 && in.needsBody {
		return nil, malformedBody("The body is empty. Send a JSON object.")
	}
	if len(body) > 0 {
		if !isJSON(r.Header) {
			return nil, unsupportedMediaType()
		}
		if p := checkJSON(body, in.members); p != nil {
			return nil, p
		}
	}
	r = r.WithContext(context.WithValue(r.Context(), bodyKey{}, body))
	r.Body = io.NopCloser(bytes.NewReader(body))
	return r, nil
}

func isJSON(h http.Header) bool {
	types := h.Values("Content-Type")
	if len(types) != 1 || h.Get("Content-Encoding") != "" {
		return false
	}
	mediaType, params, err := mime.ParseMediaType(types[0])
	charset, given := params["charset"]
	return err == nil && mediaType == "application/json" && (!given || strings.EqualFold(charset, "utf-8"))
}

// checkJSON refuses invalid UTF-8 and escapes that do not represent a character,
// which encoding/json silently replaces. It refuses a second document. It also
// refuses duplicate names in an object: encoding/json uses the last value and other
// parsers use the first.
func checkJSON(body []byte, members []string) *problem {
	if !utf8.Valid(body) {
		return malformedBody("The body is not UTF-8.")
	}
	if !json.Valid(body) {
		return malformedBody("The body is not a single JSON document.")
	}
	if hasLoneSurrogate(body) {
		return malformedBody("The body contains an escape that is half of a surrogate pair.")
	}
	if member, found := findDuplicate(body); found {
		if !slices.Contains(members, member) {
			member = "body"
		}
		return invalidProblem(member, "must appear once, and so must each name in it")
	}
	return nil
}

// hasLoneSurrogate reports whether the document contains half of a surrogate pair,
// such as \ud800. The document must be valid, so that every backslash starts an
// escape.
func hasLoneSurrogate(body []byte) bool {
	for {
		i := bytes.IndexByte(body, '\\')
		if i < 0 {
			return false
		}
		body = body[i:]
		first, ok := parseEscape(body)
		switch {
		case !ok:
			body = body[2:]
		case !utf16.IsSurrogate(first):
			body = body[6:]
		default:
			second, _ := parseEscape(body[6:])
			if utf16.DecodeRune(first, second) == unicode.ReplacementChar {
				return true
			}
			body = body[12:]
		}
	}
}

// parseEscape parses an escape such as \u0041 at the start of text.
func parseEscape(text []byte) (rune, bool) {
	if len(text) < 6 || text[0] != '\\' || text[1] != 'u' {
		return 0, false
	}
	unit, err := strconv.ParseUint(string(text[2:6]), 16, 16)
	return rune(unit), err == nil
}

// frame is an object or array that the decoder is in.
type frame struct {
	names   map[string]bool // nil in an array
	inValue bool
}

// findDuplicate looks for a name that an object has twice. It returns the member of
// the outermost object that has or contains the duplicate, and "" if that is an
// array. The document must be valid.
func findDuplicate(body []byte) (member string, found bool) {
	decoder := json.NewDecoder(bytes.NewReader(body))
	var stack []frame
	for {
		token, err := decoder.Token()
		if err != nil {
			return "", false // end of the document, which is valid
		}
		var top *frame
		if len(stack) > 0 {
			top = &stack[len(stack)-1]
		}
		if top != nil && top.names != nil && !top.inValue {
			if name, ok := token.(string); ok {
				if len(stack) == 1 {
					member = name
				}
				if top.names[name] {
					return member, true
				}
				top.names[name], top.inValue = true, true
				continue
			}
		}
		switch token {
		case json.Delim('{'):
			stack = append(stack, frame{names: map[string]bool{}})
			continue
		case json.Delim('['):
			stack = append(stack, frame{})
			continue
		case json.Delim('}'), json.Delim(']'):
			stack = stack[:len(stack)-1]
		}
		if len(stack) > 0 { // a value has ended
			stack[len(stack)-1].inValue = false
		}
	}
}

// membersOf returns the names in the json tags of a struct.
func membersOf(t reflect.Type) []string {
	var names []string
	for i := range t.NumField() {
		name, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
		names = append(names, name)
	}
	return names
}

// decodeBody decodes the body of the request into a struct, by the exact names in
// its json tags. Null sets a field to its zero value. It sets a pointer to a pointer
// to the zero value, which distinguishes null from an absent member.
func decodeBody(ctx context.Context, into any) error {
	body, _ := ctx.Value(bodyKey{}).([]byte)
	if len(body) == 0 {
		return nil
	}
	var given map[string]json.RawMessage
	if err := json.Unmarshal(body, &given); err != nil || given == nil {
		return &keyfold.InvalidError{Field: "body", Reason: "must be a JSON object"}
	}
	target := reflect.ValueOf(into).Elem()
	members := membersOf(target.Type())
	for i, name := range members {
		raw, ok := given[name]
		if !ok {
			continue
		}
		delete(given, name)
		if err := decodeField(name, raw, target.Field(i)); err != nil {
			return err
		}
	}
	if len(given) > 0 {
		return &keyfold.InvalidError{Field: "body", Reason: onlyThese("members", members)}
	}
	return nil
}

func decodeField(name string, raw json.RawMessage, field reflect.Value) error {
	if field.Kind() == reflect.Pointer {
		field.Set(reflect.New(field.Type().Elem()))
		field = field.Elem()
	}
	if string(raw) == "null" {
		return checkNull(name, field)
	}
	if null, ok := decodeElements(raw, field); ok {
		if null != nil {
			return &keyfold.InvalidError{Field: name + null.place, Reason: null.reason}
		}
		return nil
	}
	if _, isTime := field.Interface().(time.Time); isTime {
		return decodeTime(name, raw, field)
	}
	err := json.Unmarshal(raw, field.Addr().Interface())
	if err == nil {
		return nil
	}
	if invalid, ok := errors.AsType[*keyfold.InvalidError](err); ok {
		return &keyfold.InvalidError{Field: name, Reason: invalid.Reason}
	}
	return &keyfold.InvalidError{Field: name, Reason: requirement(field.Type())}
}

// checkNull refuses null for the lifetime of a key. In responses, null means that the
// key does not expire, while an absent member means the default. A client that
// encodes a nil pointer must not get either by accident.
func checkNull(name string, field reflect.Value) error {
	switch field.Interface().(type) {
	case ttl:
		return &keyfold.InvalidError{Field: name, Reason: "must be " + durationForm + `, or "never"; omit it for the default`}
	case time.Time:
		return &keyfold.InvalidError{Field: name, Reason: "must be " + timeForm + "; omit it for the default"}
	}
	return nil
}

// nullElement is a null in a list or a map of strings. Its place does not contain
// names of a map, because they come from the client.
type nullElement struct{ place, reason string }

// decodeElements decodes lists and maps of strings, in which encoding/json converts
// null to "". It returns the first null. It ignores values of other types, and
// values that cannot be decoded.
func decodeElements(raw json.RawMessage, field reflect.Value) (null *nullElement, ok bool) {
	switch into := field.Addr().Interface().(type) {
	case *[]string:
		var list []*string
		if json.Unmarshal(raw, &list) != nil {
			return nil, false
		}
		*into = make([]string, 0, len(list))
		for i, s := range list {
			if s == nil {
				return &nullElement{"[" + strconv.Itoa(i) + "]", "must be a string"}, true
			}
			*into = append(*into, *s)
		}
		return nil, true
	case *map[string]string:
		var entries map[string]*string
		if json.Unmarshal(raw, &entries) != nil {
			return nil, false
		}
		*into = make(map[string]string, len(entries))
		for name, s := range entries {
			if s == nil {
				return &nullElement{"", requirement(field.Type())}, true
			}
			(*into)[name] = *s
		}
		return nil, true
	}
	return nil, false
}

func decodeTime(name string, raw json.RawMessage, field reflect.Value) error {
	var text string
	if err := json.Unmarshal(raw, &text); err != nil || text == "" {
		return &keyfold.InvalidError{Field: name, Reason: "must be " + timeForm}
	}
	at, err := parseTime(name, text)
	if err == nil {
		field.Set(reflect.ValueOf(at))
	}
	return err
}

// requirement says what a field of that type must be.
func requirement(t reflect.Type) string {
	switch t {
	case reflect.TypeFor[time.Time]():
		return "must be " + timeForm
	case reflect.TypeFor[duration](), reflect.TypeFor[ttl](), reflect.TypeFor[overlap]():
		return "must be a string with " + durationForm
	}
	switch t.Kind() {
	case reflect.String:
		return "must be a string"
	case reflect.Slice:
		return "must be an array of strings"
	case reflect.Map:
		return "must be an object of strings"
	}
	return "must be a whole number"
}
