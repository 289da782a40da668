// A Go net/rpc server with the sample services, and a zrpc broker beside it.
//
//	server [-addr 127.0.0.1:0]
//
// The first line on stdout is `ready ADDR connect=ADDR zrpc=ADDR`: net/rpc over TCP, after CONNECT, and the broker. It
// stops at the end of its standard input, or on TERM.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/rpc"
	"os"
	"os/signal"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	zclient "github.com/zzinno/zrpc/client"
	zserver "github.com/zzinno/zrpc/server"

	"trunkline.test/interop/netrpc/values"
	"trunkline.test/interop/stand"
)

type Arith struct{}

func (*Arith) Mul(a stand.Args, r *stand.Reply) (err error) { r.C, err = stand.Mul(a.A, a.B); return }
func (*Arith) Add(a stand.Args, r *stand.Reply) (err error) { r.C, err = stand.Add(a.A, a.B); return }
func (*Arith) Div(a stand.Args, r *stand.Reply) (err error) { r.C, err = stand.Div(a.A, a.B); return }

type Echo struct{}

func (*Echo) Echo(a []byte, r *[]byte) error  { *r = a; return nil }
func (*Echo) Owned(a []byte, r *[]byte) error { *r = a; return nil }

type Hello struct{}

func (*Hello) Say(a stand.Say, r *stand.Say) error { *r = a; r.Answered(); return nil }

type Slow struct{ running, completed atomic.Int64 }

func (s *Slow) Sleep(a stand.Millis, r *stand.Slept) error {
	s.running.Add(1)
	time.Sleep(time.Duration(a.Millis) * time.Millisecond)
	s.running.Add(-1)
	s.completed.Add(1)
	r.Slept = a.Millis
	return nil
}

func (s *Slow) Stats(_ stand.Empty, r *stand.Stats) error {
	*r = stand.Stats{Running: s.running.Load(), Completed: s.completed.Load()}
	return nil
}

type Fault struct{}

func (*Fault) Fail(a stand.Message, _ *stand.Empty) error { return errors.New(a.Message) }
func (*Fault) Big(a stand.Bytes, r *stand.Data) error {
	r.Data = strings.Repeat("x", int(a.Bytes))
	return nil
}

type Types struct{}

func (*Types) All(a values.All, r *values.All) error { *r = a; return nil }

func (*Types) Name(a values.Inner, r *string) error { *r = a.Name; return nil }
func (*Types) Sum(a []int64, r *int64) error {
	for _, x := range a {
		*r += x
	}
	return nil
}

func run() error {
	addr := flag.String("addr", "127.0.0.1:0", "`HOST:PORT` to listen on")
	flag.Parse()
	s := rpc.NewServer()
	for _, service := range []any{new(Arith), new(Echo), new(Hello), new(Slow), new(Fault), new(Types)} {
		if err := s.Register(service); err != nil {
			return err
		}
	}
	lsn, err := net.Listen("tcp4", *addr)
	if err != nil {
		return err
	}
	go s.Accept(lsn)
	over, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.Handle(rpc.DefaultRPCPath, s)
	go http.Serve(over, mux)
	free, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return err
	}
	port := free.Addr().(*net.TCPAddr).Port
	free.Close()
	new(zserver.Broker).New("127.0.0.1", port, &zclient.Consumer{Funs: map[string]func(*[]byte) ([]byte, error){
		"s":    func(*[]byte) ([]byte, error) { return []byte("world"), nil },
		"echo": func(d *[]byte) ([]byte, error) { return *d, nil },
		"nil":  func(d *[]byte) ([]byte, error) { return []byte(fmt.Sprint(d == nil)), nil },
		"fail": func(*[]byte) ([]byte, error) { return nil, errors.New("refused") },
	}})
	fmt.Printf("ready %s connect=%s zrpc=127.0.0.1:%d\n", lsn.Addr(), over.Addr(), port)
	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM)
	end := make(chan error, 1)
	go func() {
		_, err := io.Copy(io.Discard, os.Stdin)
		end <- err
	}()
	select {
	case <-term:
		return nil
	case err := <-end:
		return err
	}
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "server:", err)
		os.Exit(1)
	}
}
