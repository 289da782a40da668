package main

// Deadlines, and callers that go away.

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/smallnest/rpcx/client"
	"github.com/smallnest/rpcx/protocol"
	"github.com/smallnest/rpcx/share"

	"trunkline.test/interop/rpcx/msg"
	"trunkline.test/interop/stand"
)

func deadlineCases() []stand.Case {
	return []stand.Case{
		{Name: "deadline-xclient", Run: deadlineX},
		{Name: "deadline-met", Run: deadlineMet},
		{Name: "deadline-metadata", Run: deadlineMetadata},
		{Name: "deadline-client-only", Run: deadlineClient},
		{Name: "caller-gone", Run: callerGone, Go: &stand.Difference{ID: "rpcx-caller-gone", Why: "Go's server ends a handler only by the deadline"}},
	}
}

// cancelledBy runs what makes the server give a sleep up, and waits until Slow.Stats says so.
func cancelledBy(do func() error) error {
	before, err := stats()
	if err != nil {
		return err
	}
	if err := do(); err != nil {
		return err
	}
	return stand.Poll(3*time.Second, "Slow.Stats counts one more cancelled", func() (bool, error) {
		now, err := stats()
		return now.Cancelled > before.Cancelled, err
	})
}

// deadlineX: XClient sends __ServerTimeout, so both sides give up.
func deadlineX() error {
	x, err := xdial("Slow", protocol.JSON)
	if err != nil {
		return err
	}
	defer x.Close()
	return cancelledBy(func() error {
		ctx, cancel := context.WithTimeout(bg, 150*time.Millisecond)
		defer cancel()
		begin := time.Now()
		if err := x.Call(ctx, "Sleep", &msg.Millis{Millis: 8000}, &msg.Slept{}); err == nil || time.Since(begin) > 3*time.Second {
			return fmt.Errorf("after %v: %v", time.Since(begin), err)
		}
		return nil
	})
}

func deadlineMet() error {
	x, err := xdial("Slow", protocol.JSON)
	if err != nil {
		return err
	}
	defer x.Close()
	ctx, cancel := context.WithTimeout(bg, 8*time.Second)
	defer cancel()
	r := &msg.Slept{}
	if err := x.Call(ctx, "Sleep", &msg.Millis{Millis: 30}, r); err != nil || r.Slept < 30 {
		return fmt.Errorf("%v (%v)", r, err)
	}
	return nil
}

// deadlineMetadata: the caller waits on, the server must answer with an error at the deadline.
func deadlineMetadata() error {
	return cancelledBy(func() error {
		return with(protocol.JSON, func(c *client.Client) error {
			begin := time.Now()
			err := callMeta(c, meta{share.ServerTimeout: "100"}, nil, "Slow", "Sleep", &msg.Millis{Millis: 8000}, &msg.Slept{})
			var s client.ServiceError
			if took := time.Since(begin); !errors.As(err, &s) || took < 50*time.Millisecond || took > 3*time.Second {
				return fmt.Errorf("after %v: %v", took, err)
			}
			return works(c)
		})
	})
}

// deadlineClient: the plain Client tells the server nothing; its late answer must disturb nobody.
func deadlineClient() error {
	return with(protocol.JSON, func(c *client.Client) error {
		ctx, cancel := context.WithTimeout(bg, 100*time.Millisecond)
		defer cancel()
		if err := c.Call(ctx, "Slow", "Sleep", &msg.Millis{Millis: 300}, &msg.Slept{}); !errors.Is(err, context.DeadlineExceeded) {
			return fmt.Errorf("error %v", err)
		}
		r := &msg.Slept{}
		return stand.First(works(c), call(c, "Slow", "Sleep", &msg.Millis{Millis: 400}, r), works(c))
	})
}

// callerGone: the connection is closed while the server works.
func callerGone() error {
	return cancelledBy(func() error {
		return with(protocol.JSON, func(c *client.Client) error {
			c.Go(bg, "Slow", "Sleep", &msg.Millis{Millis: 8000}, &msg.Slept{}, make(chan *client.Call, 1))
			return stand.Poll(3*time.Second, "the call runs", func() (bool, error) {
				s, err := stats()
				return s.Running > 0, err
			})
		})
	})
}
