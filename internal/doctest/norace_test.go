//go:build !race

package doctest

var buildFlags = []string{"build"}
