// A Go rpcx server with the sample services, as far as the framework can serve them.
//
//	server [-addr 127.0.0.1:0] [-token T]
//
// The first line on stdout is `ready ADDR connect=ADDR ws=ADDR`: rpcx serves CONNECT and WebSocket on listeners of
// their own. It stops at the end of its standard input, or on TERM.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/smallnest/rpcx/log"
	"github.com/smallnest/rpcx/protocol"
	"github.com/smallnest/rpcx/server"
	"github.com/smallnest/rpcx/share"

	"trunkline.test/interop/rpcx/msg"
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

// Echo serves raw bodies over HTTP; over rpcx the handlers below come first and take every codec.
type Echo struct{}

func (*Echo) Echo(_ context.Context, a []byte, r *[]byte) error  { *r = a; return nil }
func (*Echo) Owned(_ context.Context, a []byte, r *[]byte) error { *r = a; return nil }

func echo(c *server.Context) error {
	// The raw codec takes []byte only, and all others what encodes itself.
	if c.Write(msg.Any(c.Payload())) == nil {
		return nil
	}
	return c.Write(c.Payload())
}

type Hello struct{}

func (*Hello) Say(_ context.Context, a *msg.Say, r *msg.Say) error {
	*r = *a
	(*stand.Say)(r).Answered()
	return nil
}

type Slow struct{ running, completed, cancelled atomic.Int64 }

func (s *Slow) Sleep(ctx context.Context, a *msg.Millis, r *msg.Slept) error {
	s.running.Add(1)
	defer s.running.Add(-1)
	select {
	case <-ctx.Done():
		s.cancelled.Add(1)
		return ctx.Err()
	case <-time.After(time.Duration(a.Millis) * time.Millisecond):
		s.completed.Add(1)
		r.Slept = a.Millis
		return nil
	}
}
func (s *Slow) Stats(_ context.Context, _ *msg.Empty, r *msg.Stats) error {
	*r = msg.Stats{Running: s.running.Load(), Completed: s.completed.Load(), Cancelled: s.cancelled.Load()}
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
	req, _ := ctx.Value(share.ReqMetaDataKey).(map[string]string)
	res, _ := ctx.Value(share.ResMetaDataKey).(map[string]string)
	for k, v := range req {
		if !strings.HasPrefix(k, "__") {
			res[k] = v
		}
	}
	return nil
}

type Push struct{ server *server.Server }

func (p *Push) Start(ctx context.Context, a *msg.Count, r *msg.Started) error {
	conn, ok := ctx.Value(server.RemoteConnContextKey).(net.Conn)
	if !ok {
		return errors.New("no connection to push on")
	}
	for i := int64(1); i <= a.Count; i++ {
		if err := p.server.SendMessage(conn, "Push", "Tick", nil, fmt.Appendf(nil, `{"N":%d}`, i)); err != nil {
			return err
		}
	}
	r.Started = a.Count
	return nil
}

func build(token string, slow *Slow) (*server.Server, error) {
	s := server.NewServer()
	for name, svc := range map[string]any{
		"Arith": new(Arith), "Echo": new(Echo), "Hello": new(Hello), "Slow": slow, "Fault": new(Fault),
		"Meta": new(Meta), "Push": &Push{s},
	} {
		if err := s.RegisterName(name, svc, ""); err != nil {
			return nil, err
		}
	}
	s.AddHandler("Echo", "Echo", echo)
	s.AddHandler("Echo", "Owned", echo)
	if token != "" {
		s.AuthFunc = func(_ context.Context, _ *protocol.Message, got string) error {
			if got == token || got == "Bearer "+token {
				return nil
			}
			return errors.New("invalid token")
		}
	}
	return s, nil
}

func run() error {
	addr := flag.String("addr", "127.0.0.1:0", "`HOST:PORT` to listen on")
	token := flag.String("token", "", "ask every caller for this token")
	flag.Parse()
	log.SetDummyLogger()
	slow := new(Slow)
	addrs := make([]string, 3)
	for i, network := range []string{"tcp", "http", "ws"} {
		s, err := build(*token, slow)
		if err != nil {
			return err
		}
		at := "127.0.0.1:0"
		if i == 0 {
			at = *addr
		}
		if network == "ws" {
			// Only Serve, not ServeListener, knows the network ws, and it does not say when it listens.
			failed := make(chan error, 1)
			go func() { failed <- s.Serve(network, at) }()
			err = stand.Poll(5*time.Second, "listening for WebSocket", func() (bool, error) {
				select {
				case err := <-failed:
					return false, err
				default:
					return s.Address() != nil, nil
				}
			})
			if err != nil {
				return err
			}
			addrs[i] = s.Address().String()
			continue
		}
		ln, err := net.Listen("tcp", at)
		if err != nil {
			return err
		}
		addrs[i] = ln.Addr().String()
		go s.ServeListener(network, ln)
	}
	fmt.Printf("ready %s connect=%s ws=%s\n", addrs[0], addrs[1], addrs[2])
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, os.Interrupt)
	go func() {
		io.Copy(io.Discard, os.Stdin)
		stop <- syscall.SIGTERM
	}()
	<-stop
	return nil
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "server:", err)
		os.Exit(1)
	}
}
