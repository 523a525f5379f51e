// Package apitest tests the admin API from outside: its documentation page in a
// browser, and each of its answers against the document that describes it. It is
// a module of its own because the product must not require what these tests do.
package apitest
