// Package stand holds what the Go programs of the interop suite share: the runner of named cases, the messages of the
// sample services, generated input, and a small HTTP helper. It depends on nothing but the standard library.
package stand

import (
	"flag"
	"fmt"
	"math/rand"
	"os"
	"strings"
	"time"
)

// Caller gone or stuck: no case may take longer than this.
const caseLimit = 20 * time.Second

// Difference is a known deviation of the Go side. Where the peer is Go's own server the case must fail, and the
// failure is printed as expected; a case that passes all the same is reported, so that the list cannot go stale.
type Difference struct {
	ID, Why string
	// Fatal: the Go peer would die or hang of it, so the case is not run against it.
	Fatal bool
}

// Case is one named check. Run returns nil where the peer did what STAND and the wire ask for.
type Case struct {
	Name string
	Run  func() error
	// Go is set where Go's own server is known not to do it.
	Go *Difference
	// Caller is set where the Go caller itself is known not to do it, whoever serves.
	Caller *Difference
	// Auth cases run only where -token is given; all others only where it is not.
	Auth bool
	// Long cases take more than ten seconds and run only with -long.
	Long bool
}

// Flags are the command line of every client program.
type Flags struct {
	Addr, Connect, WS, Token, Case, Peer string
	Seed, BodyLimit                      int64
	N                                    int
	Long                                 bool
}

// Parse reads the command line; wrong use ends the process with code 2.
func Parse() *Flags {
	f := &Flags{}
	flag.StringVar(&f.Addr, "addr", "", "`HOST:PORT` of the server (needed)")
	flag.StringVar(&f.Connect, "connect-addr", "", "where CONNECT is served (default: -addr)")
	flag.StringVar(&f.WS, "ws-addr", "", "where WebSocket is served (default: -addr)")
	flag.StringVar(&f.Token, "token", "", "the token that the server asks for: runs the auth cases and nothing else")
	flag.StringVar(&f.Case, "case", "", "run the cases whose name begins with this")
	flag.StringVar(&f.Peer, "peer", "trunkline", "who serves: trunkline or go")
	flag.Int64Var(&f.Seed, "seed", 1, "seed of the generated messages")
	flag.IntVar(&f.N, "n", 200, "generated messages for each codec")
	flag.Int64Var(&f.BodyLimit, "body-limit", 4194304, "the server's body limit in bytes")
	flag.BoolVar(&f.Long, "long", false, "run the cases that wait more than ten seconds too")
	flag.Parse()
	if f.Addr == "" || (f.Peer != "trunkline" && f.Peer != "go") || flag.NArg() > 0 {
		flag.Usage()
		os.Exit(2)
	}
	if f.Connect == "" {
		f.Connect = f.Addr
	}
	if f.WS == "" {
		f.WS = f.Addr
	}
	return f
}

// Rand is the source of generated input: the same seed and case give the same messages.
func (f *Flags) Rand(name string) *rand.Rand {
	s := f.Seed
	for _, c := range name {
		s = s*31 + int64(c)
	}
	return rand.New(rand.NewSource(s))
}

// Run runs the chosen cases in order, prints one line each, and returns the exit code.
func (f *Flags) Run(cases []Case) int {
	ran, failed := 0, 0
	for _, c := range cases {
		if !strings.HasPrefix(c.Name, f.Case) || c.Auth != (f.Token != "") || (c.Long && !f.Long) {
			continue
		}
		ran++
		d := c.Go
		if f.Peer != "go" {
			d = nil
		}
		if c.Caller != nil {
			d = c.Caller
		}
		if d != nil && d.Fatal {
			fmt.Printf("expected %s: %s %s (not run)\n", c.Name, d.ID, d.Why)
			continue
		}
		switch err := limited(c.Run, c.Long); {
		case err == nil && d != nil:
			failed++
			fmt.Printf("FAIL %s: passed, though %s is listed as a difference of the Go side\n", c.Name, d.ID)
		case err == nil:
			fmt.Printf("ok %s\n", c.Name)
		case d != nil:
			fmt.Printf("expected %s: %s %s (%s)\n", c.Name, d.ID, d.Why, OneLine(err.Error()))
		default:
			failed++
			fmt.Printf("FAIL %s: %s\n", c.Name, OneLine(err.Error()))
		}
	}
	if ran == 0 {
		fmt.Printf("FAIL %s: no such case\n", f.Case)
		return 1
	}
	if failed > 0 {
		return 1
	}
	return 0
}

func limited(run func() error, long bool) error {
	limit := caseLimit
	if long {
		limit *= 2
	}
	done := make(chan error, 1)
	go func() {
		defer func() {
			if p := recover(); p != nil {
				done <- fmt.Errorf("the case panicked: %v", p)
			}
		}()
		done <- run()
	}()
	select {
	case err := <-done:
		return err
	case <-time.After(limit):
		return fmt.Errorf("not done after %v", limit)
	}
}

// OneLine cuts and escapes a text so that it stays one short line.
func OneLine(s string) string {
	if len(s) > 300 {
		s = s[:300] + "…"
	}
	return strings.NewReplacer("\n", `\n`, "\r", `\r`).Replace(s)
}

// Poll asks until it is so; the limit only bounds a failure.
func Poll(limit time.Duration, what string, so func() (bool, error)) error {
	for end := time.Now().Add(limit); ; {
		ok, err := so()
		if err != nil || ok {
			return err
		}
		if time.Now().After(end) {
			return fmt.Errorf("%s: not so after %v", what, limit)
		}
		time.Sleep(20 * time.Millisecond)
	}
}
