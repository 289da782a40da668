// Package peer is what the Go peers have in common: the command line, a closed loop, and the figures as one line of
// JSON.
//
//	PEER server --listen 127.0.0.1:0 --threads N
//	PEER client ADDR --connections C --in-flight D --size BYTES --seconds S --warmup-ms 120 --threads N
//
// A server's first line is `ready ADDR`; it runs until TERM or the end of its standard input. A client calls over C
// connections from D goroutines each, every one in a loop, and counts the calls that end after the warm-up. With
// --at-once it calls in rounds: all C times D calls begin at once, each in a goroutine of its own, and the next round
// begins when all have ended; the first one is the warm-up.
package peer

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"math"
	"net"
	"os"
	"runtime"
	"slices"
	"sync"
	"time"
)

// Echo has a body echoed and says how many bytes came back. It is called from several goroutines.
type Echo func(body []byte) (int, error)

// Framework is how one of them serves an echo, and how it calls one.
type Framework struct {
	// Serve serves for ever. It does not return before an error.
	Serve func(net.Listener) error
	// Connect opens one connection.
	Connect func(addr string) (Echo, error)
	// OneCall: a connection carries one call at a time, so every goroutine has one of its own.
	OneCall bool
	// OwnListener: it listens by itself. Serve is given a listener that tells the address and is closed already.
	OwnListener bool
}

type load struct {
	connections, inFlight, size int
	time, warmUp                time.Duration
	atOnce                      bool
}

// Main is the program of a peer.
func Main(f Framework) {
	if err := run(f, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
}

func run(f Framework, args []string) error {
	if len(args) == 0 {
		return fmt.Errorf("server or client?")
	}
	flags := flag.NewFlagSet(args[0], flag.ContinueOnError)
	threads := flags.Int("threads", 1, "GOMAXPROCS")
	listen := flags.String("listen", "127.0.0.1:0", "where a server listens")
	var l load
	flags.IntVar(&l.connections, "connections", 1, "")
	flags.IntVar(&l.inFlight, "in-flight", 1, "on each connection")
	flags.IntVar(&l.size, "size", 581, "bytes of a body")
	seconds := flags.Float64("seconds", 1, "")
	warmUp := flags.Int("warmup-ms", 120, "")
	flags.BoolVar(&l.atOnce, "at-once", false, "")
	switch {
	case args[0] == "server":
		if err := flags.Parse(args[1:]); err != nil {
			return err
		}
		runtime.GOMAXPROCS(*threads)
		return serve(f, *listen)
	case args[0] == "client" && len(args) > 1:
		if err := flags.Parse(args[2:]); err != nil {
			return err
		}
		runtime.GOMAXPROCS(*threads)
		l.time = time.Duration(*seconds * float64(time.Second))
		l.warmUp = time.Duration(*warmUp) * time.Millisecond
		return call(f, args[1], l)
	}
	return fmt.Errorf("server, or client ADDR?")
}

func serve(f Framework, listen string) error {
	ln, err := net.Listen("tcp", listen)
	if err != nil {
		return err
	}
	addr := ln.Addr().String()
	if f.OwnListener {
		ln.Close()
	}
	failed := make(chan error, 1)
	go func() { failed <- f.Serve(ln) }()
	for begun := time.Now(); f.OwnListener; time.Sleep(time.Millisecond) {
		if c, err := net.Dial("tcp", addr); err == nil {
			c.Close()
			break
		} else if time.Since(begun) > 5*time.Second {
			return err
		}
	}
	fmt.Println("ready", addr)
	go func() {
		io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	return <-failed
}

// seen is what one goroutine has seen: how long its calls took, in nanoseconds, and how many failed.
type seen struct {
	took   []uint32
	failed int
	err    error
}

func call(f Framework, addr string, l load) error {
	echoes := make([]Echo, l.connections*l.inFlight)
	for i := range echoes {
		if i%l.inFlight != 0 && !f.OneCall {
			echoes[i] = echoes[i-1]
			continue
		}
		var err error
		if echoes[i], err = f.Connect(addr); err != nil {
			return err
		}
	}
	if l.atOnce {
		all, took := rounds(echoes, l)
		report(all, took)
		return nil
	}
	begin := time.Now().Add(l.warmUp)
	time.AfterFunc(l.warmUp, func() { fmt.Println("begin") })
	all := make([]seen, len(echoes))
	var running sync.WaitGroup
	for i, echo := range echoes {
		running.Add(1)
		go func() {
			defer running.Done()
			all[i] = calls(echo, l, begin)
		}()
	}
	running.Wait()
	report(all, l.time)
	return nil
}

// rounds makes all calls at once, again and again, until the time is over; it says how long the rounds took that count.
func rounds(echoes []Echo, l load) ([]seen, time.Duration) {
	body := bytes.Repeat([]byte("x"), l.size)
	round := func() []seen {
		all := make([]seen, len(echoes))
		var running sync.WaitGroup
		for i, echo := range echoes {
			running.Add(1)
			go func() {
				defer running.Done()
				called := time.Now()
				size, err := echo(body)
				all[i].add(called, time.Now(), size, err, l)
			}()
		}
		running.Wait()
		return all
	}
	round()
	fmt.Println("begin")
	var all []seen
	begin := time.Now()
	for time.Since(begin) < l.time {
		all = append(all, round()...)
	}
	return all, time.Since(begin)
}

// add notes how a call ended; it says whether it went well.
func (s *seen) add(called, now time.Time, size int, err error, l load) bool {
	if err == nil && size != l.size {
		err = fmt.Errorf("%d bytes came back", size)
	}
	if err != nil {
		s.failed++
		s.err = err
		return false
	}
	s.took = append(s.took, uint32(min(now.Sub(called).Nanoseconds(), math.MaxUint32)))
	return true
}

// calls makes one call after the other, until the time is over.
func calls(echo Echo, l load, begin time.Time) (s seen) {
	body := bytes.Repeat([]byte("x"), l.size)
	end := begin.Add(l.time)
	called := time.Now()
	for {
		size, err := echo(body)
		now := time.Now()
		before := called
		called = now
		if !now.Before(end) {
			return s
		}
		if err == nil && size == l.size && now.Before(begin) {
			continue
		}
		if !s.add(before, now, size, err, l) {
			time.Sleep(time.Millisecond)
		}
	}
}

func report(all []seen, lasted time.Duration) {
	var took []uint32
	failed := 0
	for _, s := range all {
		took = append(took, s.took...)
		failed += s.failed
		if s.err != nil && failed == s.failed {
			fmt.Fprintln(os.Stderr, "a failure:", s.err)
		}
	}
	slices.Sort(took)
	at := func(share float64) float64 {
		if len(took) == 0 {
			return 0
		}
		return float64(took[min(int(share*float64(len(took))), len(took)-1)]) / 1000
	}
	seconds := lasted.Seconds()
	fmt.Printf(`{"rps":%.1f,"n":%d,"failed":%d,"duration_s":%g,"p50_us":%.1f,"p99_us":%.1f,"p999_us":%.1f}`+"\n",
		float64(len(took))/seconds, len(took), failed, seconds, at(0.5), at(0.99), at(0.999))
}
