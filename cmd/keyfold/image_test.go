package main

import (
	"bufio"
	"debug/elf"
	"encoding/json"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"
)

// module is the directory of the module.
const module = "../.."

func readFile(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(module, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// instruction is one of a Dockerfile: "USER", "65532:65532".
type instruction struct{ name, args string }

// words decodes the form ["a", "b"].
func (i instruction) words(t *testing.T) []string {
	t.Helper()
	var words []string
	if err := json.Unmarshal([]byte(i.args), &words); err != nil {
		t.Fatalf("%s %s: %v", i.name, i.args, err)
	}
	return words
}

// dockerfile returns the instructions by stage.
func dockerfile(t *testing.T) (stages [][]instruction) {
	t.Helper()
	for line := range strings.Lines(readFile(t, "Dockerfile")) {
		if line = strings.TrimSpace(line); line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		name, args, _ := strings.Cut(line, " ")
		if name == "FROM" {
			stages = append(stages, nil)
		}
		stages[len(stages)-1] = append(stages[len(stages)-1], instruction{name, args})
	}
	return stages
}

// only returns the instruction of that name, of which there has to be one.
func only(t *testing.T, stage []instruction, name string) instruction {
	t.Helper()
	found := slices.DeleteFunc(slices.Clone(stage), func(i instruction) bool { return i.name != name })
	if len(found) != 1 {
		t.Fatalf("%d times %s, want one", len(found), name)
	}
	return found[0]
}

func TestImageIsAsThePagesSay(t *testing.T) {
	t.Parallel()
	stages := dockerfile(t)
	if len(stages) != 2 {
		t.Fatalf("%d stages, want 2", len(stages))
	}
	final := stages[1]
	for name, want := range map[string]string{"FROM": "scratch", "USER": "65532:65532", "WORKDIR": "/data", "EXPOSE": "8080", "VOLUME": `["/data"]`} {
		t.Run(name, func(t *testing.T) {
			if got := only(t, final, name).args; got != want {
				t.Errorf("%s %s, want %s", name, got, want)
			}
		})
	}
	if !slices.Contains(final, instruction{"COPY", "--from=build --chown=65532:65532 /out/data /data"}) {
		t.Error("the volume does not belong to the user")
	}
	named := func(name string) func(instruction) bool {
		return func(i instruction) bool { return i.name == name }
	}
	if volume := slices.IndexFunc(final, named("VOLUME")); slices.ContainsFunc(final[volume:], named("COPY")) {
		t.Error("what is copied after VOLUME does not get into it")
	}

	// The command lines in it are ones that the command takes.
	entry, serve := only(t, final, "ENTRYPOINT").words(t), only(t, final, "CMD").words(t)
	_, health, _ := strings.Cut(only(t, final, "HEALTHCHECK").args, "CMD ")
	check := instruction{"HEALTHCHECK", health}.words(t)
	if !slices.Equal(entry, []string{"/keyfold"}) || check[0] != entry[0] {
		t.Errorf("ENTRYPOINT %q, HEALTHCHECK %q", entry, check)
	}
	c := &command{environ: []string{only(t, final, "ENV").args}}
	root := c.root()
	for _, line := range [][]string{serve, check[1:]} {
		cmd, rest, err := root.Find(line)
		if err != nil || cmd == root {
			t.Fatalf("keyfold %q: %v", line, err)
		}
		if err := cmd.ParseFlags(rest); err != nil || cmd.ValidateArgs(cmd.Flags().Args()) != nil {
			t.Errorf("keyfold %q: %v", line, err)
		}
		// Both follow the variable, so that who sets another moves both.
		if config, err := c.config(cmd); err != nil || config.Addr != "0.0.0.0:8080" || cmd.Flag("addr").Changed {
			t.Errorf("keyfold %q: address %+v, %v; want that of the variable, on every address of the container", line, config, err)
		}
	}
	if !slices.Equal(serve, []string{"serve"}) || reachable("0.0.0.0:8080") != "127.0.0.1:8080" {
		t.Errorf("CMD %q, asked at %s", serve, reachable("0.0.0.0:8080"))
	}

	// The compiler is the one that go.mod asks for.
	version := regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindStringSubmatch(readFile(t, "go.mod"))[1]
	if from := only(t, stages[0], "FROM").args; !strings.Contains(from, " golang:"+version+"-alpine ") {
		t.Errorf("FROM %s, want Go %s", from, version)
	}
}

// The image has no libraries: the binary must not need any.
func TestImageBuildsAStaticBinary(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		t.Skip("images are of Linux")
	}
	var build string
	for _, i := range dockerfile(t)[0] {
		if i.name == "RUN" && strings.Contains(i.args, " go build ") {
			build = i.args
		}
	}
	out := filepath.Join(t.TempDir(), "keyfold")
	if !strings.Contains(build, " -o /out/keyfold ") {
		t.Fatalf("RUN %q builds no /out/keyfold", build)
	}
	cmd := exec.Command("sh", "-ec", strings.Replace(build, "/out/keyfold", `"$OUT"`, 1))
	cmd.Dir, cmd.Env = module, append(os.Environ(), "OUT="+out, "TARGETOS="+runtime.GOOS, "TARGETARCH="+runtime.GOARCH)
	if printed, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, printed)
	}
	file, err := elf.Open(out)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for _, part := range file.Progs {
		if part.Type == elf.PT_INTERP || part.Type == elf.PT_DYNAMIC {
			t.Errorf("the binary has a %v: it is not static", part.Type)
		}
	}
	if printed, err := exec.Command(out, "version").CombinedOutput(); err != nil || !strings.HasPrefix(string(printed), "keyfold ") {
		t.Errorf("version: %v: %s", err, printed)
	}
	runsWithoutVariables(t, out)
}

// runsWithoutVariables starts the command as "docker compose up" does where there is
// no .env: in an empty directory, with the address alone.
func runsWithoutVariables(t *testing.T, binary string) {
	t.Helper()
	address := freeAddress(t)
	cmd := exec.Command(binary, "serve")
	cmd.Dir, cmd.Env = t.TempDir(), []string{"KEYFOLD_ADDR=" + address}
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}()
	var secret string
	for lines := bufio.NewScanner(stderr); lines.Scan() && !strings.Contains(lines.Text(), "msg=listening"); {
		if _, made, found := strings.Cut(lines.Text(), "keyfold: admin secret (send it as the secret-key header): "); found {
			secret = made
		}
	}
	call := func(method, path, body string, headers ...string) response {
		t.Helper()
		a, err := send(t.Context(), http.DefaultClient, method, "http://"+address+path, body, headers...)
		if err != nil {
			t.Fatalf("%s %s: %v", method, path, err)
		}
		return a
	}
	if a := call("GET", "/unsecure", ""); a.status != http.StatusOK {
		t.Errorf("/unsecure: %d", a.status)
	}
	if a := call("GET", "/secure", ""); a.status != http.StatusUnauthorized {
		t.Errorf("/secure without a key: %d", a.status)
	}
	made := call("POST", "/auth/keys", `{"name":"ci"}`, "secret-key", secret, "Content-Type", "application/json")
	var key struct{ Token string }
	if err := json.Unmarshal(made.body, &key); err != nil || made.status != http.StatusCreated {
		t.Fatalf("a key with the secret of the log: %d %s", made.status, made.body)
	}
	if a := call("GET", "/secure", "", "Authorization", "Bearer "+key.Token); a.status != http.StatusOK {
		t.Errorf("/secure with a key: %d %s", a.status, a.body)
	}
}

func freeAddress(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}

func TestComposeRunsTheImage(t *testing.T) {
	t.Parallel()
	var file struct {
		Services map[string]struct {
			Build, Image string
			Ports        []string
			EnvFile      []struct {
				Path     string
				Required bool
			} `yaml:"env_file"`
			Environment     map[string]string
			Volumes         []string
			Restart         string
			StopGracePeriod string   `yaml:"stop_grace_period"`
			ReadOnly        bool     `yaml:"read_only"`
			CapDrop         []string `yaml:"cap_drop"`
			SecurityOpt     []string `yaml:"security_opt"`
		}
		Volumes map[string]any
	}
	decoder := yaml.NewDecoder(strings.NewReader(readFile(t, "compose.yaml")))
	decoder.KnownFields(true)
	if err := decoder.Decode(&file); err != nil {
		t.Fatal(err)
	}
	s, found := file.Services["keyfold"]
	if !found || s.Build != "." || !slices.Equal(s.Ports, []string{"127.0.0.1:8080:8080"}) {
		t.Errorf("service %+v", s)
	}
	if _, named := file.Volumes["data"]; !named || !slices.Equal(s.Volumes, []string{"data:/data"}) {
		t.Errorf("volumes %v of %v", s.Volumes, file.Volumes)
	}
	// What is set here wins over the file: the address has to be the published one.
	if len(s.Environment) != 1 || s.Environment["KEYFOLD_ADDR"] != "0.0.0.0:8080" || len(s.EnvFile) != 1 || s.EnvFile[0].Path != ".env" || s.EnvFile[0].Required {
		t.Errorf("environment %v, files %v", s.Environment, s.EnvFile)
	}
	// Requests may take shutdownTimeout to finish, and then the Service as long
	// again to write usage.
	if grace, err := time.ParseDuration(s.StopGracePeriod); err != nil || grace <= 2*shutdownTimeout {
		t.Errorf("it is killed after %v, %v; want more than %v", grace, err, 2*shutdownTimeout)
	}
}

func TestNoSecretGetsIntoAnImage(t *testing.T) {
	t.Parallel()
	ignored := strings.Split(readFile(t, ".dockerignore"), "\n")
	for _, want := range []string{"**/.env*", "**/keyfold.db*", ".git"} {
		t.Run(want, func(t *testing.T) {
			if !slices.Contains(ignored, want) {
				t.Errorf(".dockerignore does not hold %s", want)
			}
		})
	}
	for _, line := range ignored {
		if strings.HasPrefix(line, "!") {
			t.Errorf(".dockerignore lets %s in again", line)
		}
	}
}
