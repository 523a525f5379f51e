package storetest

import (
	"fmt"
	"net/netip"
	"reflect"
	"time"
)

// diff returns a line for every field in which two values of one type differ. Nil slices
// and maps equal empty ones, because databases do not distinguish them. Times are equal
// if they are the same instant, but got must be in UTC.
func diff(got, want any) []string {
	return diffValues("", reflect.ValueOf(got), reflect.ValueOf(want))
}

func diffValues(path string, got, want reflect.Value) []string {
	switch want.Interface().(type) {
	case time.Time:
		return diffTimes(path, got.Interface().(time.Time), want.Interface().(time.Time))
	case netip.Prefix, netip.Addr:
		return diffScalars(path, got, want)
	}
	switch want.Kind() {
	case reflect.Struct:
		var lines []string
		for i := range want.NumField() {
			lines = append(lines, diffValues(path+"."+want.Type().Field(i).Name, got.Field(i), want.Field(i))...)
		}
		return lines
	case reflect.Slice:
		if got.Len() != want.Len() {
			return []string{fmt.Sprintf("%s has %d elements, want %d: got %s, want %s",
				path, got.Len(), want.Len(), show(got), show(want))}
		}
		var lines []string
		for i := range want.Len() {
			lines = append(lines, diffValues(fmt.Sprintf("%s[%d]", path, i), got.Index(i), want.Index(i))...)
		}
		return lines
	case reflect.Map:
		if got.Len() == 0 && want.Len() == 0 || reflect.DeepEqual(got.Interface(), want.Interface()) {
			return nil
		}
		return []string{fmt.Sprintf("%s: got %s, want %s", path, show(got), show(want))}
	default:
		return diffScalars(path, got, want)
	}
}

func diffTimes(path string, got, want time.Time) []string {
	switch {
	case !got.Equal(want):
		return []string{fmt.Sprintf("%s: got %v, want %v", path, got, want)}
	case got.Location().String() != "UTC":
		return []string{fmt.Sprintf("%s: got a time in %v, want it in UTC", path, got.Location())}
	}
	return nil
}

func diffScalars(path string, got, want reflect.Value) []string {
	if got.Interface() == want.Interface() {
		return nil
	}
	return []string{fmt.Sprintf("%s: got %s, want %s", path, show(got), show(want))}
}

// show formats a value as one line of limited length.
func show(value reflect.Value) string {
	text := fmt.Sprintf("%#v", value.Interface())
	_, isText := value.Interface().(fmt.Stringer)
	if isText || value.Kind() == reflect.Slice || value.Kind() == reflect.Map {
		text = fmt.Sprintf("%v", value.Interface())
	}
	if len(text) > 300 {
		text = text[:300] + "…"
	}
	return text
}
