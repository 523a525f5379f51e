package secrecytest

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/fromenv"
	"github.com/keyfold/keyfold/httpadapter"
	"github.com/keyfold/keyfold/httpadapter/admin"
	"github.com/keyfold/keyfold/httpadapter/compat"
	"github.com/keyfold/keyfold/keyfoldtest"
	"github.com/keyfold/keyfold/store/memory"
	"github.com/keyfold/keyfold/store/mongo"
	"github.com/keyfold/keyfold/store/mysql"
	"github.com/keyfold/keyfold/store/postgres"
	"github.com/keyfold/keyfold/store/sqlite"
)

const modulePath = "github.com/keyfold/keyfold"

// subject is a type with the ways to hold a value of it that need its name.
type subject struct {
	typ    reflect.Type
	holder func(any) []any // values that have it in exported places
	inside func(any) any   // a struct that has it in an unexported field
}

func of[T any]() subject {
	type unexported struct{ value T }
	return subject{
		typ: reflect.TypeFor[T](),
		holder: func(v any) []any {
			value := v.(T)
			return []any{value, &value, []T{value}, map[string]T{"k": value}, struct{ Value T }{value}, struct{ Pointer *T }{&value}, []any{value}}
		},
		inside: func(v any) any { return unexported{v.(T)} },
	}
}

// name is what the tests call a type: keyfold.Options, admin.Options.
func (s subject) name() string { return s.typ.String() }

// subjects has every exported type of every public package but interfaces and
// functions. TestEveryExportedTypeIsTested finds what is missing.
func subjects() []subject {
	return []subject{
		of[keyfold.Actor](), of[keyfold.AuditEntry](), of[keyfold.AuditPage](), of[keyfold.AuditQuery](), of[keyfold.AuditScan](),
		of[keyfold.Change](), of[keyfold.Outcome](), of[keyfold.ConflictError](), of[keyfold.CreatedKey](), of[keyfold.Decision](), of[keyfold.EventPosition](), of[keyfold.Filter](), of[keyfold.HashedPassword](), of[keyfold.Identity](), of[keyfold.InvalidError](), of[keyfold.Key](),
		of[keyfold.KeyFilter](), of[keyfold.KeyIndex](), of[keyfold.KeyPage](), of[keyfold.KeyRecord](), of[keyfold.Rules](), of[keyfold.KeyScan](),
		of[keyfold.KeyState](), of[keyfold.KeyUpdate](), of[keyfold.KeyQuery](), of[keyfold.Credentials](), of[keyfold.Mutation](), of[keyfold.NewKey](),
		of[keyfold.NewUser](), of[keyfold.NotReadyError](), of[keyfold.IssuedOneTimeToken](), of[keyfold.OneTimePurpose](), of[keyfold.OneTimeTokenRecord](), of[keyfold.OneTimeToken](),
		of[keyfold.OneTimeTokenUse](), of[keyfold.Options](), of[keyfold.PasswordPolicy](), of[keyfold.PollPolicy](), of[keyfold.Position](), of[keyfold.ReadyPart](),
		of[keyfold.RenewOptions](), of[keyfold.Request](), of[keyfold.ResetOptions](), of[keyfold.RotateOptions](), of[keyfold.Rotation](),
		of[keyfold.SecretHash](), of[keyfold.Service](), of[keyfold.ThrottleReservation](), of[keyfold.AttemptResult](), of[keyfold.StateChange](), of[keyfold.Throttle](),
		of[keyfold.ThrottleRule](), of[keyfold.Token](), of[keyfold.Tx](), of[keyfold.UsageBatch](), of[keyfold.UsageEvent](),
		of[keyfold.UsageHour](), of[keyfold.UsageInterval](), of[keyfold.UsageMode](), of[keyfold.UsagePage](), of[keyfold.UsageQuery](),
		of[keyfold.UsageReport](), of[keyfold.UsageReportQuery](), of[keyfold.UsageResult](), of[keyfold.UsageScan](), of[keyfold.UsageStats](),
		of[keyfold.KeyUses](), of[keyfold.UsageTotals](), of[keyfold.UsageUnit](), of[keyfold.User](), of[keyfold.UserPage](),
		of[keyfold.UserRecord](), of[keyfold.UserScan](), of[keyfold.UserState](), of[keyfold.UserUpdate](), of[keyfold.UserQuery](),
		of[keyfold.VerifyRecord](),

		of[fromenv.Config](), of[fromenv.Database](), of[fromenv.Error](), of[fromenv.App](), of[fromenv.Secret](), of[fromenv.Setting](),
		of[fromenv.Source](), of[fromenv.Variable](),

		of[httpadapter.Guard](), of[httpadapter.Problem](), of[httpadapter.Proxies](),

		of[admin.BulkChange](), of[admin.CreatedOneTimeToken](), of[admin.Options](),

		of[compat.Options](),

		of[keyfoldtest.Clock](),

		of[memory.Store](), of[memory.Tx](),

		of[mongo.Opener](), of[mongo.Store](),

		of[mysql.Opener](), of[mysql.Store](),

		of[postgres.Opener](), of[postgres.Store](),

		of[sqlite.Opener](), of[sqlite.Store](),
	}
}

// isPublic reports whether programs may import the package in that directory.
// The generated code under query is for the stores alone.
func isPublic(dir string) bool {
	for part := range strings.SplitSeq(filepath.ToSlash(dir), "/") {
		if slices.Contains([]string{"internal", "testdata", "cmd", "examples", "bench", "query", "tools", "scripts", ".git"}, part) {
			return false
		}
	}
	return true
}

func TestEveryExportedTypeIsTested(t *testing.T) {
	t.Parallel()
	known := map[string]bool{}
	for _, s := range subjects() {
		known[s.typ.PkgPath()+"."+s.typ.Name()] = true
	}
	const root = "../.."
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		dir, _ := filepath.Rel(root, path)
		if entry.IsDir() && !isPublic(dir) {
			return filepath.SkipDir
		}
		if entry.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		pkg := modulePath
		if in := filepath.ToSlash(filepath.Dir(dir)); in != "." {
			pkg += "/" + in
		}
		for _, name := range exportedTypes(file) {
			if !known[pkg+"."+name] {
				t.Errorf("%s.%s is not among the subjects of this test: add of[%s.%s]() to subjects", pkg, name, file.Name.Name, name)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// exportedTypes returns the names of the types of a file that can hold something.
func exportedTypes(file *ast.File) (names []string) {
	for _, decl := range file.Decls {
		group, ok := decl.(*ast.GenDecl)
		if !ok {
			continue
		}
		for _, spec := range group.Specs {
			spec, ok := spec.(*ast.TypeSpec)
			if !ok || !spec.Name.IsExported() {
				continue
			}
			switch spec.Type.(type) {
			case *ast.InterfaceType, *ast.FuncType:
			default:
				names = append(names, spec.Name.Name)
			}
		}
	}
	return names
}
