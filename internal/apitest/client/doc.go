// Package client tests the admin API with a Go client that oapi-codegen generates
// from its OpenAPI document. The generated file is not kept in the repository:
// TestGeneratedGoClient in the parent directory adds it to this package by an
// overlay, and sets the build tag of the tests here.
package client
