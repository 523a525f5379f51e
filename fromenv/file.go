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

// readFile returns what a .env file says, which errors call name, and the exposure
// of the file. A file that is not there says nothing, unless it was asked for. The
// null device says nothing either: it is how a program or a test does without a file.
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
		return nil, "", refuse(name, "has no NAME='value' and no comment in line %d, or a quote does not end", badLine(text))
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

// readBounded reads a small regular file, or one that links lead to: Kubernetes
// mounts secrets behind two. Of anything else, such as a FIFO, the opening alone
// may wait for ever. Its errors do not name the file: the caller does, or has
// reason not to. It also returns the exposure of the file.
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
		return nil, "", errors.New("it has more than 64 KiB")
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

// parseFile is godotenv without its errors, which quote the file, and with one
// check more: it takes "NAME value" for a name.
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

// badLine is the number of the line that parseFile does not get past. A value
// in quotes may take several lines, so what does not parse may yet go on.
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

// expandedNames finds the values that hold a "$" outside single quotes: the
// parser takes it and what follows for a variable of the same file, and so a
// password loses its tail. The file is parsed twice more: with every "$" replaced
// by a character that means nothing, to count them, and with a name put behind
// every "$", which is gone where the parser has looked for a variable.
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

// readSecretFile returns what a *_FILE variable names, without one line break
// at its end. The path is not repeated: it may be a secret that was set under
// the wrong name.
func readSecretFile(variable, path string) (secret, exposed string, err error) {
	if strings.TrimSpace(path) == "" {
		return "", "", refuse(variable, "is set but blank; it wants the path of a file, or unset it")
	}
	text, exposed, err := readBounded(path)
	switch {
	case err != nil:
		return "", "", refuse(variable, "names a file that cannot be read: %v", err)
	case len(bytes.TrimSpace(text)) == 0:
		return "", "", refuse(variable, "names a file that holds nothing")
	}
	text = bytes.TrimSuffix(text, []byte("\n"))
	return string(bytes.TrimSuffix(text, []byte("\r"))), exposed, nil
}
