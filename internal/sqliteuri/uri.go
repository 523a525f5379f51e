// Package sqliteuri converts the path of a SQLite file to the URI that SQLite opens.
package sqliteuri

import (
	"net/url"
	"runtime"
	"strings"
)

// Of returns the URI of an absolute path of the operating system that the program
// runs on, without parameters.
func Of(path string) string { return For(path, runtime.GOOS == "windows") }

// For returns the URI of an absolute path, in the style of Windows or of Unix.
// Every character that has a meaning in a URI is escaped. SQLite refuses an
// authority, so a drive and the server of a UNC path go into the path of the URI,
// see https://www.sqlite.org/uri.html#the_uri_path.
func For(path string, windows bool) string {
	switch {
	case !windows:
	case IsVerbatim(path):
		// Windows does not interpret such a path, and accepts only backslashes in it.
		return "file:" + url.PathEscape(path)
	default:
		path = strings.ReplaceAll(path, `\`, "/")
		if !strings.HasPrefix(path, "/") {
			path = "/" + path // a drive
		}
	}
	return (&url.URL{Scheme: "file", Path: path}).String()
}

// IsVerbatim reports whether a path of Windows has one of the prefixes \\?\ and
// \\.\, which keep Windows from interpreting the rest.
func IsVerbatim(path string) bool {
	return strings.HasPrefix(path, `\\?\`) || strings.HasPrefix(path, `\\.\`)
}
