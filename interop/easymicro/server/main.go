// A Go easymicro server with the sample services, as far as the framework can serve them.
//
//	server [-addr 127.0.0.1:0]
//
// The first line on stdout is `ready ADDR connect=ADDR`: CONNECT is served on a listener of its own. It stops at the
// end of its standard input, or on TERM. There is no Push and no one-way in easymicro, and Echo takes byte slices only:
// base64 text in JSON, bin in MessagePack; protobuf cannot carry one, and Thrift kills the process (E1).
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/masonchen2014/easymicro/log"
	"github.com/masonchen2014/easymicro/metadata"
	"github.com/masonchen2014/easymicro/server"

	"trunkline.test/interop/easymicro/msg"
	"trunkline.test/interop/stand"
)

type Arith struct{}

func (*Arith) Mul(_ context.Context, a *msg.Args, r *msg.Reply) (err error) {
	r.C, err = stand.Mul(a.A, a.B)
	return
}
func (*Arith) Add(_ context.Context, a *msg.Args, r *msg.Reply) (err error) {
	r.C, err = stand.Add(a.A, a.B)
	return
}
func (*Arith) Div(_ context.Context, a *msg.Args, r *msg.Reply) (err error) {
	r.C, err = stand.Div(a.A, a.B)
	return
}

type Echo struct{}

func (*Echo) Echo(_ context.Context, a *[]byte, r *[]byte) error {
	*r = append([]byte{}, *a...)
	return nil
}
func (*Echo) Owned(_ context.Context, a *[]byte, r *[]byte) error {
	*r = append([]byte{}, *a...)
	return nil
}

// Text echoes a message, which every codec can carry; Echo takes byte slices only.
type Text struct{}

func (*Text) Echo(_ context.Context, a *msg.Text, r *msg.Text) error { *r = *a; return nil }

type Hello struct{}

func (*Hello) Say(_ context.Context, a *msg.Say, r *msg.Say) error {
	*r = *a
	(*stand.Say)(r).Answered()
	return nil
}

type Slow struct{ running, completed, cancelled int64 }

func (s *Slow) Sleep(ctx context.Context, a *msg.Millis, r *msg.Slept) error {
	atomic.AddInt64(&s.running, 1)
	defer atomic.AddInt64(&s.running, -1)
	select {
	case <-ctx.Done():
		atomic.AddInt64(&s.cancelled, 1)
		return ctx.Err()
	case <-time.After(time.Duration(a.Millis) * time.Millisecond):
		atomic.AddInt64(&s.completed, 1)
		r.Slept = a.Millis
		return nil
	}
}
func (s *Slow) Stats(_ context.Context, _ *msg.Empty, r *msg.Stats) error {
	r.Running, r.Completed, r.Cancelled = atomic.LoadInt64(&s.running), atomic.LoadInt64(&s.completed), atomic.LoadInt64(&s.cancelled)
	return nil
}

type Fault struct{}

func (*Fault) Fail(_ context.Context, a *msg.Message, _ *msg.Empty) error {
	return errors.New(a.Message)
}
func (*Fault) Panic(_ context.Context, _ *msg.Empty, _ *msg.Empty) error {
	panic("the text of the panic")
}
func (*Fault) Big(_ context.Context, a *msg.Bytes, r *msg.Data) error {
	r.Data = strings.Repeat("x", int(a.Bytes))
	return nil
}

type Meta struct{}

func (*Meta) Echo(ctx context.Context, _ *msg.Empty, _ *msg.Empty) error {
	req, _ := metadata.FromClientMdContext(ctx)
	res := map[string]string{}
	for k, v := range req {
		if !strings.HasPrefix(k, "__") {
			res[k] = v
		}
	}
	return server.SendMetaData(ctx, res)
}

func build(opts ...server.ServerOption) (*server.Server, error) {
	s := server.NewServer(opts...)
	for name, svc := range map[string]interface{}{
		"Arith": new(Arith), "Echo": new(Echo), "Text": new(Text), "Hello": new(Hello), "Slow": new(Slow), "Fault": new(Fault), "Meta": new(Meta),
	} {
		if err := s.RegisterName(name, svc); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// freePort: easymicro listens by itself and does not tell where, so the port must be known before.
func freePort() (string, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer ln.Close()
	return ln.Addr().String(), nil
}

func run() error {
	addr := flag.String("addr", "127.0.0.1:0", "`HOST:PORT` to listen on")
	flag.Parse()
	log.SetDummyLogger()
	if strings.HasSuffix(*addr, ":0") {
		a, err := freePort()
		if err != nil {
			return err
		}
		*addr = a
	}
	s, err := build(server.SetGateWayMode())
	if err != nil {
		return err
	}
	go s.Serve("tcp", *addr) // Ends the process where the port is taken, and on TERM.
	err = stand.Poll(5*time.Second, "listening", func() (bool, error) {
		c, err := net.Dial("tcp", *addr)
		if err == nil {
			c.Close()
		}
		return err == nil, nil
	})
	if err != nil {
		return err
	}
	hs, err := build()
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.Handle(server.DefaultRPCPath, hs)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	go http.Serve(ln, mux)
	fmt.Printf("ready %s connect=%s\n", *addr, ln.Addr())
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "server:", err)
		os.Exit(1)
	}
}
