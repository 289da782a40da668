package main

// Every codec, generated messages, sizes, compression, metadata.

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"strings"

	"github.com/smallnest/rpcx/client"
	"github.com/smallnest/rpcx/protocol"
	"github.com/smallnest/rpcx/share"

	"trunkline.test/interop/rpcx/msg"
	"trunkline.test/interop/stand"
)

var noLimit = &stand.Difference{ID: "E4", Why: "Go's server has no body limit"}

func codecCases() []stand.Case {
	var out []stand.Case
	for _, c := range codecs {
		out = append(out,
			stand.Case{Name: "codec-" + c.name, Run: func() error { return generated(c.name, c.st) }},
			stand.Case{Name: "sizes-" + c.name, Run: func() error { return with(c.st, func(k *client.Client) error { return typedSizes(k, c.st) }) }},
			stand.Case{Name: "over-limit-" + c.name, Run: func() error { return typedOver(c.st) }, Go: noLimit},
			stand.Case{Name: "messages-" + c.name, Run: func() error { return with(c.st, everyMessage) }},
			stand.Case{Name: "gzip-" + c.name, Run: func() error { return gzipTyped(c.st) }},
		)
	}
	return append(out,
		stand.Case{Name: "codec-raw", Run: rawGenerated},
		stand.Case{Name: "sizes-raw", Run: rawSizes},
		stand.Case{Name: "over-limit-raw", Run: rawOver, Go: noLimit},
		stand.Case{Name: "gzip-raw", Run: gzipRaw},
		stand.Case{Name: "gzip-over-limit", Run: gzipOver, Go: noLimit},
		stand.Case{Name: "overflow", Run: overflow},
		stand.Case{Name: "say", Run: say},
		stand.Case{Name: "meta", Run: metadata},
		stand.Case{Name: "meta-reserved", Run: metaReserved},
		stand.Case{Name: "xclient", Run: xclient},
	)
}

func generated(name string, st protocol.SerializeType) error {
	return with(st, func(c *client.Client) error {
		r := flags.Rand("codec-" + name)
		for i := 0; i < flags.N; i++ {
			a := msg.Args(stand.GenArgs(r))
			for method, want := range map[string]int64{"Mul": a.A * a.B, "Add": a.A + a.B} {
				reply := &msg.Reply{}
				if err := call(c, "Arith", method, &a, reply); err != nil || reply.C != want {
					return fmt.Errorf("message %d: %s %v = %d, expected %d (%v)", i, method, a, reply.C, want, err)
				}
			}
		}
		return nil
	})
}

func rawGenerated() error {
	return with(protocol.SerializeNone, func(c *client.Client) error {
		r := flags.Rand("codec-raw")
		for i := 0; i < flags.N; i++ {
			body := make([]byte, r.Intn(3000))
			r.Read(body)
			for _, method := range []string{"Echo", "Owned"} {
				if err := rawEcho(c, method, body); err != nil {
					return fmt.Errorf("message %d: %w", i, err)
				}
			}
		}
		return nil
	})
}

func rawEcho(c client.RPCClient, method string, body []byte) error {
	var got []byte
	if err := call(c, "Echo", method, body, &got); err != nil {
		return fmt.Errorf("%s of %d bytes: %w", method, len(body), err)
	}
	if !bytes.Equal(got, body) {
		return fmt.Errorf("%s of %d bytes came back as %d other ones", method, len(body), len(got))
	}
	return nil
}

func rawSizes() error {
	return with(protocol.SerializeNone, func(c *client.Client) error {
		r := flags.Rand("sizes-raw")
		for _, n := range append(stand.Sizes, int(flags.BodyLimit)) {
			for _, method := range []string{"Echo", "Owned"} {
				if err := rawEcho(c, method, stand.Body(r, n)); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// tooLarge wants the answer to a body over the limit: an error that names limit, value and flag.
func tooLarge(err error) error {
	if err == nil {
		return fmt.Errorf("%d bytes were taken, the limit is %d", flags.BodyLimit+1, flags.BodyLimit)
	}
	var s client.ServiceError
	if !errors.As(err, &s) {
		return fmt.Errorf("not an answer of the server: %w", err)
	}
	for _, want := range []string{"limit", fmt.Sprint(flags.BodyLimit), "--body-limit"} {
		if !strings.Contains(err.Error(), want) {
			return fmt.Errorf("error %q does not name %q", err, want)
		}
	}
	return nil
}

func rawOver() error {
	return with(protocol.SerializeNone, func(c *client.Client) error {
		for _, method := range []string{"Echo", "Owned"} {
			var got []byte
			err := call(c, "Echo", method, make([]byte, flags.BodyLimit+1), &got)
			if err := tooLarge(err); err != nil {
				return fmt.Errorf("%s: %w", method, err)
			}
			if err := rawEcho(c, method, []byte("still here")); err != nil {
				return err
			}
		}
		return nil
	})
}

func fit(st protocol.SerializeType, n int) (*msg.Text, bool, error) {
	t, ok, err := stand.Fit(n, func(t *stand.Text) (int, error) {
		b, err := share.Codecs[st].Encode((*msg.Text)(t))
		return len(b), err
	})
	return (*msg.Text)(t), ok, err
}

func typedEcho(c client.RPCClient, method string, t *msg.Text, n int) error {
	got := &msg.Text{}
	if err := call(c, "Echo", method, t, got); err != nil {
		return fmt.Errorf("%s of %d encoded bytes: %w", method, n, err)
	}
	if *got != *t {
		return fmt.Errorf("%s of %d encoded bytes: a text of %d came back with %d", method, n, len(t.S), len(got.S))
	}
	return nil
}

func typedSizes(c *client.Client, st protocol.SerializeType) error {
	done := 0
	for _, n := range append(stand.Sizes, int(flags.BodyLimit)) {
		t, ok, err := fit(st, n)
		if err != nil {
			return err
		}
		if !ok {
			continue // No message of this codec is so short.
		}
		done++
		for _, method := range []string{"Echo", "Owned"} {
			if err := typedEcho(c, method, t, n); err != nil {
				return err
			}
		}
	}
	if done < 7 {
		return fmt.Errorf("only %d sizes could be made", done)
	}
	return nil
}

func typedOver(st protocol.SerializeType) error {
	return with(st, func(c *client.Client) error {
		t, ok, err := fit(st, int(flags.BodyLimit)+1)
		if err != nil || !ok {
			return fmt.Errorf("no message of that size: %v", err)
		}
		return stand.First(tooLarge(call(c, "Echo", "Owned", t, &msg.Text{})), works(c))
	})
}

// everyMessage calls what has no case of its own in each codec, to see all field names and numbers.
func everyMessage(c *client.Client) error {
	slept, big, stats := &msg.Slept{}, &msg.Data{}, &msg.Stats{}
	err := stand.First(
		works(c),
		call(c, "Slow", "Sleep", &msg.Millis{Millis: 3}, slept),
		call(c, "Fault", "Big", &msg.Bytes{Bytes: 2000}, big),
		call(c, "Slow", "Stats", &msg.Empty{}, stats),
		fails(call(c, "Fault", "Fail", &msg.Message{Message: "in this codec"}, &msg.Empty{}), "in this codec"),
		fails(call(c, "Arith", "Div", &msg.Args{A: 1}, &msg.Reply{}), "divide by zero"),
	)
	if err != nil {
		return err
	}
	if slept.Slept < 3 || big.Data != strings.Repeat("x", 2000) || stats.Completed < 1 {
		return fmt.Errorf("Sleep %+v, Big %d bytes, Stats %+v", *slept, len(big.Data), *stats)
	}
	return nil
}

func overflow() error {
	return with(protocol.JSON, func(c *client.Client) error {
		for method, a := range map[string]msg.Args{"Mul": {A: math.MaxInt64, B: 2}, "Add": {A: math.MaxInt64, B: 1}, "Div": {A: math.MinInt64, B: -1}} {
			r := &msg.Reply{}
			if err := call(c, "Arith", method, &a, r); err == nil {
				return fmt.Errorf("%s %v wrapped to %d", method, a, r.C)
			}
		}
		return works(c)
	})
}

func say() error {
	return with(protocol.ProtoBuffer, func(c *client.Client) error {
		m := (*msg.Say)(stand.NewSay())
		b, err := m.Marshal()
		if err != nil || len(b) != 581 {
			return fmt.Errorf("the message has %d bytes, not 581 (%v)", len(b), err)
		}
		got := &msg.Say{}
		if err := call(c, "Hello", "Say", m, got); err != nil {
			return err
		}
		(*stand.Say)(m).Answered()
		if w, g := (*stand.Say)(m).String(), (*stand.Say)(got).String(); w != g {
			return fmt.Errorf("answered %s, expected %s", g, w)
		}
		return nil
	})
}

// seen notes the compression of requests and answers, which the client hides.
type seen struct{ out, in protocol.CompressType }

func (s *seen) ClientBeforeEncode(m *protocol.Message) error {
	s.out = m.CompressType()
	return nil
}
func (s *seen) ClientAfterDecode(m *protocol.Message) error {
	s.in = m.CompressType()
	return nil
}

func gzipClient(st protocol.SerializeType, check func(*client.Client, *seen) error) error {
	return with(st, func(c *client.Client) error {
		s := &seen{}
		p := client.NewPluginContainer()
		p.Add(s)
		c.Plugins = p
		return check(c, s)
	}, func(o *client.Option) { o.CompressType = protocol.Gzip })
}

// rule is rpcx's: over 1,024 bytes a payload is compressed, an answer only where its request was.
func (s *seen) rule(request, answer int) error {
	out, in := protocol.None, protocol.None
	if request > 1024 {
		out = protocol.Gzip
		if answer > 1024 {
			in = protocol.Gzip
		}
	}
	if s.out != out || s.in != in {
		return fmt.Errorf("%d bytes and an answer of %d: compression %d and %d, expected %d and %d", request, answer, s.out, s.in, out, in)
	}
	return nil
}

func gzipRaw() error {
	return gzipClient(protocol.SerializeNone, func(c *client.Client, s *seen) error {
		r := flags.Rand("gzip-raw")
		for _, n := range append(stand.Sizes, int(flags.BodyLimit)) {
			for _, method := range []string{"Echo", "Owned"} {
				if err := stand.First(rawEcho(c, method, stand.Body(r, n)), s.rule(n, n)); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// gzipOver: few bytes on the wire, one more than the limit when they are inflated.
func gzipOver() error {
	return gzipClient(protocol.SerializeNone, func(c *client.Client, _ *seen) error {
		var got []byte
		err := call(c, "Echo", "Owned", make([]byte, flags.BodyLimit+1), &got)
		return stand.First(tooLarge(err), rawEcho(c, "Owned", []byte("still here")))
	})
}

func gzipTyped(st protocol.SerializeType) error {
	return gzipClient(st, func(c *client.Client, s *seen) error {
		for _, n := range []int{1023, 1024, 1025, 65536} {
			t, ok, err := fit(st, n)
			if err != nil || !ok {
				return fmt.Errorf("no message of %d bytes (%v)", n, err)
			}
			if err := stand.First(typedEcho(c, "Owned", t, n), s.rule(n, n)); err != nil {
				return err
			}
		}
		// A short request with a long answer, and the other way round.
		big, long := &msg.Data{}, &msg.Message{Message: strings.Repeat("y", 2000)}
		if err := stand.First(call(c, "Fault", "Big", &msg.Bytes{Bytes: 5000}, big), s.rule(10, 5000)); err != nil || len(big.Data) != 5000 {
			return fmt.Errorf("%d bytes of 5000 (%v)", len(big.Data), err)
		}
		return stand.First(fails(call(c, "Fault", "Fail", long, &msg.Empty{}), long.Message), s.rule(2000, 0), works(c), s.rule(10, 10))
	})
}

func metadata() error {
	return with(protocol.JSON, func(c *client.Client) error {
		for _, req := range []meta{{}, {"k": "v"}, {"k": "v", "empty": "", "名": "größer ✓", "UPPER": "Case", "long": strings.Repeat("m", 5000)}} {
			res := meta{}
			if err := callMeta(c, req, res, "Meta", "Echo", &msg.Empty{}, &msg.Empty{}); err != nil {
				return err
			}
			delete(res, share.ServerAddress) // Put there by the client.
			if len(res) != len(req) {
				return fmt.Errorf("%d pairs came back as %d", len(req), len(res))
			}
			for k, v := range req {
				if got, ok := res[k]; !ok || got != v {
					return fmt.Errorf("key %q: %q came back as %q (%v)", k, v, got, ok)
				}
			}
		}
		return nil
	})
}

func metaReserved() error {
	return with(protocol.JSON, func(c *client.Client) error {
		req, res := meta{share.AuthKey: "t", share.ServerTimeout: "5000", "k": "v"}, meta{}
		if err := callMeta(c, req, res, "Meta", "Echo", &msg.Empty{}, &msg.Empty{}); err != nil {
			return err
		}
		delete(res, share.ServerAddress)
		if len(res) != 1 || res["k"] != "v" {
			return fmt.Errorf("metadata %v, expected only k", res)
		}
		return nil
	})
}

// xclient is the client that programs of rpcx use most: over a discovery, here of one address.
func xclient() error {
	for _, c := range codecs {
		x, err := xdial("Arith", c.st)
		if err != nil {
			return err
		}
		defer x.Close()
		r := &msg.Reply{}
		if err := x.Call(bg, "Mul", &msg.Args{A: 6, B: 7}, r); err != nil || r.C != 42 {
			return fmt.Errorf("%s: %d (%v)", c.name, r.C, err)
		}
		if err := x.Call(bg, "Div", &msg.Args{A: 6}, r); err == nil || err.Error() != "divide by zero" {
			return fmt.Errorf("%s: error %v", c.name, err)
		}
	}
	return nil
}

func xdial(service string, st protocol.SerializeType) (client.XClient, error) {
	d, err := client.NewPeer2PeerDiscovery("tcp@"+flags.Addr, "")
	if err != nil {
		return nil, err
	}
	o := client.DefaultOption
	o.SerializeType, o.Retries = st, 0
	return client.NewXClient(service, client.Failfast, client.RandomSelect, d, o), nil
}
