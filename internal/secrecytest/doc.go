// Package secrecytest prints, logs and encodes every exported type of every public
// package, filled with canaries, and looks for them in the output.
package secrecytest
