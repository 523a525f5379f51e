package docspage

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

func serve(method string, header http.Header) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, "/docs", nil)
	for name, values := range header {
		r.Header[name] = values
	}
	w := httptest.NewRecorder()
	Serve(w, r)
	return w
}

func page(t *testing.T) string {
	t.Helper()
	w := serve("GET", http.Header{"Accept-Encoding": {"identity"}})
	if w.Code != http.StatusOK {
		t.Fatalf("got %d", w.Code)
	}
	return w.Body.String()
}

func sum(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

// The page is page.html around the files of source.json, whose checksums are
// those of the npm package. Mutations tried: a byte of page.html, of a checksum,
// and of the file that is embedded.
func TestPageIsMadeOfWhatIsRecorded(t *testing.T) {
	t.Parallel()
	got := page(t)
	if sum(got) != pageSum || len(got) != pageSize {
		t.Errorf("the embedded page is not the one that page_gen.go describes")
	}
	recorded, err := os.ReadFile("source.json")
	if err != nil {
		t.Fatal(err)
	}
	var source struct{ Files map[string]string }
	if err := json.Unmarshal(recorded, &source); err != nil {
		t.Fatal(err)
	}
	template, err := os.ReadFile("page.html")
	if err != nil {
		t.Fatal(err)
	}
	// Undo what the build did to each part, and take it out of the page.
	original := map[string]func(string) string{
		"swagger-ui.css":       func(s string) string { return s + "\n/*# sourceMappingURL=swagger-ui.css.map*/" },
		"swagger-ui-bundle.js": strings.NewReplacer(`\x3C!--`, "<!--", `\x3Cscript`, "<script").Replace,
		"about":                func(s string) string { return s },
	}
	parts := regexp.MustCompile(`\{\{([\w.-]+)\}\}`).FindAllStringSubmatchIndex(string(template), -1)
	if len(parts) != len(original) {
		t.Fatalf("page.html has %d parts, want %d", len(parts), len(original))
	}
	rest, done := got, 0
	for i, part := range parts {
		name, before := string(template[part[2]:part[3]]), string(template[done:part[0]])
		after := string(template[part[1]:])
		if i+1 < len(parts) {
			after = string(template[part[1]:parts[i+1][0]])
		}
		var ok bool
		if rest, ok = strings.CutPrefix(rest, before); !ok {
			t.Fatalf("the page is not the one of page.html before %s: run scripts/docs-page", name)
		}
		text, _, ok := strings.Cut(rest, after)
		if !ok {
			t.Fatalf("the page is not the one of page.html after %s: run scripts/docs-page", name)
		}
		rest, done = rest[len(text):], part[1]
		if name != "about" && sum(original[name](text)) != source.Files[name] {
			t.Errorf("%s is not the file that source.json records", name)
		}
	}
	if rest != string(template[done:]) {
		t.Error("the page is not the one of page.html at its end: run scripts/docs-page")
	}
}

func TestLicencesAreNextToThePage(t *testing.T) {
	t.Parallel()
	for name, words := range map[string]string{
		"swagger-ui.LICENSE.txt":           "Apache License",
		"swagger-ui.NOTICE.txt":            "SmartBear",
		"swagger-ui-bundle.js.LICENSE.txt": "MIT",
	} {
		t.Run(name, func(t *testing.T) {
			text, err := os.ReadFile(filepath.Join("licenses", name))
			if err != nil || !bytes.Contains(text, []byte(words)) {
				t.Errorf("%s: %v, want a text with %q", name, err, words)
			}
		})
	}
}

func TestPolicyLetsRunWhatIsInThePageAlone(t *testing.T) {
	t.Parallel()
	w := serve("GET", http.Header{"Accept-Encoding": {"identity"}})
	got := w.Header().Get("Content-Security-Policy")
	directives := map[string]string{}
	for directive := range strings.SplitSeq(got, "; ") {
		name, value, _ := strings.Cut(directive, " ")
		directives[name] = value
	}
	for element, directive := range map[string]string{"script": "script-src", "style": "style-src"} {
		t.Run(element, func(t *testing.T) {
			var want []string
			for _, found := range regexp.MustCompile(`(?s)<`+element+`>(.*?)</`+element+`>`).FindAllStringSubmatch(w.Body.String(), -1) {
				hash := sha256.Sum256([]byte(found[1]))
				want = append(want, "'sha256-"+base64.StdEncoding.EncodeToString(hash[:])+"'")
			}
			if len(want) != 2 || directives[directive] != strings.Join(want, " ") {
				t.Errorf("%s is %s, want %s", directive, directives[directive], want)
			}
			delete(directives, directive)
		})
	}
	for name, want := range map[string]string{
		"default-src": "'none'", "connect-src": "'self'", "img-src": "data:",
		"frame-ancestors": "'none'", "base-uri": "'none'", "form-action": "'none'",
	} {
		t.Run(name, func(t *testing.T) {
			if directives[name] != want {
				t.Errorf("%s is %q, want %s", name, directives[name], want)
			}
			delete(directives, name)
		})
	}
	if len(directives) > 0 {
		t.Errorf("there is more in the policy: %v", directives)
	}
	for name, want := range map[string]string{
		"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Cross-Origin-Opener-Policy": "same-origin",
		"Content-Type": "text/html; charset=utf-8", "Cache-Control": "no-cache", "Vary": "Accept-Encoding",
	} {
		t.Run(name, func(t *testing.T) {
			if got := w.Header().Get(name); got != want {
				t.Errorf("%s is %q, want %q", name, got, want)
			}
		})
	}
}

func TestPageNamesNoOtherHostToLoadFrom(t *testing.T) {
	t.Parallel()
	template, err := os.ReadFile("page.html")
	if err != nil {
		t.Fatal(err)
	}
	for _, reference := range regexp.MustCompile(`\b(?:src|href|url)\s*[=:(]\s*["']?([^"'\s)>,]+)`).FindAllStringSubmatch(string(template), -1) {
		if target := reference[1]; target != "openapi.json" && !strings.HasPrefix(target, "data:") {
			t.Errorf("page.html refers to %q", target)
		}
	}
}

func TestPageIsServedAsItIsStoredToWhoTakesGzip(t *testing.T) {
	t.Parallel()
	want := page(t)
	for _, row := range []struct {
		accept []string
		gzip   bool
	}{
		{nil, true},
		{[]string{""}, false},
		{[]string{"gzip"}, true},
		{[]string{"gzip, deflate, br, zstd"}, true},
		{[]string{"br", "deflate;q=0.5 , GZIP ; q=0.1"}, true},
		{[]string{"x-gzip"}, true},
		{[]string{"*"}, true},
		{[]string{"gzip;q=0"}, false},
		{[]string{"gzip;q=0.000"}, false},
		{[]string{"gzip;q=0, *"}, false},
		{[]string{"*;q=0"}, false},
		{[]string{"*;q=0, gzip"}, true},
		{[]string{"br, identity"}, false},
	} {
		w := serve("GET", http.Header{"Accept-Encoding": row.accept})
		if zipped := w.Header().Get("Content-Encoding") == "gzip"; w.Code != http.StatusOK || zipped != row.gzip {
			t.Errorf("Accept-Encoding %q: got %d, gzip %t, want %t", row.accept, w.Code, zipped, row.gzip)
			continue
		}
		if got := w.Header().Get("Content-Length"); got != strconv.Itoa(w.Body.Len()) {
			t.Errorf("Accept-Encoding %q: Content-Length %s of %d bytes", row.accept, got, w.Body.Len())
		}
		got := io.Reader(w.Body)
		if row.gzip {
			unzipped, err := gzip.NewReader(w.Body)
			if err != nil {
				t.Fatal(err)
			}
			got = unzipped
		}
		if body, err := io.ReadAll(got); err != nil || string(body) != want {
			t.Errorf("Accept-Encoding %q: another page, %v", row.accept, err)
		}
	}
}

func TestHeadHasTheHeadersAlone(t *testing.T) {
	t.Parallel()
	for _, accept := range []string{"gzip", "identity"} {
		t.Run(accept, func(t *testing.T) {
			header := http.Header{"Accept-Encoding": {accept}}
			get, head := serve("GET", header), serve("HEAD", header)
			if head.Body.Len() != 0 || head.Header().Get("Content-Length") != get.Header().Get("Content-Length") {
				t.Errorf("%s: HEAD has %d bytes and the headers %v", accept, head.Body.Len(), head.Header())
			}
		})
	}
}

func TestKeptPageIsNotSentAgain(t *testing.T) {
	t.Parallel()
	tag := serve("GET", nil).Header().Get("Etag")
	for _, row := range []struct {
		name string
		tags []string
		want int
	}{
		{"the tag", []string{tag}, 304},
		{"the tag as a strong one", []string{strings.TrimPrefix(tag, "W/")}, 304},
		{"one of several", []string{`"x", ` + tag}, 304},
		{"in a second header", []string{`"x"`, tag}, 304},
		{"any", []string{"*"}, 304},
		{"another", []string{`W/"x"`}, 200},
		{"without quotes", []string{strings.Trim(strings.TrimPrefix(tag, "W/"), `"`)}, 200},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := serve("GET", http.Header{"If-None-Match": row.tags})
			if w.Code != row.want || w.Code == 304 && (w.Body.Len() > 0 || w.Header().Get("Etag") != tag) {
				t.Errorf("%s: got %d with %d bytes, want %d", row.name, w.Code, w.Body.Len(), row.want)
			}
		})
	}
}
