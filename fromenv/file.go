package fromenv

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/joho/godotenv"
)

const (
	defaultFile = ".env"
	maxFile     = 64 << 10 // bytes, also of a file that holds one secret
)

// readFile returns the values of a .env file and its exposure. Errors call the file name.
// A file that does not exist is like an empty one, unless the user asked for it. So is
// the null device: a program or a test names it to read no file.
func readFile(path, name string, asked bool) (values map[string]value, exposed string, err error) {
	if isNull(path) {
		return nil, "", nil
	}
	text, exposed, err := readBounded(path)
	switch {
	case err == nil:
	case !asked && (errors.Is(err, fs.ErrNotExist) || isDirectory(path)): // .env is also where Python keeps packages
		return nil, "", nil
	default:
		return nil, "", refuse(name, "cannot be read: %v", err)
	}
	text = bytes.TrimPrefix(text, []byte("\ufeff")) // some editors begin files with it
	texts, err := parseFile(text)
	var expanded map[string]bool
	if err == nil {
		expanded, err = expandedNames(text)
	}
	if err != nil {
		return nil, "", refuse(name, "has a syntax error in line %d: a line must be a comment or NAME='value', and every quote must be closed", badLine(text))
	}
	values = make(map[string]value, len(texts))
	for name, text := range texts {
		v := value{text: text, from: name}
		if expanded[name] {
			v.broken = `has a "$" outside single quotes in ` + path + `; write ` + name + `='…'`
		}
		values[name] = v
	}
	return values, exposed, nil
}

func isDirectory(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

func isNull(path string) bool {
	info, err := os.Stat(path)
	null, nullErr := os.Stat(os.DevNull)
	return path == os.DevNull || err == nil && nullErr == nil && os.SameFile(info, null)
}

// readBounded reads a small regular file, or a link to one: Kubernetes mounts secrets
// behind two links. It refuses anything else, such as a FIFO, because opening it may
// wait forever. Its errors do not name the file, because not every caller may. It also
// returns the exposure of the file.
func readBounded(path string) (text []byte, exposed string, err error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, "", withoutPath(err)
	}
	switch {
	case info.IsDir():
		return nil, "", errors.New("is a directory")
	case !info.Mode().IsRegular():
		return nil, "", errors.New("it is not a regular file")
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, "", withoutPath(err)
	}
	defer file.Close()
	text, err = io.ReadAll(io.LimitReader(file, maxFile+1))
	if err != nil {
		return nil, "", withoutPath(err)
	}
	if len(text) > maxFile {
		return nil, "", errors.New("it is larger than 64 KiB")
	}
	return text, exposure(file), nil
}

func withoutPath(err error) error {
	if failed, ok := errors.AsType[*fs.PathError](err); ok {
		return failed.Err
	}
	return err
}

var errMalformed = errors.New("malformed")

// parseFile parses by godotenv. It hides the errors of godotenv, which quote the file,
// and refuses names with spaces, because godotenv reads "NAME value" as a name.
func parseFile(text []byte) (map[string]string, error) {
	texts, err := godotenv.UnmarshalBytes(text)
	if err != nil {
		return nil, errMalformed
	}
	for name := range texts {
		if name == "" || strings.ContainsAny(name, " \t\v\f\r\u0085\u00a0") {
			return nil, errMalformed
		}
	}
	return texts, nil
}

// badLine returns the number of the first line that parseFile refuses. A quoted value
// may have several lines, so a line that does not parse may be the beginning of a value.
func badLine(text []byte) int {
	start := 0
	lines := bytes.SplitAfter(text, []byte("\n"))
	for i := range lines {
		if _, err := parseFile(bytes.Join(lines[start:i+1], nil)); err == nil {
			start = i + 1
		}
	}
	return start + 1
}

// expandedNames finds the values that have a "$" outside single quotes. The parser reads
// it as the beginning of a variable of the same file, so a password would lose its end.
// To find these values, the file is parsed twice more: once with a neutral character in
// place of every "$", to count them, and once with a name after every "$", which
// disappears where the parser expanded it.
func expandedNames(text []byte) (map[string]bool, error) {
	const (
		neutral = "\ue000"
		mark    = "$KEYFOLD_DOLLAR_"
	)
	neutralized, err := parseFile(bytes.ReplaceAll(text, []byte("$"), []byte(neutral)))
	if err != nil {
		return nil, err
	}
	marked, err := parseFile(bytes.ReplaceAll(text, []byte("$"), []byte(mark)))
	if err != nil {
		return nil, err
	}
	names := map[string]bool{}
	for name, written := range neutralized {
		names[name] = strings.Count(written, neutral) != strings.Count(marked[name], mark)
	}
	return names, nil
}

// readSecretFile returns the content of the file that a *_FILE variable names, without
// one line break at its end. Errors do not repeat the path, because it may be a secret
// that was set under the wrong name.
func readSecretFile(variable, path string) (secret, exposed string, err error) {
	if strings.TrimSpace(path) == "" {
		return "", "", refuse(variable, "is set but blank; set it to the path of a file, or unset it")
	}
	text, exposed, err := readBounded(path)
	switch {
	case err != nil:
		return "", "", refuse(variable, "names a file that cannot be read: %v", err)
	case len(bytes.TrimSpace(text)) == 0:
		return "", "", refuse(variable, "names a file that is empty")
	}
	text = bytes.TrimSuffix(text, []byte("\n"))
	return string(bytes.TrimSuffix(text, []byte("\r"))), exposed, nil
}
