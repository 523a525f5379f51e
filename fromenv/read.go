package fromenv

import (
	"errors"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/keyfold/keyfold/internal/spelling"
)

// Source says where variables come from. A nil *Source, and a field that is zero, mean
// the stated default.
type Source struct {
	// File is the path of the .env file, which must exist. The default is the file that
	// KEYFOLD_ENV_FILE names in Environ, or else ".env" in the current directory, if
	// it exists.
	File string

	// Environ is the environment, as NAME=value. It takes precedence over File, for
	// each name separately. The default is os.Environ(); a list that is empty and
	// not nil is an empty environment.
	Environ []string

	// Compat reads DATABASE_MODE and DEV_MODE, by which the predecessor fastapi_auth
	// chose its database. Other programs use these names as well, so by default they
	// are read only if another variable begins with FASTAPI_ or FAST_API_.
	Compat bool

	// Settings take precedence over both. A setting replaces the variable, its *_FILE
	// form and its aliases, which are then not read. The default is none.
	Settings []Setting
}

// Setting is the value of a variable that comes from another place, such as a flag.
type Setting struct {
	Variable string // the name of the variable, such as "KEYFOLD_ADDR"
	Value    string // the value, as it would be written in the variable
	From     string // the name to use in errors, such as "--addr"; by default, Variable
}

// ReadConfig reads the variables and checks them. It does not open anything, and does
// not change the environment of the process. If several variables are wrong, the error
// joins an [Error] for each of them.
func ReadConfig(source *Source) (*Config, error) {
	if source == nil {
		source = &Source{}
	}
	r := &reader{config: newConfig(), compat: source.Compat, values: map[string]value{}, from: map[string]string{}}
	if err := r.gather(source); err != nil {
		return nil, err
	}
	r.checkNames()
	r.readSecrets()
	r.readDatabase()
	for _, v := range variables() {
		r.readVariable(&v)
	}
	for _, warning := range r.config.TrustedProxies.Warnings() {
		r.warn("%s: %s", r.from["KEYFOLD_TRUSTED_PROXIES"], warning)
	}
	if len(r.problems) == 0 {
		r.checkOptions()
	}
	if err := errors.Join(r.problems...); err != nil {
		return nil, err
	}
	return r.config, nil
}

// value is the value of a name.
type value struct {
	text   string
	from   string // the name to use in errors
	broken string // why it cannot be used; "" if it can
	given  bool   // by a Setting
}

// reader fills a Config and collects the errors.
type reader struct {
	config   *Config
	compat   bool // as in Source
	values   map[string]value
	from     map[string]string // by variable: the name that its value was found under
	problems []error
}

func (r *reader) refuse(name, format string, args ...any) {
	r.problems = append(r.problems, refuse(name, format, args...))
}

// gather merges the sources by their precedence.
func (r *reader) gather(source *Source) error {
	environ := source.Environ
	if environ == nil {
		environ = os.Environ()
	}
	outer := map[string]value{}
	for _, entry := range environ {
		if name, text, found := strings.Cut(entry, "="); found {
			outer[name] = value{text: text, from: name}
		}
	}
	path, name, asked := source.File, source.File, true
	if path == "" {
		v, set := outer[fileVariable]
		switch {
		case !set:
			path, name, asked = defaultFile, defaultFile, false
		case v.text == "":
			return refuse(fileVariable, "is set but blank; unset it to read .env if it exists")
		default:
			path, name = v.text, fileVariable+"="+v.text
		}
	}
	inFile, exposed, err := readFile(path, name, asked)
	if err != nil {
		return err
	}
	if exposed != "" && (exposed != exposedToReaders || holdsSecret(inFile)) {
		r.warn("%s %s", path, exposed)
	}
	if _, found := inFile[fileVariable]; found {
		return refuse(fileVariable, "must be set in the environment; it has no effect in %s", path)
	}
	maps.Copy(r.values, inFile)
	maps.Copy(r.values, outer)
	for _, s := range source.Settings {
		if s.From == "" {
			s.From = s.Variable
		}
		r.values[s.Variable] = value{text: s.Value, from: s.From, given: true}
	}
	return nil
}

// holdsSecret reports whether a file sets a variable that holds a secret.
func holdsSecret(values map[string]value) bool {
	for _, v := range Variables() {
		if !v.Secret {
			continue
		}
		for _, name := range append(v.Aliases, v.Name) {
			if found, set := values[name]; set && found.text != "" {
				return true
			}
		}
	}
	return false
}

var (
	plainName = regexp.MustCompile(`^[A-Z0-9_]{1,40}$`)

	// Kubernetes and Docker links set these names in every container if a service is
	// named keyfold or keyfold-something. KEYFOLD_PORT could also be a mistake of the
	// user, so its value decides.
	clusterName  = regexp.MustCompile(`^KEYFOLD_([A-Z0-9_]+_)?(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)$`)
	clusterPort  = regexp.MustCompile(`^KEYFOLD_([A-Z0-9_]+_)?PORT$`)
	clusterValue = regexp.MustCompile(`^(tcp|udp|sctp)://`)
)

// checkNames refuses unknown names that begin with KEYFOLD_. Otherwise the default would
// silently take the place of a variable whose name is misspelt.
func (r *reader) checkNames() {
	known := names()
	for _, name := range slices.Sorted(maps.Keys(r.values)) {
		switch {
		case !strings.HasPrefix(name, "KEYFOLD_") || slices.Contains(known, name):
		case strings.HasPrefix(name, "KEYFOLD_TEST_"), strings.HasPrefix(name, "KEYFOLD_BENCH_"), name == "KEYFOLD_SERVICES_DIR": // for our own tests
		case clusterName.MatchString(name), clusterPort.MatchString(name) && clusterValue.MatchString(r.values[name].text):
		case !plainName.MatchString(name): // it may contain the value
			r.refuse("KEYFOLD_…", "begins a name that is not a Keyfold variable; the name is not shown, because it may contain a value")
		default:
			if near := spelling.Nearest(name, known, 3); near != "" {
				r.refuse(name, "is not a Keyfold variable; did you mean %s?", near)
			} else {
				r.refuse(name, "is not a Keyfold variable")
			}
		}
	}
}

// lookup finds a variable. A value that cannot be used is recorded as an error and
// counts as not set.
func (r *reader) lookup(name string) (value, bool) {
	v, set := r.values[name]
	if set && v.broken != "" {
		r.refuse(v.from, "%s", v.broken)
		return value{}, false
	}
	return v, set
}

// lookupSecret finds a variable, or reads the file that its *_FILE form names. If there
// is an error, it records the error and returns false.
func (r *reader) lookupSecret(name string) (v value, set bool) {
	v, set = r.lookup(name)
	if v.given {
		return v, true
	}
	path, inFile := r.lookup(name + "_FILE")
	if !inFile {
		return v, set
	}
	if set {
		r.refuse(name, "and %s are both set; unset one of them", path.from)
		return value{}, false
	}
	text, exposed, err := readSecretFile(path.from, path.text)
	if err != nil {
		r.problems = append(r.problems, err)
		return value{}, false
	}
	if exposed != "" {
		r.warn("the file that %s names %s", path.from, exposed)
	}
	return value{text: text, from: path.from}, true
}

// readVariable reads a variable that has no rules of its own.
func (r *reader) readVariable(v *variable) {
	if v.read == nil {
		return
	}
	read, find := v.read, r.lookup
	if v.Secret {
		find = r.lookupSecret
	}
	found, set := find(v.Name)
	if !set {
		read = v.alias.read
		var err error
		if found, set, err = r.lookupOne(v.alias.names...); err != nil {
			r.problems = append(r.problems, err)
		}
	}
	if !set {
		return
	}
	r.from[v.Name] = found.from
	reason := ""
	if !v.Secret {
		reason = untidy(found.text)
	}
	if reason == "" || found.text == "" && v.alias.mayBeEmpty && slices.Contains(v.alias.names, found.from) {
		reason = read(r.config, found.text)
	}
	if reason != "" {
		r.refuse(found.from, "%s", reason)
	}
}

const quotedReason = "has quotes around it, which only a .env file may have; leave them out"

func isQuoted(text string) bool {
	return len(text) > 1 && (text[0] == '\'' || text[0] == '"') && text[len(text)-1] == text[0]
}

// untidy says what is wrong with a text as the value of any variable, or "".
func untidy(text string) string {
	trimmed := strings.TrimSpace(text)
	switch {
	case trimmed == "":
		return "is set but blank; unset it to use the default"
	case trimmed[0] == '#':
		return "is a comment, not a value"
	case strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return "contains a line break or another control character"
	case text != trimmed:
		return "has white space around it"
	case isQuoted(text):
		return quotedReason
	}
	return ""
}
