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

func TestRootImportsNothingButTheStandardLibrary(t *testing.T) {
	t.Parallel()
	if deps := dependencies(t, "."); len(deps) > 0 {
		t.Errorf("the root package imports %v", deps)
	}
}

func TestMiddlewareImportsOnlyTheRoot(t *testing.T) {
	t.Parallel()
	if deps := dependencies(t, "./httpadapter"); !slices.Equal(deps, []string{modulePath}) {
		t.Errorf("httpadapter imports %v, want the root package alone", deps)
	}
}

// drivers are the modules of which a program should link only the one it uses.
var drivers = map[string]string{
	"modernc.org/sqlite":             "sqlite",
	"github.com/jackc/pgx/v5":        "postgres",
	"github.com/go-sql-driver/mysql": "mysql",
}

func TestProgramThatUsesOneStoreLinksOneDriver(t *testing.T) {
	t.Parallel()
	for _, store := range []string{"sqlite", "postgres", "mysql", "memory"} {
		deps := dependencies(t, "./store/"+store)
		for driver, of := range drivers {
			if got, want := slices.Contains(deps, driver), of == store; got != want {
				t.Errorf("store/%s links %s: %v, want %v", store, driver, got, want)
			}
		}
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
