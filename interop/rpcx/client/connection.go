package main

// What a connection does beside single calls: one-way, heartbeats, push, many calls in flight, CONNECT, WebSocket, tokens.

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/smallnest/rpcx/client"
	"github.com/smallnest/rpcx/protocol"
	"github.com/smallnest/rpcx/share"

	"trunkline.test/interop/rpcx/msg"
	"trunkline.test/interop/stand"
)

func connectionCases() []stand.Case {
	return []stand.Case{
		{Name: "one-way", Run: oneWay},
		{Name: "heartbeat", Run: heartbeat},
		{Name: "heartbeat-echo", Run: heartbeatEcho},
		{Name: "push", Run: push},
		{Name: "in-flight-100", Run: inFlight},
		{Name: "side-by-side", Run: sideBySide},
		{Name: "out-of-order", Run: outOfOrder},
		{Name: "connect-handshake", Run: func() error { return other("http") }},
		{Name: "websocket", Run: func() error { return other("ws") }},
	}
}

func authCases() []stand.Case {
	return []stand.Case{
		{Name: "auth-good", Run: authGood, Auth: true},
		{Name: "auth-refused", Run: authRefused, Auth: true},
		{Name: "auth-heartbeat", Run: authHeartbeat, Auth: true},
		{Name: "auth-http", Run: authHTTP, Auth: true},
		{Name: "auth-jsonrpc", Run: authJSONRPC, Auth: true},
		{Name: "auth-plain", Run: authPlain, Auth: true, Go: noPlain},
	}
}

func stats() (s msg.Stats, err error) {
	err = with(protocol.JSON, func(c *client.Client) error { return call(c, "Slow", "Stats", &msg.Empty{}, &s) })
	return
}

// oneWay proves that the work is done (by Slow.Stats) and that nothing comes back: every answer that is not to a call
// of ours would show as a frame too many.
func oneWay() error {
	before, err := stats()
	if err != nil {
		return err
	}
	return with(protocol.JSON, func(c *client.Client) error {
		answers := &counter{}
		p := client.NewPluginContainer()
		p.Add(answers)
		c.Plugins = p
		for _, to := range [][2]string{{"Slow", "Sleep"}, {"Fault", "Fail"}, {"Fault", "Panic"}, {"Nope", "Nope"}, {"Arith", "Nope"}} {
			if k := <-c.Go(bg, to[0], to[1], &msg.Millis{Millis: 1}, nil, make(chan *client.Call, 1)).Done; k.Error != nil {
				return fmt.Errorf("%s: %w", to, k.Error)
			}
		}
		err := stand.Poll(3*time.Second, "the one-way sleep was done", func() (bool, error) {
			now, err := stats()
			return now.Completed > before.Completed, err
		})
		if err := stand.First(err, works(c)); err != nil {
			return err
		}
		if answers.n != 1 {
			return fmt.Errorf("%d frames came for one call and five one-way requests", answers.n)
		}
		return nil
	})
}

// counter counts what comes in; read it only after an answer that came later.
type counter struct{ n int }

func (a *counter) ClientAfterDecode(*protocol.Message) error {
	a.n++
	return nil
}

// heartbeat lets the client send its own while a call is under way; it closes the connection where one fails.
func heartbeat() error {
	return with(protocol.JSON, func(c *client.Client) error {
		r := &msg.Slept{}
		if err := call(c, "Slow", "Sleep", &msg.Millis{Millis: 500}, r); err != nil {
			return err
		}
		if c.IsShutdown() || c.IsClosing() {
			return errors.New("the client gave the connection up")
		}
		return works(c)
	}, func(o *client.Option) {
		o.Heartbeat, o.HeartbeatInterval, o.MaxWaitForHeartbeat = true, 20*time.Millisecond, time.Second
	})
}

// heartbeatEcho checks the content: the whole frame comes back as a response.
func heartbeatEcho() error {
	return with(protocol.JSON, func(c *client.Client) error {
		for i := 0; i < 20; i++ {
			sent, got := time.Now().UnixNano(), int64(0)
			if err := call(c, "", "", &sent, &got); err != nil || got != sent {
				return fmt.Errorf("%d came back as %d (%v)", sent, got, err)
			}
		}
		m := protocol.NewMessage()
		m.SetSeq(1 << 41)
		m.SetHeartbeat(true)
		m.ServicePath, m.ServiceMethod, m.Payload, m.Metadata = "a path", "a method", []byte("a payload"), meta{"k": "v"}
		res, payload, err := c.SendRaw(bg, m)
		if err != nil || string(payload) != "a payload" || res["k"] != "v" {
			return fmt.Errorf("heartbeat came back with %q and %v (%v)", payload, res, err)
		}
		return works(c)
	})
}

func push() error {
	return with(protocol.JSON, func(c *client.Client) error {
		const count = 200
		in := make(chan *protocol.Message, count)
		c.RegisterServerMessageChan(in)
		defer c.UnregisterServerMessageChan()
		r := &msg.Started{}
		if err := call(c, "Push", "Start", &msg.Count{Count: count}, r); err != nil || r.Started != count {
			return fmt.Errorf("started %d (%v)", r.Started, err)
		}
		for i := 1; i <= count; i++ {
			select {
			case m := <-in:
				var b struct{ N int }
				if m.ServicePath != "Push" || m.ServiceMethod != "Tick" {
					return fmt.Errorf("push %d goes to %s.%s (%v)", i, m.ServicePath, m.ServiceMethod, m.Metadata)
				}
				if err := json.Unmarshal(m.Payload, &b); err != nil || b.N != i || string(m.Payload) != fmt.Sprintf(`{"N":%d}`, i) {
					return fmt.Errorf("push %d has the body %q (%v)", i, m.Payload, err)
				}
			case <-time.After(5 * time.Second):
				return fmt.Errorf("push %d of %d did not come", i, count)
			}
		}
		if err := works(c); err != nil {
			return err
		}
		if len(in) > 0 {
			return fmt.Errorf("%d pushes too many", len(in))
		}
		return nil
	}, func(o *client.Option) { o.BidirectionalBlock = true })
}

func inFlight() error {
	return with(protocol.MsgPack, func(c *client.Client) error {
		r := flags.Rand("in-flight")
		for round := 0; round < 5; round++ {
			done := make(chan *client.Call, 100)
			for i := 0; i < 100; i++ {
				a := msg.Args(stand.GenArgs(r))
				c.Go(bg, "Arith", "Mul", &a, &msg.Reply{}, done)
			}
			for i := 0; i < 100; i++ {
				select {
				case k := <-done:
					a, got := k.Args.(*msg.Args), k.Reply.(*msg.Reply)
					if k.Error != nil || got.C != a.A*a.B {
						return fmt.Errorf("%v = %d (%v)", *a, got.C, k.Error)
					}
				case <-time.After(5 * time.Second):
					return fmt.Errorf("%d of 100 answers came", i)
				}
			}
		}
		return nil
	})
}

// sideBySide: 100 sleeps of 200 ms on one connection take far less than 20 s.
func sideBySide() error {
	return with(protocol.MsgPack, func(c *client.Client) error {
		begin, done := time.Now(), make(chan *client.Call, 100)
		for i := 0; i < 100; i++ {
			c.Go(bg, "Slow", "Sleep", &msg.Millis{Millis: 200}, &msg.Slept{}, done)
		}
		for i := 0; i < 100; i++ {
			if k := <-done; k.Error != nil {
				return k.Error
			}
		}
		if took := time.Since(begin); took > 5*time.Second {
			return fmt.Errorf("100 sleeps of 200 ms took %v", took)
		}
		return nil
	})
}

func outOfOrder() error {
	return with(protocol.JSON, func(c *client.Client) error {
		done := make(chan *client.Call, 2)
		slow := c.Go(bg, "Slow", "Sleep", &msg.Millis{Millis: 400}, &msg.Slept{}, done)
		err := stand.Poll(3*time.Second, "the slow call runs", func() (bool, error) {
			s, err := stats()
			return s.Running > 0, err
		})
		if err != nil {
			return err
		}
		c.Go(bg, "Arith", "Mul", &msg.Args{A: 6, B: 7}, &msg.Reply{}, done)
		first, second := <-done, <-done
		if first == slow || second != slow || first.Error != nil || second.Error != nil {
			return fmt.Errorf("answers in the order of the calls, or failed: %v, %v", first.Error, second.Error)
		}
		return nil
	})
}

// other runs a few calls, large ones among them, over another network of rpcx.
func other(network string) error {
	c, err := dial(network, protocol.JSON)
	if err != nil {
		return err
	}
	defer c.Close()
	for _, n := range []int{10, 1024, 65536} {
		t, ok, err := fit(protocol.JSON, n)
		if err != nil || !ok {
			return fmt.Errorf("no message of %d bytes (%v)", n, err)
		}
		if err := typedEcho(c, "Echo", t, n); err != nil {
			return err
		}
	}
	done := make(chan *client.Call, 50)
	for i := int64(0); i < 50; i++ {
		c.Go(bg, "Arith", "Mul", &msg.Args{A: i, B: i}, &msg.Reply{}, done)
	}
	for i := 0; i < 50; i++ {
		if k := <-done; k.Error != nil || k.Reply.(*msg.Reply).C != k.Args.(*msg.Args).A*k.Args.(*msg.Args).A {
			return fmt.Errorf("%v: %v (%v)", k.Args, k.Reply, k.Error)
		}
	}
	return stand.First(fails(call(c, "Fault", "Fail", &msg.Message{Message: "größer"}, &msg.Empty{}), "größer"), works(c))
}

func authGood() error {
	return with(protocol.JSON, func(c *client.Client) error {
		for i := int64(0); i < 3; i++ {
			r := &msg.Reply{}
			if err := callMeta(c, meta{share.AuthKey: flags.Token}, nil, "Arith", "Mul", &msg.Args{A: i, B: 7}, r); err != nil || r.C != i*7 {
				return fmt.Errorf("%d (%v)", r.C, err)
			}
		}
		return nil
	})
}

// authRefused: an error answer, then the connection is closed.
func authRefused() error {
	for _, m := range []meta{{share.AuthKey: "not " + flags.Token}, {}, {share.AuthKey: ""}} {
		err := with(protocol.JSON, func(c *client.Client) error {
			var s client.ServiceError
			if err := callMeta(c, m, nil, "Arith", "Mul", &msg.Args{A: 6, B: 7}, &msg.Reply{}); !errors.As(err, &s) {
				return fmt.Errorf("token %q: %v", m, err)
			}
			return stand.Poll(3*time.Second, "the connection is closed", func() (bool, error) { return c.IsShutdown(), nil })
		})
		if err != nil {
			return err
		}
	}
	return authGood()
}

// authHeartbeat: heartbeats are answered before any token.
func authHeartbeat() error {
	return with(protocol.JSON, func(c *client.Client) error {
		sent, got := int64(12345), int64(0)
		if err := call(c, "", "", &sent, &got); err != nil || got != sent {
			return fmt.Errorf("%d came back as %d (%v)", sent, got, err)
		}
		return nil
	})
}
