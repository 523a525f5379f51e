// Package query holds no code of its own: the packages below it are generated
// by sqlc from the files under sql/, and make no compatibility promise.
// Programs use the packages under store/.
package query
