package fromenv_test

import (
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/keyfold/keyfold/fromenv"
)

var assignment = regexp.MustCompile(`(?m)^#([A-Z][A-Z0-9_]*)='(.*)'$`)

func example(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../.env.example")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// allNames returns all names in [fromenv.Variables].
func allNames() (all []string) {
	for _, v := range fromenv.Variables() {
		all = append(append(all, v.Name), v.Aliases...)
		if v.Secret {
			all = append(all, v.Name+"_FILE")
		}
	}
	return all
}

func TestExampleFileExplainsEveryVariable(t *testing.T) {
	t.Parallel()
	explained := map[string]bool{}
	for _, match := range assignment.FindAllStringSubmatch(example(t), -1) {
		if explained[match[1]] {
			t.Errorf("%s is there twice", match[1])
		}
		explained[match[1]] = true
	}
	for _, name := range allNames() {
		if !explained[name] {
			t.Errorf("%s is not explained", name)
		}
		delete(explained, name)
	}
	for name := range explained {
		t.Errorf("%s is explained and does not exist", name)
	}
}

func TestUneditedExampleFileSetsNothing(t *testing.T) {
	t.Parallel()
	config, err := readFile(t, example(t))
	if err != nil || !reflect.DeepEqual(config, mustRead(t)) {
		t.Errorf("%+v, %v", config, err)
	}
}

// Every line of the example is valid without its #, and the defaults in it are correct.
func TestExampleFileShowsDefaults(t *testing.T) {
	t.Parallel()
	defaults := map[string]string{}
	for _, v := range fromenv.Variables() {
		defaults[v.Name] = v.Default
	}
	for _, match := range assignment.FindAllStringSubmatch(example(t), -1) {
		name, value := match[1], match[2]
		if name == "KEYFOLD_ENV_FILE" {
			continue
		}
		want := defaults[name]
		if want != "" && value != want {
			t.Errorf("%s is shown as %s, its default is %s", name, value, want)
		}
		config, err := readFile(t, strings.TrimPrefix(match[0], "#"))
		switch {
		case value == "" && (strings.Contains(name, "SECRET") || strings.Contains(name, "PEPPER")):
			wantsError(t, err, name, "is set but blank") // the example must not contain a usable secret
		case strings.HasSuffix(name, "_FILE"):
			wantsError(t, err, name, "names a file that cannot be read")
		case name == "KEYFOLD_CURRENT_PEPPER":
			wantsError(t, err, name, "must be the id of one of KEYFOLD_PEPPERS")
		case err != nil:
			t.Errorf("%s: %v", match[0], err)
		case want != "" && !reflect.DeepEqual(config, mustRead(t, name+"="+want)):
			t.Errorf("%s means %+v", match[0], config)
		}
	}
}

// Setting a variable to its documented default must have the same effect as not setting
// it. The defaults of options are in options.go.
func TestDefaultsMatchTheOptions(t *testing.T) {
	t.Parallel()
	constants := defaultConstants(t)
	for _, v := range fromenv.Variables() {
		if v.Default == "" || v.Name == "KEYFOLD_ENV_FILE" {
			continue
		}
		config := mustRead(t, v.Name+"="+v.Default)
		field := strings.ReplaceAll(strings.TrimPrefix(v.Name, "KEYFOLD_"), "_", "")
		if v.Name == "KEYFOLD_PASSWORD_MIN_LENGTH" { // password_policy.go has this default
			continue
		}
		want, found := constants["default"+strings.ToLower(field)]
		if !found {
			if !reflect.DeepEqual(config, mustRead(t)) {
				t.Errorf("%s=%s means %+v, without it %+v", v.Name, v.Default, config, mustRead(t))
			}
			continue
		}
		got := reflect.ValueOf(*config.Options()).FieldByNameFunc(func(name string) bool { return strings.EqualFold(name, field) })
		if shown := fmt.Sprintf("%d", got.Interface()); got.Kind() == reflect.String && strconv.Quote(got.String()) != want || got.Kind() != reflect.String && shown != want {
			t.Errorf("%s=%s sets the option to %v, its default is %s", v.Name, v.Default, got, want)
		}
		delete(constants, "default"+strings.ToLower(field))
	}
	delete(constants, "defaultoverlap") // the default of RotateOptions
	for name := range constants {
		t.Errorf("no variable has the default of %s", name)
	}
}

// defaultConstants returns the constants of options.go whose names begin with "default".
// The keys are the names in lower case, and the values are in Go syntax.
func defaultConstants(t *testing.T) map[string]string {
	t.Helper()
	files := token.NewFileSet()
	file, err := parser.ParseFile(files, "../options.go", nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	checker := types.Config{Importer: importer.ForCompiler(files, "source", nil), Error: func(error) {}} // the file is only a part of its package
	pkg, _ := checker.Check("keyfold", files, []*ast.File{file}, nil)
	values := map[string]string{}
	for _, name := range pkg.Scope().Names() {
		if constant, ok := pkg.Scope().Lookup(name).(*types.Const); ok && strings.HasPrefix(name, "default") {
			values[strings.ToLower(name)] = constant.Val().ExactString()
		}
	}
	if len(values) < 10 {
		t.Fatalf("options.go has the defaults %v", values)
	}
	return values
}

func TestConfigurationTableIsComplete(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	var table strings.Builder
	for _, v := range fromenv.Variables() {
		name, value := "`"+v.Name+"`", ""
		if v.Secret {
			name += ", `…_FILE`"
		}
		if v.Default != "" {
			value = "`" + v.Default + "`"
		}
		fmt.Fprintf(&table, "| %s | %s | %s |\n", name, value, v.Meaning)
	}
	if !strings.Contains(string(text), "| variable | default | meaning |\n|---|---|---|\n"+table.String()+"\n") {
		t.Errorf("docs/configuration.md needs this table:\n%s", &table)
	}
	for _, v := range fromenv.Variables() {
		for _, alias := range v.Aliases {
			if !strings.Contains(string(text), "`"+alias+"`") {
				t.Errorf("docs/configuration.md does not have %s", alias)
			}
		}
	}
	names := allNames()
	for _, match := range regexp.MustCompile("`(KEYFOLD_[A-Z_]+[A-Z])`").FindAllStringSubmatch(string(text), -1) {
		if !slices.Contains(names, match[1]) && match[1] != "KEYFOLD_SERVICE_HOST" && match[1] != "KEYFOLD_PORT" {
			t.Errorf("docs/configuration.md has %s, which does not exist", match[1])
		}
	}
}
