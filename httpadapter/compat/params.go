package compat

import (
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"
)

// maxForm bounds the body of a POST.
const maxForm = 64 << 10

// params are the parameters of a request. If a parameter is given twice, the last value
// counts, as in FastAPI. Unknown parameters are ignored.
type params url.Values

func (p params) get(name string) (value string, given bool) {
	values := p[name]
	if len(values) == 0 {
		return "", false
	}
	return values[len(values)-1], true
}

// readParams reads the query and, for a POST, the form. It refuses a query or a form that
// cannot be read, because a key must not get other properties than the caller meant.
func readParams(w http.ResponseWriter, r *http.Request) (params, error) {
	query, err := parseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, faulty("the query is not well formed", "value_error", "query")
	}
	if r.Method != http.MethodPost {
		return query, nil
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxForm))
	if err != nil {
		return nil, faulty("the body is longer than 64 KiB, or broke off", "value_error", "body")
	}
	if len(body) == 0 {
		return query, nil
	}
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || kind != "application/x-www-form-urlencoded" {
		return nil, faulty("send parameters in the query, or as application/x-www-form-urlencoded", "value_error", "body")
	}
	form, err := parseQuery(string(body))
	if err != nil {
		return nil, faulty("the form is not well formed", "value_error", "body")
	}
	for name, values := range form {
		query[name] = append(query[name], values...)
	}
	return query, nil
}

// parseQuery is [url.ParseQuery], except that ";" has no special meaning, as in Python.
func parseQuery(query string) (params, error) {
	values, err := url.ParseQuery(strings.ReplaceAll(query, ";", "%3B"))
	return params(values), err
}

// flag reads a boolean parameter. The default is false.
func (p params) flag(name string) (bool, error) {
	text, given := p.get(name)
	if !given {
		return false, nil
	}
	value, ok := parseBool(text)
	if !ok {
		return false, faulty("value could not be parsed to a boolean", "type_error.bool", "query", name)
	}
	return value, nil
}

// parseBool accepts the same values as pydantic.
func parseBool(text string) (value, ok bool) {
	switch strings.ToLower(text) {
	case "true", "1", "yes", "on", "t", "y":
		return true, true
	case "false", "0", "no", "off", "f", "n":
		return false, true
	}
	return false, false
}
