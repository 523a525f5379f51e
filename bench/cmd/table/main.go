// Table runs the benchmarks and prints what they measured next to the targets.
//
// It is run in the directory of this module, as `make bench` does. Environment:
//
//	ROUNDS     how often the short benchmarks run, all of them each time; the table has medians (default 3)
//	BENCHTIME  of each short benchmark in a round (default 500ms)
//	SECONDS    of each measurement over HTTP (default 3)
//	KEYFOLD_BENCH_FULL=1  a million keys in every database, ten million events; takes half an hour
//	KEYFOLD_BENCH_FLOOD   tokens of the flood at least (default 1000000)
//
// The raw output goes to standard error in the form of go test -bench, for benchstat.
package main

import (
	"bufio"
	"bytes"
	"cmp"
	"fmt"
	"io"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
)

func main() {
	log.SetFlags(0)
	log.SetPrefix("table: ")
	if err := run(); err != nil {
		log.Fatal(err)
	}
}

func run() error {
	rounds, err := strconv.Atoi(env("ROUNDS", "3"))
	if err != nil || rounds < 1 {
		return fmt.Errorf("ROUNDS: want a positive number")
	}
	dir, err := os.MkdirTemp("", "keyfold-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	test, load := filepath.Join(dir, "bench.test"), filepath.Join(dir, "load")
	if err := execute(nil, "go", "test", "-c", "-o", test, "."); err != nil {
		return err
	}
	if err := execute(nil, "go", "build", "-o", load, "./cmd/load"); err != nil {
		return err
	}
	if os.Getenv("KEYFOLD_BENCH_FLOOD") == "" {
		os.Setenv("KEYFOLD_BENCH_FLOOD", "1000000")
	}
	began := time.Now()
	found := measurements{}
	bench := func(pattern, benchtime string) error {
		return execute(found, test, "-test.run=^$", "-test.timeout=60m", "-test.bench="+pattern, "-test.benchtime="+benchtime)
	}
	for range rounds {
		if err := bench("^Benchmark(FloorVerify|VerifyCached|VerifyCachedParallel|Reject|HTTPOpen|HTTPGuarded|FloorSelect|VerifyUncached)$",
			env("BENCHTIME", "500ms")); err != nil {
			return err
		}
		for _, counts := range []string{"-counts=false", "-counts"} {
			if err := execute(found, load, counts, "-rounds=3", "-seconds="+env("SECONDS", "3")); err != nil {
				return err
			}
		}
	}
	for _, once := range []struct{ pattern, benchtime string }{
		{"^BenchmarkByHand$", "1s"},
		{"^Benchmark(UsageIngest|UsagePerRequest)$", "2s"},
		{"^BenchmarkRejectFlood$", "2s"},
		{"^Benchmark(CacheMemory|Open)$", "10x"},
		{"^BenchmarkRevocationLag$", "30x"},
		{"^BenchmarkUsageByDay$", "100x"},
		{"^Benchmark(Login|LoginStorm)$", "10x"},
		{"^BenchmarkLoginFlood$", "1x"},
	} {
		if err := bench(once.pattern, once.benchtime); err != nil {
			return err
		}
	}
	print(os.Stdout, found, rounds, time.Since(began))
	return nil
}

func env(name, usual string) string { return cmp.Or(os.Getenv(name), usual) }

// execute runs a command, shows its output and collects what it measured.
func execute(into measurements, name string, args ...string) error {
	command := exec.Command(name, args...)
	var out bytes.Buffer
	command.Stdout = io.MultiWriter(os.Stderr, &out)
	command.Stderr = os.Stderr
	err := command.Run()
	into.read(&out)
	if err != nil {
		return fmt.Errorf("%s: %w", filepath.Base(name), err)
	}
	return nil
}

// measurements are values by benchmark and unit, one for each round.
type measurements map[string]map[string][]float64

var processors = regexp.MustCompile(`-\d+$`)

func (m measurements) read(out io.Reader) {
	for lines := bufio.NewScanner(out); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if m == nil || len(fields) < 4 || !strings.HasPrefix(fields[0], "Benchmark") {
			continue
		}
		name := processors.ReplaceAllString(strings.TrimPrefix(fields[0], "Benchmark"), "")
		if m[name] == nil {
			m[name] = map[string][]float64{}
		}
		for i := 2; i+1 < len(fields); i += 2 {
			if value, err := strconv.ParseFloat(fields[i], 64); err == nil {
				m[name][fields[i+1]] = append(m[name][fields[i+1]], value)
			}
		}
	}
}

// median of all rounds.
func (m measurements) median(name, unit string) (float64, bool) {
	values := slices.Sorted(slices.Values(m[name][unit]))
	if len(values) == 0 {
		return 0, false
	}
	return values[len(values)/2], true
}

func print(out io.Writer, found measurements, rounds int, took time.Duration) {
	fmt.Fprintf(out, "%s, %s/%s, %d processors, %s, %d rounds in %s\n\n", time.Now().Format(time.DateOnly), runtime.GOOS, runtime.GOARCH,
		runtime.GOMAXPROCS(0), runtime.Version(), rounds, took.Round(time.Second))
	fmt.Fprintln(out, "| # | benchmark | target | measured | met |\n|---|---|---|---|---|")
	for _, row := range rows {
		var wanted, measured []string
		met := "yes"
		for _, goal := range row.goals {
			wanted = append(wanted, goal.wanted())
			value, ok := found.median(row.benchmark, goal.unit)
			if !ok {
				measured = append(measured, "–")
				met = "not measured"
				continue
			}
			measured = append(measured, number(value)+" "+goal.unit)
			if met == "yes" && !goal.met(value) {
				met = "**no**"
			}
		}
		for _, unit := range row.extra {
			if value, ok := found.median(row.benchmark, unit); ok {
				measured = append(measured, "("+number(value)+" "+unit+")")
			}
		}
		if len(row.goals) == 0 {
			met = ""
		}
		fmt.Fprintf(out, "| %s | %s | %s | %s | %s |\n", row.target, row.benchmark, strings.Join(wanted, ", "), strings.Join(measured, ", "), met)
	}
}

func number(v float64) string {
	switch {
	case v >= 10_000:
		return strconv.FormatFloat(v/1000, 'f', 1, 64) + "k"
	case v >= 100 || v == float64(int64(v)):
		return strconv.FormatFloat(v, 'f', 0, 64)
	}
	return strconv.FormatFloat(v, 'f', 2, 64)
}
