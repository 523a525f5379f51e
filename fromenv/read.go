package fromenv

import (
	"errors"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
)

// Source says where variables come from. A nil *Source and every zero field
// mean the default stated.
type Source struct {
	// File is the .env file, which then has to exist. Default: the one that
	// KEYFOLD_ENV_FILE names in Environ, or else ".env" in the current directory
	// if it is there.
	File string

	// Environ is the environment, as NAME=value. It wins over File, name by
	// name. Default os.Environ(); an empty one that is not nil is empty.
	Environ []string

	// Compat reads DATABASE_MODE and DEV_MODE, which the predecessor fastapi_auth
	// chose its database by. Those names are common, so by default they are read
	// only where another variable begins with FASTAPI_ or FAST_API_.
	Compat bool

	// Settings win over both. A setting replaces the variable, its *_FILE form
	// and its aliases, which are then not read. Default none.
	Settings []Setting
}

// Setting is the value of a variable that comes from elsewhere: from a flag.
type Setting struct {
	Variable string // KEYFOLD_ADDR
	Value    string // as the variable holds it
	From     string // what errors call it: "--addr"; the variable if empty
}

// ReadConfig reads the variables and checks them. It opens nothing and changes no
// environment. Its error joins an [Error] for everything that is wrong.
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

// value is what was found under a name.
type value struct {
	text   string
	from   string // what errors call it
	broken string // why it cannot be read, if so
	given  bool   // by a Setting
}

// reader fills a Config and gathers what is wrong.
type reader struct {
	config   *Config
	compat   bool // as in Source
	values   map[string]value
	from     map[string]string // variable: what its value was found under
	problems []error
}

func (r *reader) refuse(name, format string, args ...any) {
	r.problems = append(r.problems, refuse(name, format, args...))
}

// gather puts the sources over one another.
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
			return refuse(fileVariable, "is set but blank; unset it to read .env if there is one")
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
		return refuse(fileVariable, "is read from the environment; it has no meaning in %s", path)
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

// holdsSecret reports whether a file sets a variable that others must not read.
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

	// What Kubernetes, and Docker links, put into the environment of every
	// container beside a service that is named keyfold or keyfold-something. The
	// one whose name somebody may also think of goes by its value.
	clusterName  = regexp.MustCompile(`^KEYFOLD_([A-Z0-9_]+_)?(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)$`)
	clusterPort  = regexp.MustCompile(`^KEYFOLD_([A-Z0-9_]+_)?PORT$`)
	clusterValue = regexp.MustCompile(`^(tcp|udp|sctp)://`)
)

// checkNames refuses names that begin as ours do and are none, for a variable
// that is misspelt would be a default that nobody notices.
func (r *reader) checkNames() {
	known := names()
	for _, name := range slices.Sorted(maps.Keys(r.values)) {
		switch {
		case !strings.HasPrefix(name, "KEYFOLD_") || slices.Contains(known, name):
		case strings.HasPrefix(name, "KEYFOLD_TEST_"), strings.HasPrefix(name, "KEYFOLD_BENCH_"), name == "KEYFOLD_SERVICES_DIR": // for our own tests
		case clusterName.MatchString(name), clusterPort.MatchString(name) && clusterValue.MatchString(r.values[name].text):
		case !plainName.MatchString(name): // it may hold what was meant as the value
			r.refuse("KEYFOLD_…", "is the beginning of a name that is no variable and has other characters than A-Z, 0-9 and _, or more than 40")
		default:
			if near := nearest(name, known); near != "" {
				r.refuse(name, "is no variable; did you mean %s?", near)
			} else {
				r.refuse(name, "is no variable")
			}
		}
	}
}

// nearest is the known name that a misspelt one was most likely meant to be.
func nearest(name string, known []string) string {
	best, least := "", 4 // letters
	for _, candidate := range known {
		if d := distance(name, candidate); d < least {
			best, least = candidate, d
		}
	}
	return best
}

// distance counts the letters to insert, delete or replace between two names
// (Levenshtein).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

// lookup finds a variable. What was broken on the way is a problem, and not
// found.
func (r *reader) lookup(name string) (value, bool) {
	v, set := r.values[name]
	if set && v.broken != "" {
		r.refuse(v.from, "%s", v.broken)
		return value{}, false
	}
	return v, set
}

// lookupSecret finds a variable or what its *_FILE form names. A file is
// reported as set also when it cannot be read, with an empty text.
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
		r.refuse(name, "and %s are both set; unset one", path.from)
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

// readVariable reads what has no rules of its own.
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

const quotedReason = "has quotes around it, which belong to the syntax of files; leave them out here"

func isQuoted(text string) bool {
	return len(text) > 1 && (text[0] == '\'' || text[0] == '"') && text[len(text)-1] == text[0]
}

// untidy says what is wrong with a text as a value of anything, or nothing.
func untidy(text string) string {
	trimmed := strings.TrimSpace(text)
	switch {
	case trimmed == "":
		return "is set but blank; unset it for the default"
	case trimmed[0] == '#':
		return "is a comment, not a value"
	case strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return "holds a line break or another control character"
	case text != trimmed:
		return "has blanks around it"
	case isQuoted(text):
		return quotedReason
	}
	return ""
}
