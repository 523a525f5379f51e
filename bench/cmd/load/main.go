//go:build unix

// Load compares a guarded route with an open one over real loopback. The server
// is a process of its own, this program started again, with a Service on SQLite
// and its keys remembered; both routes are of that one server, so they have the
// same live heap. Every request carries the same headers, whatever its route.
//
// Each round measures the open route, the guarded one and the open one again,
// in another order each time. How far the two measurements of the open route
// are apart is the noise: a difference below it means nothing.
//
// It prints lines in the form of go test -bench.
package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/bench/fixture"
	"github.com/keyfold/keyfold/bench/keyset"
	"github.com/keyfold/keyfold/httpadapter"
	"github.com/keyfold/keyfold/store/sqlite"
)

const keys = 10_000

func main() {
	log.SetFlags(0)
	log.SetPrefix("load: ")
	server := flag.Bool("server", false, "be the server; it ends with its input")
	counts := flag.Bool("counts", false, "keep totals and counts by hour alone, no usage events")
	seconds := flag.Float64("seconds", 2, "length of each measurement")
	rounds := flag.Int("rounds", 3, "how often each route is measured")
	connections := flag.Int("connections", 16, "how many requests are under way at once")
	flag.Parse()
	run := func() error {
		return load(*counts, *rounds, *connections, time.Duration(*seconds*float64(time.Second)))
	}
	if *server {
		run = func() error { return serve(*counts) }
	}
	if err := run(); err != nil {
		log.Fatal(err)
	}
}

// serve prints its address and serves until its input ends.
func serve(counts bool) error {
	dir, err := os.MkdirTemp("", "keyfold-load-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	ctx := context.Background()
	store, err := sqlite.Open(ctx, filepath.Join(dir, "keyfold.db"))
	if err != nil {
		return err
	}
	defer store.Close()
	set := keyset.New(keys)
	if err := fixture.SQLite(ctx, store.DB(), set); err != nil {
		return err
	}
	svc, err := keyfold.New(store, &keyfold.Options{
		CacheMaxAge:   time.Hour,
		DisableEvents: counts,
		Logger:        slog.New(slog.NewTextHandler(os.Stderr, nil)),
	})
	if err != nil {
		return err
	}
	defer svc.Close(ctx)
	for range 2 { // the feed's first reading empties the cache
		for i := range set.Len() {
			if _, err := svc.Verify(ctx, keyfold.Request{Token: set.Token(i)}); err != nil {
				return err
			}
		}
		if err := errors.Join(svc.Sync(ctx), svc.Flush(ctx)); err != nil {
			return err
		}
	}
	hello := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello\n") })
	mux := http.NewServeMux()
	mux.Handle("GET /open/{id}", hello)
	mux.Handle("GET /guarded/{id}", httpadapter.RequireKey(svc)(hello))
	mux.HandleFunc("GET /cpu", func(w http.ResponseWriter, _ *http.Request) {
		var usage syscall.Rusage
		_ = syscall.Getrusage(syscall.RUSAGE_SELF, &usage)
		fmt.Fprintln(w, usage.Utime.Nano()+usage.Stime.Nano())
	})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println(listener.Addr())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		_ = listener.Close()
	}()
	if err := http.Serve(listener, mux); !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}

// result is one measurement.
type result struct {
	requests int
	wall     time.Duration
	cpu      time.Duration // of the server
	p99      time.Duration
}

func (r result) rate() float64 { return float64(r.requests) / r.wall.Seconds() }

func load(counts bool, rounds, connections int, length time.Duration) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	command, name := exec.Command(self, "-server"), "HTTPLoad"
	if counts {
		command.Args, name = append(command.Args, "-counts"), "HTTPLoadCounts"
	}
	command.Stderr = os.Stderr
	input, err := command.StdinPipe()
	if err != nil {
		return err
	}
	output, err := command.StdoutPipe()
	if err != nil {
		return err
	}
	if err := command.Start(); err != nil {
		return err
	}
	defer command.Wait()
	defer input.Close()
	address, err := bufio.NewReader(output).ReadString('\n')
	if err != nil {
		return fmt.Errorf("the server did not start: %w", err)
	}
	address = strings.TrimSpace(address)

	set := keyset.New(keys)
	routes := []string{"open", "guarded", "open-again"}
	results := map[string][]result{}
	for _, route := range routes { // warm up
		if _, err := measure(address, set, route, connections, length/4); err != nil {
			return err
		}
	}
	for round := range rounds {
		for i := range routes {
			route := routes[(i+round)%len(routes)]
			r, err := measure(address, set, route, connections, length)
			if err != nil {
				return err
			}
			results[route] = append(results[route], r)
		}
	}
	for _, route := range routes {
		rate := median(results[route], result.rate)
		fmt.Printf("Benchmark%s/%s-%d\t%d\t%.0f ns/op\t%.0f cpu-ns/op\t%.0f req/s\t%.0f p99-us\n",
			name, route, runtime.GOMAXPROCS(0), results[route][0].requests, 1e9/rate, median(results[route], result.cpuPerRequest),
			rate, median(results[route], result.p99Micros))
	}
	ratio := func(a, b string, value func(result) float64) float64 {
		ratios := make([]float64, rounds) // of each round, so that slow minutes cancel out
		for i := range ratios {
			ratios[i] = value(results[a][i]) / value(results[b][i])
		}
		return middle(ratios)
	}
	fmt.Printf("Benchmark%s/ratio-%d\t1\t%.3f x-rate\t%.3f x-p99\t%.3f x-cpu\t%.3f noise-rate\t%.3f noise-p99\n", name, runtime.GOMAXPROCS(0),
		ratio("guarded", "open", result.rate), ratio("guarded", "open", result.p99Micros), ratio("guarded", "open", result.cpuPerRequest),
		ratio("open-again", "open", result.rate), ratio("open-again", "open", result.p99Micros))
	return nil
}

func (r result) p99Micros() float64     { return float64(r.p99.Nanoseconds()) / 1000 }
func (r result) cpuPerRequest() float64 { return float64(r.cpu.Nanoseconds()) / float64(r.requests) }

func median(results []result, value func(result) float64) float64 {
	values := make([]float64, len(results))
	for i, r := range results {
		values[i] = value(r)
	}
	return middle(values)
}

func middle(values []float64) float64 {
	slices.Sort(values)
	return values[len(values)/2]
}

// measure sends requests on that many connections, the next one when the answer
// of the one before has come.
func measure(address string, set *keyset.Set, route string, connections int, length time.Duration) (result, error) {
	path, _, _ := strings.Cut(route, "-")
	order := keyset.Zipf(set.Len())
	requests := make([][]byte, set.Len())
	for i := range requests {
		requests[i] = fmt.Appendf(nil, "GET /%s/17 HTTP/1.1\r\nHost: localhost\r\nUser-Agent: load\r\nAuthorization: Bearer %s\r\n\r\n", path, set.Token(i))
	}
	before, err := serverCPU(address)
	if err != nil {
		return result{}, err
	}
	times := make([][]time.Duration, connections)
	failures := make([]error, connections)
	began := time.Now()
	var group sync.WaitGroup
	for i := range connections {
		group.Go(func() { times[i], failures[i] = talk(address, requests, order[i*1000:], began.Add(length)) })
	}
	group.Wait()
	r := result{wall: time.Since(began)}
	after, err := serverCPU(address)
	if err := errors.Join(append(failures, err)...); err != nil {
		return result{}, err
	}
	all := slices.Concat(times...)
	slices.Sort(all)
	r.requests, r.cpu, r.p99 = len(all), after-before, all[len(all)*99/100]
	return r, nil
}

// talk reads and writes the connection itself: a client of net/http would take
// more time than the server.
func talk(address string, requests [][]byte, order keyset.Order, until time.Time) ([]time.Duration, error) {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	times := make([]time.Duration, 0, 1<<16)
	buf := make([]byte, 4096)
	for i := 0; ; i++ {
		began := time.Now()
		if began.After(until) {
			return times, nil
		}
		if _, err := conn.Write(requests[order[i%len(order)]]); err != nil {
			return nil, err
		}
		n := 0
		for n < len("\r\n\r\nhello\n") || string(buf[n-10:n]) != "\r\n\r\nhello\n" {
			more, err := conn.Read(buf[n:])
			if err != nil {
				return nil, fmt.Errorf("after %q: %w", buf[:n], err)
			}
			n += more
		}
		times = append(times, time.Since(began))
	}
}

func serverCPU(address string) (time.Duration, error) {
	response, err := http.Get("http://" + address + "/cpu")
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	var nanos int64
	_, err = fmt.Fscan(response.Body, &nanos)
	return time.Duration(nanos), err
}
