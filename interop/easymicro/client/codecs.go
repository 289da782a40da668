package main

// Every codec, generated messages, sizes, compression, metadata.

import (
	"bytes"
	"fmt"
	"math/rand"
	"strings"

	"github.com/masonchen2014/easymicro/client"
	"github.com/masonchen2014/easymicro/metadata"
	"github.com/masonchen2014/easymicro/protocol"
	"github.com/masonchen2014/easymicro/share"
	"github.com/opentracing/basictracer-go"

	"trunkline.test/interop/easymicro/msg"
	"trunkline.test/interop/stand"
)

func codecCases() []stand.Case {
	var out []stand.Case
	for _, c := range codecs {
		c := c
		echo := &stand.Difference{ID: "E5", Why: "Go's Echo takes byte slices only, and the error is not answered"}
		if c.st == protocol.Thrift {
			echo = &stand.Difference{ID: "E1", Why: "a byte slice in Thrift kills Go's server", Fatal: true}
		}
		out = append(out,
			stand.Case{Name: "codec-" + c.name, Run: func() error { return generated(c.name, c.st) }},
			stand.Case{Name: "sizes-" + c.name, Run: func() error { return typedSizes(c.st) }, Go: echo},
			stand.Case{Name: "replies-" + c.name, Run: func() error { return replies(c.st) }},
			stand.Case{Name: "messages-" + c.name, Run: func() error { return everyMessage(c.st) }},
			stand.Case{Name: "gzip-" + c.name, Run: func() error { return gzip(c.st) }},
		)
	}
	return append(out,
		stand.Case{Name: "bytes-json", Run: func() error { return byteSizes(protocol.JSON) }},
		stand.Case{Name: "bytes-msgpack", Run: func() error { return byteSizes(protocol.MsgPack) }},
		stand.Case{Name: "raw-empty", Run: rawEmpty},
		stand.Case{Name: "say", Run: say},
		stand.Case{Name: "meta", Run: meta1},
		stand.Case{Name: "trace", Run: trace},
	)
}

func generated(name string, st protocol.SerializeType) error {
	return with("Arith", func(c *client.Client) error {
		r := flags.Rand("codec-" + name)
		for i := 0; i < flags.N; i++ {
			a := msg.Args(stand.GenArgs(r))
			for method, want := range map[string]int64{"Mul": a.A * a.B, "Add": a.A + a.B} {
				reply := &msg.Reply{}
				if err := call(c, method, &a, reply, in(st)); err != nil || reply.C != want {
					return fmt.Errorf("message %d: %s %v = %d, expected %d (%v)", i, method, a, reply.C, want, err)
				}
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

func typedSizes(st protocol.SerializeType) error {
	return with("Echo", func(c *client.Client) error {
		for _, n := range append(stand.Sizes, int(flags.BodyLimit)) {
			t, ok, err := fit(st, n)
			if err != nil {
				return err
			}
			for _, method := range []string{"Echo", "Owned"} {
				got := &msg.Text{}
				if !ok {
					continue // No message of this codec is so short.
				}
				if err := call(c, method, t, got, in(st)); err != nil || got.S != t.S {
					return fmt.Errorf("%s of %d encoded bytes: a text of %d came back with %d (%v)", method, n, len(t.S), len(got.S), err)
				}
			}
		}
		t, ok, err := fit(st, int(flags.BodyLimit)+1)
		if err != nil || !ok {
			return fmt.Errorf("no message of one more than the limit (%v)", err)
		}
		err = tooLarge(call(c, "Owned", t, &msg.Text{}, in(st)))
		return stand.First(err, call(c, "Owned", &msg.Text{S: "still here"}, &msg.Text{}, in(st)))
	})
}

func tooLarge(err error) error {
	if err == nil {
		return fmt.Errorf("%d bytes were taken, the limit is %d", flags.BodyLimit+1, flags.BodyLimit)
	}
	for _, want := range []string{"limit", fmt.Sprint(flags.BodyLimit), "--body-limit"} {
		if !strings.Contains(err.Error(), want) {
			return fmt.Errorf("error %q does not name %q", err, want)
		}
	}
	return nil
}

// replies has answers of every size, which any codec can have.
func replies(st protocol.SerializeType) error {
	return with("Fault", func(c *client.Client) error {
		for _, n := range append(stand.Sizes, int(flags.BodyLimit)-100) {
			got := &msg.Data{}
			if err := call(c, "Big", &msg.Bytes{Bytes: int64(n)}, got, in(st)); err != nil || got.Data != strings.Repeat("x", n) {
				return fmt.Errorf("%d of %d bytes (%v)", len(got.Data), n, err)
			}
		}
		return nil
	})
}

// byteSizes echoes byte slices: base64 text in JSON, bin in MessagePack.
func byteSizes(st protocol.SerializeType) error {
	return with("Echo", func(c *client.Client) error {
		r := flags.Rand("bytes")
		for _, n := range append(stand.Sizes, r.Intn(3000), int(flags.BodyLimit)/4*3-5) {
			for _, method := range []string{"Echo", "Owned"} {
				if err := byteEcho(c, r, method, n, in(st)); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

func byteEcho(c *client.Client, r *rand.Rand, method string, n int, opts ...client.BeforeOrAfterCallOption) error {
	body, got := stand.Body(r, n), []byte{}
	if err := call(c, method, &body, &got, opts...); err != nil || !bytes.Equal(got, body) {
		return fmt.Errorf("%s of %d bytes: %d bytes came back (%v)", method, n, len(got), err)
	}
	return nil
}

// rawEmpty: with serialisation 0 this client sends no payload at all.
func rawEmpty() error {
	return with("Echo", func(c *client.Client) error {
		got := []byte("before")
		if err := call(c, "Echo", []byte("never sent"), &got, in(protocol.SerializeNone)); err != nil || len(got) != 0 {
			return fmt.Errorf("%q (%v)", got, err)
		}
		return nil
	})
}

func everyMessage(st protocol.SerializeType) error {
	slept, now := &msg.Slept{}, &msg.Stats{}
	err := stand.First(
		with("Slow", func(c *client.Client) error {
			return stand.First(call(c, "Sleep", &msg.Millis{Millis: 3}, slept, in(st)), call(c, "Stats", &msg.Empty{}, now, in(st)))
		}),
		with("Meta", func(c *client.Client) error { return call(c, "Echo", &msg.Empty{}, &msg.Empty{}, in(st)) }))
	if err != nil || slept.Slept < 3 || now.Completed < 1 {
		return fmt.Errorf("Sleep %+v, Stats %+v (%v)", *slept, *now, err)
	}
	return nil
}

// gzip: this client compresses every size; answers to it may be compressed or not.
func gzip(st protocol.SerializeType) error {
	z := client.SetCallCompressType(protocol.Gzip)
	return stand.First(
		with("Arith", func(c *client.Client) error {
			r := flags.Rand("gzip")
			for i := 0; i < 20; i++ {
				a, reply := msg.Args(stand.GenArgs(r)), &msg.Reply{}
				if err := call(c, "Mul", &a, reply, in(st), z); err != nil || reply.C != a.A*a.B {
					return fmt.Errorf("%v = %d (%v)", a, reply.C, err)
				}
			}
			return nil
		}),
		with("Fault", func(c *client.Client) error {
			for _, n := range stand.Sizes {
				got := &msg.Data{}
				if err := call(c, "Big", &msg.Bytes{Bytes: int64(n)}, got, in(st), z); err != nil || len(got.Data) != n {
					return fmt.Errorf("%d of %d bytes (%v)", len(got.Data), n, err)
				}
			}
			return nil
		}),
		with("Echo", func(c *client.Client) error {
			if st != protocol.JSON && st != protocol.MsgPack {
				return nil // No byte slices.
			}
			r := flags.Rand("gzip-bytes")
			for _, n := range stand.Sizes {
				if err := byteEcho(c, r, "Owned", n, in(st), z); err != nil {
					return err
				}
			}
			return nil
		}))
}

func say() error {
	return with("Hello", func(c *client.Client) error {
		m := (*msg.Say)(stand.NewSay())
		b, err := m.Marshal()
		if err != nil || len(b) != 581 {
			return fmt.Errorf("the message has %d bytes, not 581 (%v)", len(b), err)
		}
		got := &msg.Say{}
		if err := call(c, "Say", m, got, in(protocol.ProtoBuffer)); err != nil {
			return err
		}
		(*stand.Say)(m).Answered()
		if w, g := (*stand.Say)(m).String(), (*stand.Say)(got).String(); w != g {
			return fmt.Errorf("answered %s, expected %s", g, w)
		}
		return nil
	})
}

// meta1 has a connection for each call: this client shows the metadata of an earlier answer where the next has none (E11).
func meta1() error {
	for _, req := range []meta{{}, {"k": "v"}, {"k": "v", "empty": "", "名": "größer ✓", "UPPER": "Case", "long": strings.Repeat("m", 5000)}} {
		err := with("Meta", func(c *client.Client) error {
			var res meta
			if err := callMeta(c, withMeta(req), "Echo", &msg.Empty{}, &msg.Empty{}, client.GetMetadataFromServer(&res)); err != nil {
				return err
			}
			if len(res) != len(req) {
				return fmt.Errorf("%d pairs came back as %d: %v", len(req), len(res), res)
			}
			for k, v := range req {
				if got, ok := res[k]; !ok || got != v {
					return fmt.Errorf("key %q: %q came back as %q (%v)", k, v, got, ok)
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// trace: the keys of a span with baggage do not disturb the call nor the other metadata.
func trace() error {
	span := basictracer.New(basictracer.NewInMemoryRecorder()).StartSpan("call")
	span.SetBaggageItem("User", "u1")
	ctx, err := metadata.NewClientSpanContext(withMeta(meta{"k": "v"}), span)
	if err != nil {
		return err
	}
	return with("Meta", func(c *client.Client) error {
		var res meta
		if err := callMeta(c, ctx, "Echo", &msg.Empty{}, &msg.Empty{}, client.GetMetadataFromServer(&res)); err != nil || res["k"] != "v" {
			return fmt.Errorf("metadata %v (%v)", res, err)
		}
		return nil
	})
}
