package main

// Errors, timeouts, heartbeats, and frames that this client cannot send: one-way, exact names, CONNECT.

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/masonchen2014/easymicro/client"
	"github.com/masonchen2014/easymicro/protocol"
	"github.com/masonchen2014/easymicro/share"

	"trunkline.test/interop/easymicro/msg"
	"trunkline.test/interop/stand"
)

func errorCases() []stand.Case {
	cases := []stand.Case{
		{Name: "fail-texts", Run: func() error {
			return with("Fault", func(c *client.Client) error {
				for _, text := range stand.ErrorTexts {
					if err := fails(call(c, "Fail", &msg.Message{Message: text}, &msg.Empty{}), text); err != nil {
						return err
					}
				}
				return nil
			})
		}},
		{Name: "divide-by-zero", Run: func() error {
			return with("Arith", func(c *client.Client) error {
				for _, k := range codecs {
					if err := fails(call(c, "Div", &msg.Args{A: 1}, &msg.Reply{}, in(k.st)), "divide by zero"); err != nil {
						return fmt.Errorf("%s: %w", k.name, err)
					}
				}
				return works(c)
			})
		}},
		{Name: "unknown-method", Run: func() error {
			return with("Arith", func(c *client.Client) error {
				return stand.First(unknown(call(c, "Nope", &msg.Args{}, &msg.Reply{}), "can't find method nope"), works(c))
			})
		}},
		{Name: "unknown-service", Run: func() error {
			return with("Nope", func(c *client.Client) error {
				return unknown(call(c, "Mul", &msg.Args{}, &msg.Reply{}), "can't find service nope")
			})
		}},
		{Name: "panic", Run: panics},
		{Name: "reply-over-limit", Run: func() error {
			return with("Fault", func(c *client.Client) error {
				return tooLarge(call(c, "Big", &msg.Bytes{Bytes: flags.BodyLimit + 1}, &msg.Data{}))
			})
		}, Go: &stand.Difference{ID: "E4", Why: "Go's server has no limits"}},
		{Name: "bad-trace", Run: func() error {
			return with("Arith", func(c *client.Client) error {
				ctx := context.WithValue(bg, share.SpanMetaDataKey{}, meta{share.FieldNameTraceID: "no hex", share.FieldNameSpanID: "1"})
				// Whether it is an error is the server's choice; an answer it must be.
				if err := callMeta(c, ctx, "Mul", &msg.Args{A: 6, B: 7}, &msg.Reply{}); errors.Is(err, client.ErrTimeOut) {
					return err
				}
				return works(c)
			})
		}},
	}
	for i := range cases {
		if cases[i].Go == nil {
			cases[i].Go = noErrors
		}
	}
	return cases
}

func unknown(err error, text string) error {
	if err == nil || !strings.HasSuffix(err.Error(), text) {
		return fmt.Errorf("error %v, expected one that ends in %q", err, text)
	}
	return nil
}

func panics() error {
	return with("Fault", func(c *client.Client) error {
		err := call(c, "Panic", &msg.Empty{}, &msg.Empty{})
		if err == nil || errors.Is(err, client.ErrTimeOut) {
			return fmt.Errorf("not an error answer: %v", err)
		}
		for _, leak := range []string{"text of the panic", "stack", ".rs:", "src/"} {
			if strings.Contains(err.Error(), leak) {
				return fmt.Errorf("the caller sees %q in %q", leak, err)
			}
		}
		return with("Arith", works)
	})
}

func connectionCases() []stand.Case {
	return []stand.Case{
		{Name: "survives-failures", Run: func() error {
			return stand.First(
				with("Fault", func(c *client.Client) error {
					ctx, cancel := context.WithTimeout(bg, 200*time.Millisecond)
					defer cancel()
					for _, method := range []string{"Fail", "Panic", "Nope"} {
						if err := c.Call(ctx, method, &msg.Message{Message: "x"}, &msg.Empty{}); err == nil {
							return fmt.Errorf("%s succeeded", method)
						}
					}
					got := &msg.Data{}
					if err := call(c, "Big", &msg.Bytes{Bytes: 10}, got); err != nil || len(got.Data) != 10 {
						return fmt.Errorf("the connection does not go on: %v", err)
					}
					return nil
				}),
				with("Arith", works))
		}},
		{Name: "timeout", Run: timeout},
		{Name: "heartbeat", Run: heartbeat, Long: true},
	}
}

// timeout: this client tells the server nothing of its deadline; the call ends on its side.
func timeout() error {
	return with("Slow", func(c *client.Client) error {
		ctx, cancel := context.WithTimeout(bg, 100*time.Millisecond)
		defer cancel()
		if err := c.Call(ctx, "Sleep", &msg.Millis{Millis: 300}, &msg.Slept{}); !errors.Is(err, client.ErrTimeOut) {
			return fmt.Errorf("error %v", err)
		}
		// Its late answer comes before this one's, and completes nothing.
		r := &msg.Slept{}
		if err := call(c, "Sleep", &msg.Millis{Millis: 500}, r); err != nil || r.Slept < 500 {
			return fmt.Errorf("the next call: %+v (%v)", *r, err)
		}
		return nil
	})
}

// heartbeat: after 5 s and 10 s without a call the client sends one; a server that does not answer loses the client.
func heartbeat() error {
	return with("Arith", func(c *client.Client) error {
		if err := works(c); err != nil {
			return err
		}
		time.Sleep(11 * time.Second)
		return works(c)
	})
}

func rawCases() []stand.Case {
	return []stand.Case{
		{Name: "frame-lower-names", Run: func() error { return frames(frame(nil), 7) }},
		{Name: "frame-exact-names", Run: func() error {
			return frames(frame(func(m *protocol.Message) { m.ServicePath, m.ServiceMethod = "Arith", "Mul" }), 7)
		}, Go: &stand.Difference{ID: "easymicro-names", Why: "Go's server knows lower-case names only, and does not answer (E5)"}},
		{Name: "frame-one-way", Run: func() error {
			one := frame(func(m *protocol.Message) { m.SetSeq(5); m.SetOneway(true) })
			return frames(append(one, frame(nil)...), 7)
		}, Go: &stand.Difference{ID: "easymicro-one-way", Why: "Go's server answers one-way requests"}},
		{Name: "frame-heartbeat", Run: frameHeartbeat},
		{Name: "frame-pipeline", Run: func() error {
			var all []byte
			for i := uint64(0); i < 50; i++ {
				all = append(all, frame(func(m *protocol.Message) { m.SetSeq(i) })...)
			}
			want := make([]uint64, 50)
			for i := range want {
				want[i] = uint64(i)
			}
			return frames(all, want...)
		}},
		{Name: "connect-handshake", Run: connect},
	}
}

// frame is Arith.Mul {6,7} in JSON with sequence number 7, changed as asked.
func frame(change func(*protocol.Message)) []byte {
	m := protocol.NewMessage()
	m.SetSeq(7)
	m.SetSerializeType(protocol.JSON)
	m.ServicePath, m.ServiceMethod, m.Payload = "arith", "mul", []byte(`{"A":6,"B":7}`)
	if change != nil {
		change(m)
	}
	return m.Encode()
}

// frames writes bytes to a fresh connection and wants exactly the answers with these sequence numbers, in any order.
func frames(b []byte, want ...uint64) error {
	c, err := net.Dial("tcp", flags.Addr)
	if err != nil {
		return err
	}
	defer c.Close()
	return framesOn(c, c, b, want...)
}

func framesOn(c net.Conn, r io.Reader, b []byte, want ...uint64) error {
	c.SetDeadline(time.Now().Add(2 * time.Second))
	if _, err := c.Write(b); err != nil {
		return err
	}
	open := map[uint64]bool{}
	for _, s := range want {
		open[s] = true
	}
	for len(open) > 0 {
		m, err := protocol.Read(r)
		if err != nil {
			return fmt.Errorf("%d answers are missing: %w", len(open), err)
		}
		if m.MessageType() != protocol.Response || !open[m.Seq()] || string(m.Payload) != `{"C":42}` {
			return fmt.Errorf("answer %d of type %d, one-way %v: %q %v", m.Seq(), m.MessageType(), m.IsOneway(), m.Payload, m.Metadata)
		}
		delete(open, m.Seq())
	}
	c.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
	if m, err := protocol.Read(r); err == nil {
		return fmt.Errorf("one frame too many: %d %q", m.Seq(), m.Payload)
	}
	return nil
}

// frameHeartbeat: the whole frame comes back, as a response.
func frameHeartbeat() error {
	c, err := net.Dial("tcp", flags.Addr)
	if err != nil {
		return err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(2 * time.Second))
	for _, payload := range []string{"", "a payload"} {
		b := frame(func(m *protocol.Message) {
			m.SetHeartbeat(true)
			m.SetSerializeType(protocol.SerializeNone)
			m.ServicePath, m.ServiceMethod, m.Payload = "arith", "", []byte(payload)
			m.Metadata = meta{"k": "v"}
		})
		if _, err := c.Write(b); err != nil {
			return err
		}
		m, err := protocol.Read(c)
		if err != nil {
			return err
		}
		if !m.IsHeartbeat() || m.MessageType() != protocol.Response || m.Seq() != 7 || m.ServicePath != "arith" ||
			string(m.Payload) != payload || m.Metadata["k"] != "v" {
			return fmt.Errorf("came back as %+v", m)
		}
	}
	return framesOn(c, c, frame(nil), 7)
}

// connect: this client cannot dial CONNECT itself (it asks for a network named http), so the bytes are written here.
func connect() error {
	c, err := net.Dial("tcp", flags.Connect)
	if err != nil {
		return err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(2 * time.Second))
	if _, err := io.WriteString(c, "CONNECT /_goRPC_ HTTP/1.0\n\n"); err != nil {
		return err
	}
	r := bufio.NewReader(c)
	res, err := http.ReadResponse(r, &http.Request{Method: "CONNECT"})
	if err != nil {
		return err
	}
	if res.Status != "200 Connected to Go RPC" || res.Proto != "HTTP/1.0" {
		return fmt.Errorf("answered %s %s", res.Proto, res.Status)
	}
	return framesOn(c, r, append(frame(nil), frame(func(m *protocol.Message) { m.SetSeq(8) })...), 7, 8)
}
