package apitest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/keyfold/keyfold"
)

// Mutations tried: a style attribute in the page; a link to a style sheet
// elsewhere; showMutatedRequest, which shows the secret in the command to copy;
// the secret in localStorage.
func TestDocsPageTriesCallsInABrowser(t *testing.T) {
	t.Parallel()
	server := newServer(t, nil)
	b := newBrowser(t)
	b.prefer("light")
	b.do(chromedp.Navigate(server.base + "docs"))
	b.until(`document.querySelectorAll(".opblock").length > 0`)
	if got, want := value[int](b, `document.querySelectorAll(".opblock").length`), len(describe(t, server.handler).operations); got != want {
		t.Errorf("the page lists %d operations, the document has %d", got, want)
	}

	// Without the secret.
	if status, body := b.try("keys-list-keys"); status != http.StatusUnauthorized || !strings.Contains(body, "invalid_secret") {
		t.Errorf("a call without the secret shows %d %s", status, body)
	}

	// With it, as a person would: type it, and execute what the form suggests.
	b.do(chromedp.SendKeys(chromedp.CSS("#secret"), secret))
	status, body := b.try("keys-create-key")
	token := regexp.MustCompile(`kf_\w+`).FindString(body)
	if status != http.StatusCreated || token == "" {
		t.Fatalf("creating a key shows %d %s", status, body)
	}
	id, err := server.svc.Verify(t.Context(), keyfold.Request{Token: token, Scopes: []string{"reports:read"}})
	if err != nil || id.OwnerID() != "cust_42" {
		t.Errorf("the token on the page is of %q, %v, want the suggested owner", id.OwnerID(), err)
	}
	b.do(chromedp.Evaluate[chromedp.Void](`document.querySelector("#operations-keys-create-key .live-responses-table").scrollIntoView({block: "end"})`))
	b.screenshot("docs-page.png")
	if status, body := b.try("keys-list-keys"); status != http.StatusOK || !strings.Contains(body, id.KeyID()) {
		t.Errorf("listing keys shows %d %s", status, body)
	}
	b.open("keys-get-key")
	b.do(chromedp.SendKeys(chromedp.CSS("#operations-keys-get-key input"), id.KeyID()))
	if status, body := b.try("keys-get-key"); status != http.StatusOK || !strings.Contains(body, `"cust_42"`) {
		t.Errorf("reading the key shows %d %s", status, body)
	}

	b.prefer("dark")
	b.until(`document.documentElement.classList.contains("dark-mode")`)
	b.do(chromedp.Evaluate[chromedp.Void](`document.querySelector("#operations-keys-create-key").scrollIntoView()`))
	b.screenshot("docs-page-dark.png")

	b.keptTheSecret()
	b.stayedWithin(server.base)
	b.seesViolations()
}

// try opens an operation, executes it and returns what the page shows.
func (b *browser) try(operation string) (status int, body string) {
	b.t.Helper()
	block := "#operations-" + operation
	b.open(operation)
	b.do(chromedp.Click(chromedp.CSS(block + " .execute")))
	shown := fmt.Sprintf(`document.querySelector(%q)`, block+" .live-responses-table .response")
	b.until(shown + ` !== null`)
	return value[int](b, `parseInt(`+shown+`.querySelector(".response-col_status").innerText)`),
		value[string](b, shown+`.querySelector(".response-col_description .highlight-code, .response-col_description .microlight").innerText`)
}

// open unfolds an operation if it is folded, without the answer of an earlier try.
func (b *browser) open(operation string) {
	b.t.Helper()
	block := "#operations-" + operation
	if !value[bool](b, fmt.Sprintf(`document.querySelector(%q).classList.contains("is-open")`, block)) {
		b.do(chromedp.Click(chromedp.CSS(block + " .opblock-summary-control")))
	}
	b.do(chromedp.WaitVisible(chromedp.CSS(block + " .execute")))
	if value[bool](b, fmt.Sprintf(`document.querySelector(%q) !== null`, block+" .btn-clear")) {
		b.do(chromedp.Click(chromedp.CSS(block + " .btn-clear")))
		b.until(fmt.Sprintf(`document.querySelector(%q) === null`, block+" .live-responses-table"))
	}
}

// keptTheSecret checks that the secret is in its field and nowhere else.
func (b *browser) keptTheSecret() {
	b.t.Helper()
	for place, expression := range map[string]string{
		"what the page shows":     `document.documentElement.innerText`,
		"the page's elements":     `document.documentElement.outerHTML`,
		"the address":             `location.href`,
		"cookies":                 `document.cookie`,
		"storage of the browser":  `JSON.stringify({...localStorage})`,
		"storage of this session": `JSON.stringify({...sessionStorage})`,
		"the history":             `JSON.stringify(history.state ?? null)`,
	} {
		if strings.Contains(value[string](b, expression), secret) {
			b.t.Errorf("the secret is in %s", place)
		}
	}
	if value[string](b, `document.querySelector("#secret").type`) != "password" {
		b.t.Error("the field of the secret shows it")
	}
	if !value[bool](b, fmt.Sprintf(`document.querySelector("#secret").value === %q`, secret)) {
		b.t.Error("the secret is not in its field: nothing was checked")
	}
	if shown := value[string](b, `document.querySelector("#operations-keys-create-key .curl").innerText`); !strings.Contains(shown, "secret-key: THE-ADMIN-SECRET") {
		b.t.Errorf("the command to copy is %q, want one with a place for the secret", shown)
	}
}

// stayedWithin checks that no request went elsewhere, that nothing was stopped by
// the page's policy, and that the console has no complaint but the one 401.
func (b *browser) stayedWithin(base string) {
	b.t.Helper()
	requests, violations, complaints := b.seen()
	withSecret := 0
	for _, request := range requests {
		if url := request.Request.URL; !strings.HasPrefix(url, base) && !strings.HasPrefix(url, "data:") {
			b.t.Errorf("the page asked for %s", url)
		}
		headers, err := json.Marshal(request.Request.Headers)
		if err != nil {
			b.t.Fatal(err)
		}
		if strings.Contains(string(headers), secret) {
			withSecret++
		}
	}
	if withSecret != 3 {
		b.t.Errorf("%d requests had the secret, want the 3 that were executed with it", withSecret)
	}
	if len(violations) > 0 {
		b.t.Errorf("the policy was violated: %q", violations)
	}
	for _, complaint := range complaints {
		if !strings.Contains(complaint, "status of 401") {
			b.t.Errorf("on the console: %s", complaint)
		}
	}
}

// seesViolations proves that stayedWithin would have seen one.
func (b *browser) seesViolations() {
	b.t.Helper()
	b.do(chromedp.Evaluate[chromedp.Void](`void (new Image().src = "https://192.0.2.1/pixel")`))
	b.do(chromedp.Evaluate[chromedp.Void](`void document.body.append(Object.assign(document.createElement("script"), {text: "window.ran = true"}))`))
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		_, violations, _ := b.seen()
		if len(violations) == 2 {
			break
		}
		if time.Now().After(deadline) {
			b.t.Fatalf("a picture from elsewhere and a script were seen as %q, want two violations", violations)
		}
	}
	if value[bool](b, `window.ran === true`) {
		b.t.Error("a script that is not the page's has run")
	}
}
