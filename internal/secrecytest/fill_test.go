package secrecytest

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"
	"unsafe"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/httpadapter"
	"github.com/keyfold/keyfold/store/memory"
)

// canaries are texts that are found again in whatever form they are printed.
type canaries struct{ paths []string }

// next returns the canary for a place.
func (c *canaries) next(path string) string {
	c.paths = append(c.paths, path)
	return fmt.Sprintf("qz%04dcanary", len(c.paths)-1)
}

var (
	asText    = regexp.MustCompile(`qz(\d{4})canary`)
	asHex     = regexp.MustCompile(`(?i)717a((?:3\d){4})63616e617279`)
	asNumbers = regexp.MustCompile(`113,? 122,? ((?:\d\d,? ){4})99,? 97,? 110,? 97,? 114,? 121|113,122,((?:\d\d,){4})99,97,110,97,114,121`)
	asBytes   = regexp.MustCompile(`0x71, 0x7a, ((?:0x3\d, ){4})0x63, 0x61, 0x6e, 0x61, 0x72, 0x79`)
	asBase64  = regexp.MustCompile(`cXo[0-9A-Za-z+/]{13}`) // a byte slice begins with its canary
)

// in returns the places whose canaries are in the output.
func (c *canaries) in(output string) map[string]bool {
	found := map[string]bool{}
	keep := func(digits string) {
		if n, err := strconv.Atoi(digits); err == nil && n < len(c.paths) {
			found[c.paths[n]] = true
		}
	}
	for _, match := range asText.FindAllStringSubmatch(output, -1) {
		keep(match[1])
	}
	for _, match := range asHex.FindAllStringSubmatch(output, -1) {
		keep(strings.Join([]string{match[1][1:2], match[1][3:4], match[1][5:6], match[1][7:8]}, ""))
	}
	for _, match := range asNumbers.FindAllStringSubmatch(output, -1) {
		digits := ""
		for number := range strings.FieldsFuncSeq(match[1]+match[2], func(r rune) bool { return r == ',' || r == ' ' }) {
			code, _ := strconv.Atoi(number)
			digits += string(rune(code))
		}
		keep(digits)
	}
	for _, match := range asBytes.FindAllStringSubmatch(output, -1) {
		digits := ""
		for _, number := range strings.Fields(match[1]) {
			digits += number[3:4]
		}
		keep(digits)
	}
	for _, text := range asBase64.FindAllString(output, -1) {
		decoded, _ := base64.StdEncoding.DecodeString(text)
		if match := asText.FindSubmatch(decoded); match != nil {
			keep(string(match[1]))
		}
	}
	return found
}

// Values of a program's own, with secrets that a type of ours must not show.
type (
	hostStore struct {
		keyfold.Store
		DSN string
	}
	hostMailer struct {
		keyfold.Mailer
		Password string
	}
	hostVerifier struct {
		httpadapter.Verifier
		Password string
	}
)

// deepest bounds pointers, slices and maps within one another. Those of other
// modules count more: drivers have types of thousands of fields.
const (
	deepest = 4
	foreign = 3
)

const most = 500 // canaries in one value, so that types which hold many do not take all memory

// fill sets everything that a value holds, unexported fields too, and every text
// and list of bytes to a canary of its own.
func (c *canaries) fill(v reflect.Value, path string, depth int) {
	if depth > deepest || len(c.paths) >= most {
		return
	}
	switch v.Interface().(type) {
	case time.Time:
		v.Set(reflect.ValueOf(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)))
		return
	case netip.Addr:
		v.Set(reflect.ValueOf(netip.MustParseAddr("192.0.2.1")))
		return
	case netip.Prefix:
		v.Set(reflect.ValueOf(netip.MustParsePrefix("192.0.2.0/24")))
		return
	case keyfold.Token:
		v.Set(reflect.ValueOf(newToken(c.next(path))))
		return
	case sync.Mutex, sync.RWMutex, sync.Once, sync.WaitGroup, sync.Map, sync.Pool:
		return
	}
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		v.SetInt(1)
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		v.SetUint(1)
	case reflect.String:
		v.SetString(c.next(path))
	case reflect.Array:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			reflect.Copy(v, reflect.ValueOf([]byte(c.next(path))))
			return
		}
		for i := range v.Len() {
			c.fill(v.Index(i), path, depth+1)
		}
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			v.SetBytes([]byte(c.next(path)))
			return
		}
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		c.fill(v.Index(0), path+"[]", depth+1)
	case reflect.Map:
		key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
		c.fill(key, path+"[key]", depth+1)
		c.fill(value, path+"[]", depth+1)
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(key, value)
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		if pkg := v.Type().Elem().PkgPath(); pkg != "" && !strings.HasPrefix(pkg, modulePath) {
			depth += foreign
		}
		c.fill(v.Elem(), path, depth+1)
	case reflect.Struct:
		if v.Type().Name() != "" {
			path = v.Type().String() // the same wherever it is held
		}
		for i := range v.NumField() {
			field := v.Field(i)
			if name := v.Type().Field(i).Name; name != "_" {
				c.fill(reflect.NewAt(field.Type(), unsafe.Pointer(field.UnsafeAddr())).Elem(), path+"."+name, depth)
			}
		}
	case reflect.Interface:
		for _, value := range []any{
			memory.New(),
			hostMailer{Password: c.next(path + ".Password")},
			hostVerifier{Password: c.next(path + ".Password")},
			errors.New(c.next(path)),
		} {
			if reflect.TypeOf(value).Implements(v.Type()) {
				v.Set(reflect.ValueOf(value))
				return
			}
		}
	}
}
