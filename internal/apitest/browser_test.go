package apitest

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/audits"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// patience bounds each wait for the page; a busy machine needs some of it.
const patience = time.Minute

// browser is one page of a headless Chromium, and what was seen of it.
type browser struct {
	t   *testing.T
	ctx context.Context

	mu         sync.Mutex
	requests   []network.EventRequestWillBeSent
	violations []string // of the Content-Security-Policy
	complaints []string // on the console
}

// findChromium returns the program to drive. Without one the test is skipped and
// says so; under CI=true or KEYFOLD_TEST_REQUIRE=1 it fails.
func findChromium(t *testing.T) string {
	t.Helper()
	candidates := []string{"chromium", "chromium-browser", "google-chrome", "google-chrome-stable"}
	if named := os.Getenv("KEYFOLD_TEST_CHROMIUM"); named != "" {
		candidates = []string{named}
	}
	for _, name := range candidates {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	const missing = "no Chromium: run scripts/toolchain chromium, or name the program in KEYFOLD_TEST_CHROMIUM"
	if os.Getenv("CI") == "true" || os.Getenv("KEYFOLD_TEST_REQUIRE") == "1" {
		t.Fatal(missing)
	}
	t.Skip(missing)
	return ""
}

func newBrowser(t *testing.T) *browser {
	t.Helper()
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(findChromium(t)),
		chromedp.NoSandbox, // root has none, and the only page is ours
		chromedp.DisableGPU,
		chromedp.UserDataDir(t.TempDir()),
		chromedp.WindowSize(1280, 1200),
		chromedp.Flag("disable-quic", true),
		chromedp.Flag("disable-component-update", true),
		// What the page's policy did not stop would stop here.
		chromedp.Flag("host-resolver-rules", "MAP * ~NOTFOUND , EXCLUDE 127.0.0.1"),
	)
	ctx, cancel := chromedp.NewExecAllocator(context.Background(), options...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(func() {
		_ = chromedp.Cancel(ctx) // the browser has to be gone before its directory is
		cancel()
	})
	b := &browser{t: t, ctx: ctx}
	b.do(nil) // starts the browser, without a limit that would end it
	if err := chromedp.Listen(ctx, b.see); err != nil {
		t.Fatalf("listen to the browser: %v", err)
	}
	for _, enable := range []func() error{
		func() error { _, err := chromedp.Call(ctx, network.Enable, network.EnableParams{}); return err },
		func() error { _, err := chromedp.Call(ctx, audits.Enable, cdp.Empty{}); return err },
		func() error { _, err := chromedp.Call(ctx, log.Enable, cdp.Empty{}); return err },
	} {
		if err := enable(); err != nil {
			t.Fatalf("watch the page: %v", err)
		}
	}
	return b
}

// see is called with all that happens in the page.
func (b *browser) see(event any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch e := event.(type) {
	case *network.EventRequestWillBeSent:
		b.requests = append(b.requests, *e)
	case *audits.EventIssueAdded:
		if e.Issue.Details == nil {
			return
		}
		if d := e.Issue.Details.ContentSecurityPolicyIssueDetails; d != nil {
			b.violations = append(b.violations, fmt.Sprintf("%s: %s %s", d.ViolatedDirective, d.ContentSecurityPolicyViolationType, d.BlockedURL))
		}
	case *log.EventEntryAdded:
		if e.Entry.Level != log.EntryLevelVerbose && e.Entry.Level != log.EntryLevelInfo {
			b.complaints = append(b.complaints, string(e.Entry.Source)+": "+e.Entry.Text)
		}
	case *runtime.EventExceptionThrown:
		b.complaints = append(b.complaints, "exception: "+e.ExceptionDetails.Text)
	case *runtime.EventConsoleAPICalled:
		if e.Type == runtime.ConsoleAPICalledTypeError || e.Type == runtime.ConsoleAPICalledTypeWarning {
			b.complaints = append(b.complaints, fmt.Sprintf("console.%s: %+v", e.Type, e.Args))
		}
	}
}

// seen returns what was seen so far.
func (b *browser) seen() (requests []network.EventRequestWillBeSent, violations, complaints []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.requests, b.violations, b.complaints
}

// do ends the test when a step fails. Nil only starts the browser.
func (b *browser) do(step chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	if step == nil {
		if err := chromedp.Do(b.ctx); err != nil {
			b.t.Fatalf("start the browser: %v", err)
		}
		return
	}
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	if err := chromedp.Do(ctx, step); err != nil {
		b.screenshot("docs-page-failed.png")
		b.t.Fatalf("in the browser: %v", err)
	}
}

// value evaluates an expression in the page. It is run by the debugger, which
// the page's policy does not bind.
func value[T any](b *browser, expression string) T {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	v, err := chromedp.Run(ctx, chromedp.Evaluate[T](expression))
	if err != nil {
		b.t.Fatalf("evaluate %s: %v", expression, err)
	}
	return v
}

// until waits for an expression to be true.
func (b *browser) until(expression string) {
	b.t.Helper()
	for deadline := time.Now().Add(patience); !value[bool](b, expression); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			b.screenshot("docs-page-failed.png")
			b.t.Fatalf("the page did not come to %s", expression)
		}
	}
}

// screenshot keeps the page for people to look at, in artifacts/ or in the folder
// that KEYFOLD_TEST_ARTIFACTS names.
func (b *browser) screenshot(name string) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	picture, err := chromedp.Run(ctx, chromedp.CaptureScreenshot())
	if err != nil {
		b.t.Errorf("screenshot: %v", err)
		return
	}
	folder := os.Getenv("KEYFOLD_TEST_ARTIFACTS")
	if folder == "" {
		folder = filepath.Join("..", "..", "artifacts")
	}
	if err := os.MkdirAll(folder, 0o755); err != nil {
		b.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(folder, name), picture, 0o644); err != nil {
		b.t.Fatal(err)
	}
	b.t.Logf("screenshot: %s", filepath.Join(folder, name))
}

// prefer sets whether the reader's system is light or dark.
func (b *browser) prefer(scheme string) {
	b.t.Helper()
	_, err := chromedp.Call(b.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
	})
	if err != nil {
		b.t.Fatalf("prefer %s: %v", scheme, err)
	}
}
