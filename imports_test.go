package keyfold_test

import (
	"encoding/json"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const modulePath = "github.com/keyfold/keyfold"

// dependencies lists what a package is built of, itself left out.
func dependencies(t *testing.T, pkg string) []string {
	t.Helper()
	out, err := exec.Command("go", "list", "-deps", "-f", "{{if not .Standard}}{{.ImportPath}}{{end}}", pkg).Output()
	if err != nil {
		t.Fatalf("go list -deps %s: %v", pkg, err)
	}
	return slices.DeleteFunc(strings.Fields(string(out)), func(dep string) bool { return dep == modulePath+strings.TrimPrefix(pkg, ".") })
}

// argon2id is the one package of a third party that the root reaches.
const argon2id = "github.com/alexedwards/argon2id"

// isOfCore reports whether a package is one that the root may reach: an internal
// one of the root's own, one of the modules of the Go team that passwords,
// usernames and addresses need, or argon2id.
func isOfCore(dep string) bool {
	if strings.HasPrefix(dep, modulePath+"/internal/") {
		return dep != modulePath+"/internal/testdb" && dep != modulePath+"/internal/password/passwordtest"
	}
	if dep == argon2id {
		return true
	}
	return slices.ContainsFunc([]string{"crypto", "net", "sys", "text"}, func(module string) bool {
		return strings.HasPrefix(dep, "golang.org/x/"+module+"/")
	})
}

func TestRootReachesOnlyItsInternalPackagesTheGoTeamsAndArgon2id(t *testing.T) {
	t.Parallel()
	if deps := slices.DeleteFunc(dependencies(t, "."), isOfCore); len(deps) > 0 {
		t.Errorf("the root package reaches %v", deps)
	}
}

// Tried: importing argon2id in the root package.
func TestArgon2idIsImportedByThePasswordCodeAlone(t *testing.T) {
	t.Parallel()
	out, err := exec.Command("go", "list", "-f", "{{$importer := .ImportPath}}{{range .Imports}}{{$importer}} {{.}}\n{{end}}", "./...").Output()
	if err != nil {
		t.Fatal(err)
	}
	var importers []string
	for line := range strings.Lines(string(out)) {
		if importer, imported, _ := strings.Cut(strings.TrimSpace(line), " "); imported == argon2id {
			importers = append(importers, strings.TrimPrefix(importer, modulePath+"/"))
		}
	}
	if want := []string{"internal/password", "internal/password/passwordtest"}; !slices.Equal(importers, want) {
		t.Errorf("argon2id is imported by %v, want %v", importers, want)
	}
}

func TestMiddlewareImportsOnlyTheRoot(t *testing.T) {
	t.Parallel()
	deps := slices.DeleteFunc(dependencies(t, "./httpadapter"), isOfCore)
	want := []string{modulePath, modulePath + "/httpadapter/internal/failures", modulePath + "/httpadapter/internal/perservice"}
	if !slices.Equal(deps, want) {
		t.Errorf("httpadapter imports %v, want the root package and its own internal packages alone", deps)
	}
}

// drivers are the modules of which a program should link only the one it uses.
var drivers = map[string]string{
	"modernc.org/sqlite":             "sqlite",
	"github.com/jackc/pgx/v5":        "postgres",
	"github.com/go-sql-driver/mysql": "mysql",

	"go.mongodb.org/mongo-driver/v2/mongo": "mongo",
}

func TestProgramThatUsesOneStoreLinksOneDriver(t *testing.T) {
	t.Parallel()
	for _, store := range []string{"sqlite", "postgres", "mysql", "mongo", "memory"} {
		t.Run(store, func(t *testing.T) {
			deps := dependencies(t, "./store/"+store)
			for driver, of := range drivers {
				if got, want := slices.Contains(deps, driver), of == store; got != want {
					t.Errorf("store/%s links %s: %v, want %v", store, driver, got, want)
				}
			}
		})
	}
}

func TestVariablesLinkNoDriver(t *testing.T) {
	t.Parallel()
	deps := slices.DeleteFunc(dependencies(t, "./fromenv"), isOfCore)
	for driver := range drivers {
		if slices.Contains(deps, driver) {
			t.Errorf("fromenv links %s: the openers that a program names do", driver)
		}
	}
	want := []string{
		"github.com/joho/godotenv", modulePath, modulePath + "/httpadapter",
		modulePath + "/httpadapter/internal/failures", modulePath + "/httpadapter/internal/perservice",
	}
	if slices.Sort(deps); !slices.Equal(deps, want) {
		t.Errorf("fromenv imports %v, want %v", deps, want)
	}
}

func TestGeneratedCodeIsImportedByTheStoresAlone(t *testing.T) {
	t.Parallel()
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports", "./...").Output()
	if err != nil {
		t.Fatal(err)
	}
	for decoder := json.NewDecoder(strings.NewReader(string(out))); decoder.More(); {
		var pkg struct {
			ImportPath string
			Imports    []string
		}
		if err := decoder.Decode(&pkg); err != nil {
			t.Fatal(err)
		}
		allowed := strings.HasPrefix(pkg.ImportPath, modulePath+"/store/") || strings.HasPrefix(pkg.ImportPath, modulePath+"/query")
		for _, imported := range pkg.Imports {
			if strings.HasPrefix(imported, modulePath+"/query") && !allowed {
				t.Errorf("%s imports %s", pkg.ImportPath, imported)
			}
			if strings.HasPrefix(pkg.ImportPath, modulePath+"/query") && imported == modulePath {
				t.Errorf("%s imports the root package", pkg.ImportPath)
			}
		}
	}
}

// Tried: importing unsafe in internal/token.
func TestUnsafeIsImportedByTheKeyCacheAlone(t *testing.T) {
	t.Parallel()
	out, err := exec.Command("go", "list", "-f", "{{$importer := .ImportPath}}{{range .Imports}}{{if eq . \"unsafe\"}}{{$importer}}\n{{end}}{{end}}", "./...").Output()
	if err != nil {
		t.Fatal(err)
	}
	if got, want := strings.Fields(string(out)), []string{modulePath + "/internal/keycache"}; !slices.Equal(got, want) {
		t.Errorf("%v import unsafe, want %v", got, want)
	}
}
