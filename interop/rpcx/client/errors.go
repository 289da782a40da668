package main

// Error texts, panics, the reply limit, input that does not decode.

import (
	"errors"
	"fmt"
	"strings"

	"github.com/smallnest/rpcx/client"
	"github.com/smallnest/rpcx/protocol"

	"trunkline.test/interop/rpcx/msg"
	"trunkline.test/interop/stand"
)

func errorCases() []stand.Case {
	return []stand.Case{
		{Name: "fail-texts", Run: failTexts},
		{Name: "divide-by-zero", Run: func() error {
			return with(protocol.MsgPack, func(c *client.Client) error {
				return stand.First(fails(call(c, "Arith", "Div", &msg.Args{A: 7}, &msg.Reply{}), "divide by zero"), works(c))
			})
		}},
		{Name: "unknown-names", Run: unknownNames},
		{Name: "panic", Run: panics, Go: &stand.Difference{ID: "rpcx-panic", Why: "Go's server sends the text of the panic and a stack trace"}},
		{Name: "panic-survived", Run: panicSurvived},
		{Name: "reply-over-limit", Run: replyOverLimit, Go: noLimit},
		{Name: "bad-payload", Run: badPayload},
		{Name: "bad-serialisation", Run: func() error {
			return with(protocol.JSON, func(c *client.Client) error {
				return stand.First(fails(sendRaw(c, 9, 0, "Arith", "Mul", []byte("x")), "can not find codec for 9"), works(c))
			})
		}},
		{Name: "names-any-case", Run: anyCase, Go: &stand.Difference{ID: "rpcx-case", Why: "Go's server takes exact names only"}},
	}
}

func failTexts() error {
	return with(protocol.JSON, func(c *client.Client) error {
		for _, text := range stand.ErrorTexts {
			if err := fails(call(c, "Fault", "Fail", &msg.Message{Message: text}, &msg.Empty{}), text); err != nil {
				return err
			}
		}
		return works(c)
	})
}

func unknownNames() error {
	return with(protocol.JSON, func(c *client.Client) error {
		return stand.First(
			fails(call(c, "Nope", "Mul", &msg.Args{}, &msg.Reply{}), "rpcx: can't find service Nope"),
			fails(call(c, "Arith", "Nope", &msg.Args{}, &msg.Reply{}), "rpcx: can't find method Nope"),
			fails(call(c, "Ünknown", "Mul", &msg.Args{}, &msg.Reply{}), "rpcx: can't find service Ünknown"),
			works(c))
	})
}

func panics() error {
	return with(protocol.JSON, func(c *client.Client) error {
		err := call(c, "Fault", "Panic", &msg.Empty{}, &msg.Empty{})
		if err == nil {
			return errors.New("a panic was answered as a success")
		}
		// The sample panics' own texts, and what a stack trace would show.
		for _, leak := range []string{"text of the panic", "goroutine", "stack", ".go:", ".rs:", "src/"} {
			if strings.Contains(err.Error(), leak) {
				return fmt.Errorf("the caller sees %q in %q", leak, err)
			}
		}
		return works(c)
	})
}

func panicSurvived() error {
	return with(protocol.JSON, func(c *client.Client) error {
		for i := 0; i < 20; i++ {
			if err := call(c, "Fault", "Panic", &msg.Empty{}, &msg.Empty{}); err == nil {
				return errors.New("a panic was answered as a success")
			}
		}
		return stand.First(works(c), with(protocol.MsgPack, func(c *client.Client) error { return works(c) }))
	})
}

func replyOverLimit() error {
	return with(protocol.JSON, func(c *client.Client) error {
		err := call(c, "Fault", "Big", &msg.Bytes{Bytes: flags.BodyLimit + 1}, &msg.Data{})
		return stand.First(tooLarge(err), works(c))
	})
}

var rawSeq uint64 = 1 << 40

// sendRaw sends a message that the client would not make: its own serialisation, compression and payload.
func sendRaw(c *client.Client, st protocol.SerializeType, compress protocol.CompressType, path, method string, payload []byte) error {
	rawSeq++
	m := protocol.NewMessage()
	m.SetSeq(rawSeq)
	m.SetSerializeType(st)
	m.SetCompressType(compress)
	m.ServicePath, m.ServiceMethod, m.Payload = path, method, payload
	_, _, err := c.SendRaw(bg, m)
	return err
}

func badPayload() error {
	return with(protocol.JSON, func(c *client.Client) error {
		for _, k := range codecs {
			payload := map[string][]byte{"json": []byte("{"), "msgpack": {0x82, 0xa1}, "protobuf": {0x08}, "thrift": {0x0a, 0x00}}[k.name]
			var s client.ServiceError
			if err := sendRaw(c, k.st, 0, "Arith", "Mul", payload); !errors.As(err, &s) {
				return fmt.Errorf("%s that is cut was answered with %v", k.name, err)
			}
			if err := works(c); err != nil {
				return fmt.Errorf("after cut %s: %w", k.name, err)
			}
		}
		return nil
	})
}

func anyCase() error {
	return with(protocol.JSON, func(c *client.Client) error {
		for _, name := range [][2]string{{"arith", "mul"}, {"ARITH", "MUL"}, {"Arith", "mul"}} {
			r := &msg.Reply{}
			if err := call(c, name[0], name[1], &msg.Args{A: 6, B: 7}, r); err != nil || r.C != 42 {
				return fmt.Errorf("%s.%s: %d (%v)", name[0], name[1], r.C, err)
			}
		}
		return nil
	})
}
