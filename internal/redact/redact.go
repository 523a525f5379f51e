// Package redact formats structs without their secrets. It implements the methods Format,
// LogValue, MarshalJSON and MarshalText of types whose exported fields contain secrets.
package redact

import (
	"bytes"
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"reflect"
	"slices"
	"time"
)

// Redacted is implemented by types whose exported fields contain secrets, and by types
// that contain such a type. The methods show the other fields.
//
// fmt does not call these methods for a value in an unexported field, or for the verbs %p
// and %w, which go vet refuses there. It also does not call them for a value inside a
// struct without methods behind a pointer, for verbs such as %s. The outer types therefore
// have the methods as well.
type Redacted interface {
	fmt.Formatter
	slog.LogValuer
	json.Marshaler
	encoding.TextMarshaler
}

// ErrGob is the error of encoding a value that must not be stored. Session packages often
// use encoding/gob.
var ErrGob = errors.New("keyfold: a value that holds a password or a token must not be encoded")

// Secret is the text that replaces a secret.
const Secret = "[secret]"

// Fields are the fields of a struct that may be shown, in order.
type Fields []slog.Attr

// Of returns the exported fields of a struct that are not zero. The value of a field that
// secret names is replaced by [Secret]; a map keeps its keys. A function is shown as
// "[set]". Of interfaces and pointers only the dynamic type is shown, because the value
// may belong to the program and contain secrets.
func Of(value any, secret ...string) Fields { return of(reflect.ValueOf(value), secret) }

func of(value reflect.Value, secret []string) (fields Fields) {
	for i := range value.NumField() {
		field, v := value.Type().Field(i), value.Field(i)
		switch {
		case !field.IsExported() || v.IsZero():
		case slices.Contains(secret, field.Name):
			fields = append(fields, slog.Any(field.Name, hidden(v)))
		case field.Anonymous && v.Kind() == reflect.Struct:
			fields = append(fields, of(v, nil)...)
		default:
			fields = append(fields, slog.Attr{Key: field.Name, Value: shown(v)})
		}
	}
	return fields
}

func hidden(v reflect.Value) any {
	if v.Kind() != reflect.Map {
		return Secret
	}
	keys := make(map[string]string, v.Len())
	for _, key := range v.MapKeys() {
		keys[key.String()] = Secret
	}
	return keys
}

func shown(v reflect.Value) slog.Value {
	switch v.Kind() {
	case reflect.Func, reflect.Chan:
		return slog.StringValue("[set]")
	case reflect.Interface:
		return slog.StringValue(v.Elem().Type().String())
	case reflect.Pointer:
		return slog.StringValue(v.Type().String())
	case reflect.Struct:
		switch v.Interface().(type) {
		case fmt.Formatter, fmt.Stringer, encoding.TextMarshaler:
		default:
			return of(v, nil).LogValue()
		}
	}
	return slog.AnyValue(v.Interface())
}

// Set returns the fields with text as the value of the field of that name, if
// it is among them.
func (f Fields) Set(name, text string) Fields {
	for i := range f {
		if f[i].Key == name {
			f[i].Value = slog.StringValue(text)
		}
	}
	return f
}

// Format writes {Name:value Name:value} for every verb and flag.
func (f Fields) Format(state fmt.State, _ rune) { f.write(state) }

func (f Fields) write(w io.Writer) {
	for i, field := range f {
		before := " "
		if i == 0 {
			before = "{"
		}
		fmt.Fprintf(w, "%s%s:", before, field.Key)
		if field.Value.Kind() == slog.KindGroup {
			Fields(field.Value.Group()).write(w)
		} else {
			fmt.Fprintf(w, "%+v", field.Value.Any())
		}
	}
	if len(f) == 0 {
		_, _ = io.WriteString(w, "{")
	}
	_, _ = io.WriteString(w, "}")
}

// LogValue returns the fields as a group.
func (f Fields) LogValue() slog.Value { return slog.GroupValue(f...) }

// MarshalText returns the text that Format writes.
func (f Fields) MarshalText() ([]byte, error) {
	var text bytes.Buffer
	f.write(&text)
	return text.Bytes(), nil
}

// MarshalJSON returns the fields as an object.
func (f Fields) MarshalJSON() ([]byte, error) {
	text := []byte{'{'}
	for i, field := range f {
		if i > 0 {
			text = append(text, ',')
		}
		name, err := json.Marshal(field.Key)
		if err != nil {
			return nil, err
		}
		value, err := marshal(field.Value)
		if err != nil {
			return nil, err
		}
		text = append(append(append(text, name...), ':'), value...)
	}
	return append(text, '}'), nil
}

func marshal(v slog.Value) ([]byte, error) {
	switch v := v.Any().(type) {
	case []slog.Attr:
		return Fields(v).MarshalJSON()
	case time.Duration:
		return json.Marshal(v.String())
	default:
		return json.Marshal(v)
	}
}
