package main

// Messages of several frames, both ways, and frames that the module's client does not send.

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/truexf/iip"

	"trunkline.test/interop/iip/wire"
	"trunkline.test/interop/stand"
)

var oneFrame = &stand.Difference{ID: "iip-one-frame", Why: "Go's server answers in one frame"}

// raw is a connection whose frames are sent one by one.
type raw struct{ *wire.Conn }

func withRaw(check func(*raw) error) error {
	c, err := wire.Dial(flags.Addr)
	if err != nil {
		return err
	}
	defer c.Close()
	return check(&raw{c})
}

// next wants a frame.
func (c *raw) next(status byte, path string, channel uint32, data string) error {
	p, err := c.Next(limit)
	if err != nil {
		return fmt.Errorf("no frame: %w", err)
	}
	if p.Status != status || p.Path != path || p.ChannelId != channel || string(p.Data) != data {
		return fmt.Errorf("status %d, %q, channel %d, %q, expected %d, %q, %d, %q", p.Status, short(p.Path), p.ChannelId,
			short(string(p.Data)), status, short(path), channel, short(data))
	}
	return nil
}

func (c *raw) asks(path string, channel uint32, data, want string) error {
	if err := c.Send(iip.StatusC1, path, channel, data); err != nil {
		return err
	}
	bare, _, _ := strings.Cut(path, "?")
	return c.next(iip.StatusS5, bare, channel, want)
}

func (c *raw) grant(id uint32) error {
	return c.asks(iip.PathNewChannel, 0, "{}", fmt.Sprintf(`{"code":0,"channel_id":%d}`, id))
}

// closed wants the end of the connection and nothing before it.
func (c *raw) closed() error {
	got, err := c.Raw(3 * time.Second)
	var timeout net.Error
	if len(got) > 0 || err == nil || errors.As(err, &timeout) && timeout.Timeout() {
		return fmt.Errorf("not closed: %q (%v)", short(string(got)), err)
	}
	return nil
}

func streamCases() []stand.Case {
	return []stand.Case{
		{Name: "iip-answer-in-frames", Run: answerInFrames, Go: oneFrame},
		{Name: "iip-100000-frames", Run: func() error {
			return on(func(c *iip.ClientChannel) error {
				got, err := ask(c, "/count?n=100000", "{}")
				if err != nil {
					return err
				}
				if len(got) != 488_895 || !strings.HasPrefix(got, "12345678910") || !strings.HasSuffix(got, "99999100000") {
					return fmt.Errorf("%d bytes: %q", len(got), short(got))
				}
				return works(c)
			})
		}, Go: oneFrame},
		{Name: "iip-count-limits", Run: func() error {
			return on(func(c *iip.ClientChannel) error {
				for _, query := range []string{"?n=0", "?n=100001", "?n=x", "?n=", "", "?m=5"} {
					if err := fails(c, "/count"+query, "{}", -1, "handler fail:…"); err != nil {
						return err
					}
				}
				return works(c)
			})
		}, Go: oneFrame},
		{Name: "iip-frames-beside-calls", Run: framesBesideCalls, Go: oneFrame},
		{Name: "iip-streamed-upper", Run: streamedUpper, Go: oneFrame},
		{Name: "iip-upper", Run: func() error {
			return on(func(c *iip.ClientChannel) error { return wants(c, "/upper", "larger 1", "LARGER 1") })
		}},
		{Name: "iip-request-in-frames", Run: requestInFrames},
		{Name: "iip-one-answer", Run: oneAnswer, Go: &stand.Difference{ID: "I17", Why: "an unknown path is answered at each frame"}},
		{Name: "iip-encoded-zero", Run: encodedZero, Go: &stand.Difference{ID: "I3", Why: "the decoded path of an answer ends at a zero byte, and what follows is taken for frames"}},
		{Name: "iip-stalled-reader", Run: stalledReader, Go: &stand.Difference{ID: "I2", Why: "an answer that waits for a second for its place in the queue is lost, and the order shifts"}},
		{Name: "iip-broken-frames", Run: brokenFrames},
		{Name: "iip-close", Run: func() error {
			return withRaw(func(c *raw) error {
				if err := c.asks("/echo", 0, "before", "before"); err != nil {
					return err
				}
				if _, err := c.Write([]byte{iip.Status8}); err != nil {
					return err
				}
				return c.closed()
			})
		}},
	}
}

// answerInFrames: the client's handler is called at each frame with the data so far.
func answerInFrames() error {
	return with(func(client *iip.Client) error {
		got := collect(client, "/count")
		c, err := client.NewChannel()
		if err != nil {
			return err
		}
		for _, n := range []int{1, 2, 5, 1000} {
			request := iip.NewDefaultRequest(nil)
			if err := c.DoStreamRequest(fmt.Sprintf("/count?n=%d", n), request); err != nil {
				return err
			}
			so := ""
			for i := 1; i <= n; i++ {
				so += strconv.Itoa(i)
				a, err := got.next()
				if err == nil && (a.request != request || a.whole != (i == n)) {
					err = fmt.Errorf("frame %d of %d: whole %v", i, n, a.whole)
				}
				if err := stand.First(err, same(fmt.Sprintf("frame %d of %d", i, n), string(a.data), so)); err != nil {
					return err
				}
			}
		}
		return works(c)
	})
}

// framesBesideCalls: on the wire the statuses of an answer of many frames are right, and those of other channels come
// in between.
func framesBesideCalls() error {
	return withRaw(func(c *raw) error {
		err := stand.First(c.grant(1), c.grant(2),
			c.Send(iip.StatusC1, "/count?n=300", 1, "{}"), c.Send(iip.StatusC1, "/echo", 1, "after"), c.Send(iip.StatusC1, "/echo", 2, "beside"))
		if err != nil {
			return err
		}
		for i, beside := 1, false; i <= 301 || !beside; {
			p, err := c.Next(limit)
			if err != nil {
				return err
			}
			status, path, want := byte(iip.StatusS6), "/count", strconv.Itoa(i)
			switch {
			case p.ChannelId == 2:
				status, path, want, beside = iip.StatusS5, "/echo", "beside", true
			case i == 1:
				status = iip.StatusS4
			case i == 300:
				status = iip.StatusS7
			case i == 301:
				status, path, want = iip.StatusS5, "/echo", "after"
			}
			if p.Status != status || p.Path != path || string(p.Data) != want {
				return fmt.Errorf("frame %d: status %d, %q, %q, expected %d, %q, %q", i, p.Status, p.Path, short(string(p.Data)), status, path, want)
			}
			if p.ChannelId == 1 {
				i++
			}
		}
		return nil
	})
}

// streamedUpper: each frame of the request is answered before the next one is sent.
func streamedUpper() error {
	return withRaw(func(c *raw) error {
		if err := stand.First(c.grant(1), c.asks("/upper", 1, "one frame", "ONE FRAME")); err != nil {
			return err
		}
		for round := 0; round < 3; round++ {
			for i := 0; i < 100; i++ {
				in, out := byte(iip.StatusC2), byte(iip.StatusS6)
				switch i {
				case 0:
					in, out = iip.StatusC0, iip.StatusS4
				case 99:
					in, out = iip.StatusC3, iip.StatusS7
				}
				err := c.Send(in, "/upper", 1, fmt.Sprintf("frame %d", i))
				if err == nil {
					err = c.next(out, "/upper", 1, fmt.Sprintf("FRAME %d", i))
				}
				if err != nil {
					return fmt.Errorf("frame %d: %w", i, err)
				}
			}
		}
		return c.asks("/echo", 1, "after", "after")
	})
}

// requestInFrames: what takes a whole request gets it joined; other channels' frames may stand between.
func requestInFrames() error {
	return withRaw(func(c *raw) error {
		return stand.First(c.grant(1), c.grant(2),
			c.Send(iip.StatusC0, "/Arith/Mul", 1, `{"A":`),
			c.Send(iip.StatusC0, "/Arith/Mul", 2, `{"A":5`), c.asks("/echo", 0, "between", "between"),
			c.Send(iip.StatusC2, "/Arith/Mul", 1, `6,"B"`), c.Send(iip.StatusC3, "/Arith/Mul", 2, `,"B":8}`),
			c.next(iip.StatusS5, "/Arith/Mul", 2, `{"C":40}`),
			c.Send(iip.StatusC3, "/Arith/Mul", 1, `:7}`), c.next(iip.StatusS5, "/Arith/Mul", 1, `{"C":42}`))
	})
}

// oneAnswer: a request of three frames to a path that is not there has one answer.
func oneAnswer() error {
	return withRaw(func(c *raw) error {
		const failed = `{"code":102,"message":"handle error"}`
		return stand.First(c.grant(1),
			c.Send(iip.StatusC0, "/nope", 1, "a"), c.Send(iip.StatusC2, "/nope", 1, "b"), c.Send(iip.StatusC3, "/nope", 1, "c"),
			c.next(iip.StatusS5, "/nope", 1, failed), c.asks("/echo", 1, "after", "after"))
	})
}

// stalledReader: a caller that reads nothing for 2.5 s while answers pile up gets all of them after that, in order.
func stalledReader() error {
	const count = 4000
	return withRaw(func(c *raw) error {
		if err := c.grant(1); err != nil {
			return err
		}
		body := func(n int) string { return fmt.Sprintf("%d %s", n, strings.Repeat("x", 8192)) }
		sent := make(chan error, 1)
		go func() {
			for n := 0; n < count; n++ {
				if err := c.Send(iip.StatusC1, "/echo", 1, body(n)); err != nil {
					sent <- err
					return
				}
			}
			sent <- nil
		}()
		time.Sleep(2500 * time.Millisecond)
		for n := 0; n < count; n++ {
			if err := c.next(iip.StatusS5, "/echo", 1, body(n)); err != nil {
				return fmt.Errorf("answer %d: %w", n, err)
			}
		}
		return <-sent
	})
}

// encodedZero: what a path encodes does not become frames of the answer.
func encodedZero() error {
	return withRaw(func(c *raw) error {
		path := "/x%00%00%00%00%01%00%00%00%05HELLO%05/y"
		if err := c.Send(iip.StatusC1, path, 0, "{}"); err != nil {
			return err
		}
		p, err := c.Next(limit)
		if err != nil {
			return err
		}
		return stand.First(isFailure(p.Path, string(p.Data), 102, "handle error"), c.asks("/echo", 0, "after", "after"))
	})
}

// brokenFrames: each closes its connection.
func brokenFrames() error {
	for name, frame := range map[string]string{
		"a later frame first":      "\x02/echo\x00\x00\x00\x00\x00\x00\x00\x00\x01x",
		"a last frame first":       "\x03/echo\x00\x00\x00\x00\x00\x00\x00\x00\x01x",
		"two first frames":         "\x00/echo\x00\x00\x00\x00\x00\x00\x00\x00\x01x\x00/echo\x00\x00\x00\x00\x00\x00\x00\x00\x01x",
		"an answer":                "\x05/echo\x00\x00\x00\x00\x00\x00\x00\x00\x01x",
		"a channel not granted":    "\x01/echo\x00\x00\x00\x00\x09\x00\x00\x00\x01x",
		"no data":                  "\x01/echo\x00\x00\x00\x00\x00\x00\x00\x00\x00",
		"data of more than 16 MiB": "\x01/echo\x00\x00\x00\x00\x00\x01\x00\x00\x01x",
		"an unknown status":        "\x09/echo\x00\x00\x00\x00\x00\x00\x00\x00\x01x",
	} {
		err := withRaw(func(c *raw) error {
			// First what makes the connection one of IIP.
			if err := c.asks("/Arith/Mul", 0, `{"A":6,"B":7}`, `{"C":42}`); err != nil {
				return err
			}
			if _, err := c.Write([]byte(frame)); err != nil {
				return err
			}
			return c.closed()
		})
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return on(works)
}
