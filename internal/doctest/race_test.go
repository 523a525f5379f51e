//go:build race

package doctest

// buildFlags build the binary as the tests are built: a race in it ends it
// with an exit code that no test expects.
var buildFlags = []string{"build", "-race"}
