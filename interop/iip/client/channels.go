package main

// Channels: many, new and deleted ones, order within one, independence of the others, late answers.

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand"
	"strings"
	"sync"
	"time"

	"github.com/truexf/iip"

	"trunkline.test/interop/stand"
)

// mostChannels is what our server grants to a connection.
const mostChannels = 4096

func channelCases() []stand.Case {
	return []stand.Case{
		{Name: "iip-channels", Run: func() error { return manyChannels(config(), 20) }},
		{Name: "iip-connections", Run: func() error {
			c := config()
			c.MaxChannelsPerConn = 2
			return manyChannels(c, 9)
		}},
		{Name: "iip-delete-channel", Run: deleteChannel, Go: &stand.Difference{ID: "I6", Why: "/sys/delete_channel is not answered, and the connection closes"}},
		{Name: "iip-channel-limit", Run: channelLimit, Go: &stand.Difference{ID: "I10", Why: "the limit of channels is not enforced"}},
		{Name: "iip-order-1000", Run: func() error { return inOrder(1000, func(int) int64 { return 0 }) }},
		{Name: "iip-order-slow", Run: func() error {
			r := flags.Rand("order")
			return inOrder(500, func(int) int64 { return r.Int63n(8) })
		}},
		{Name: "iip-side-by-side", Run: func() error {
			begun := time.Now()
			if err := inOrder(100, func(int) int64 { return 100 }); err != nil {
				return err
			}
			if took := time.Since(begun); took > 4*time.Second {
				return fmt.Errorf("100 sleeps of 100 ms took %v", took)
			}
			return nil
		}, Go: &stand.Difference{ID: "iip-serial", Why: "the requests of a channel run one after the other"}},
		{Name: "iip-slow-channel", Run: slowChannel, Go: &stand.Difference{ID: "I12", Why: "a slow channel's full queue stops the whole connection"}},
		{Name: "iip-mixed", Run: mixed},
		{Name: "iip-late-answer", Run: lateAnswer},
		{Name: "iip-caller-gone", Run: callerGone, Go: &stand.Difference{ID: "iip-caller-gone", Why: "a handler does not end when its caller goes"}},
	}
}

// manyChannels: 50 calls on each of some channels, all channels side by side.
func manyChannels(conf iip.ClientConfig, count int) error {
	return withConfig(conf, func(client *iip.Client) error {
		var all sync.WaitGroup
		failed := make(chan error, count)
		for n := 0; n < count; n++ {
			c, err := client.NewChannel()
			if err != nil {
				return fmt.Errorf("channel %d: %w", n, err)
			}
			all.Add(1)
			go func() {
				defer all.Done()
				for i := 0; i < 50; i++ {
					if err := wants(c, "/echo", fmt.Sprintf("%d of %d", i, n), fmt.Sprintf("%d of %d", i, n)); err != nil {
						failed <- err
						return
					}
				}
			}()
		}
		all.Wait()
		close(failed)
		return <-failed
	})
}

// deleteChannel: the answer comes, the channel is gone at both ends, its number is granted again, and another one
// goes on.
func deleteChannel() error {
	return with(func(client *iip.Client) error {
		other, err := client.NewChannel()
		if err != nil {
			return err
		}
		for i := 0; i < 5; i++ {
			c, err := client.NewChannel()
			if err != nil {
				return err
			}
			if err := stand.First(works(c), wants(c, iip.PathDeleteChannel, "{}", `{"code":0}`)); err != nil {
				return err
			}
			if _, err := c.DoRequest("/echo", iip.NewDefaultRequest(nil), time.Second); err == nil {
				return errors.New("a deleted channel answers")
			}
			if err := works(other); err != nil {
				return err
			}
		}
		return nil
	})
}

// channelLimit: 4,096 channels are granted, one more is refused, and all go on.
func channelLimit() error {
	conf := config()
	conf.MaxChannelsPerConn = mostChannels + 10
	conf.MaxConnections = 1
	return withConfig(conf, func(client *iip.Client) error {
		channels := make([]*iip.ClientChannel, mostChannels)
		var err error
		for n := range channels {
			if channels[n], err = client.NewChannel(); err != nil {
				return fmt.Errorf("channel %d: %w", n+1, err)
			}
		}
		for i := 0; i < 3; i++ {
			if _, err := client.NewChannel(); err == nil || !strings.Contains(err.Error(), "channel create limited") {
				return fmt.Errorf("channel %d: %v", mostChannels+1, err)
			}
		}
		for n := 0; n < mostChannels; n += 500 {
			if err := works(channels[n]); err != nil {
				return err
			}
		}
		return works(channels[mostChannels-1])
	})
}

// collector takes the answers of requests that nobody waits for.
type collector struct {
	answers chan answered
}

type answered struct {
	request iip.Request
	data    []byte
	whole   bool
}

func (m *collector) Handle(_ string, request iip.Request, data []byte, whole bool) error {
	m.answers <- answered{request, bytes.Clone(data), whole}
	return nil
}

func (m *collector) next() (answered, error) {
	select {
	case a := <-m.answers:
		return a, nil
	case <-time.After(limit):
		return answered{}, errors.New("no answer any more")
	}
}

// collect has the answers of these paths collected.
func collect(client *iip.Client, paths ...string) *collector {
	m := &collector{make(chan answered, 10_000)}
	for _, path := range paths {
		client.RegisterHandler(path, m)
	}
	return m
}

// inOrder has count requests outstanding on one channel: the answers come in the order of the requests, each to its
// own.
func inOrder(count int, millis func(int) int64) error {
	return with(func(client *iip.Client) error {
		got := collect(client, "/echo", "/Slow/Sleep")
		c, err := client.NewChannel()
		if err != nil {
			return err
		}
		requests, want := make([]iip.Request, count), make([]string, count)
		for i := range requests {
			path, body := "/echo", fmt.Sprintf("request %d", i)
			want[i] = body
			if ms := millis(i); ms > 0 {
				path, body, want[i] = "/Slow/Sleep", fmt.Sprintf(`{"Millis":%d}`, ms), fmt.Sprintf(`{"Slept":%d}`, ms)
			}
			requests[i] = iip.NewDefaultRequest([]byte(body))
			if err := c.DoStreamRequest(path, requests[i]); err != nil {
				return fmt.Errorf("request %d: %w", i, err)
			}
		}
		for i := range requests {
			a, err := got.next()
			if err != nil {
				return fmt.Errorf("answer %d: %w", i, err)
			}
			if a.request != requests[i] || !a.whole {
				return fmt.Errorf("answer %d is another request's: %q", i, short(string(a.data)))
			}
			if err := same(fmt.Sprintf("answer %d", i), string(a.data), want[i]); err != nil {
				return err
			}
		}
		return works(c)
	})
}

// slowChannel: 300 requests that sleep on one channel do not hold back another one of the connection.
func slowChannel() error {
	return with(func(client *iip.Client) error {
		collect(client, "/Slow/Sleep")
		slow, err := client.NewChannel()
		if err != nil {
			return err
		}
		quick, err := client.NewChannel()
		if err != nil {
			return err
		}
		for i := 0; i < 300; i++ {
			if err := slow.DoStreamRequest("/Slow/Sleep", iip.NewDefaultRequest([]byte(`{"Millis":2000}`))); err != nil {
				return err
			}
		}
		_, err = quick.DoRequest("/echo", iip.NewDefaultRequest(nil), time.Second)
		return err
	})
}

// mixed: 40 callers on 20 channels of several connections make 100 calls of all kinds each, some of which time out.
func mixed() error {
	conf := config()
	conf.MaxChannelsPerConn = 7
	return withConfig(conf, func(client *iip.Client) error {
		channels := make([]*iip.ClientChannel, 20)
		for n := range channels {
			var err error
			if channels[n], err = client.NewChannel(); err != nil {
				return err
			}
		}
		var all sync.WaitGroup
		failed := make(chan error, 40)
		for caller := 0; caller < 40; caller++ {
			r := flags.Rand(fmt.Sprint("mixed", caller))
			c := channels[caller%len(channels)]
			all.Add(1)
			go func() {
				defer all.Done()
				for i := 0; i < 100; i++ {
					if err := anyCall(c, r, fmt.Sprintf("call %d of caller %d", i, caller)); err != nil {
						failed <- fmt.Errorf("call %d of caller %d: %w", i, caller, err)
						return
					}
				}
			}()
		}
		all.Wait()
		close(failed)
		return <-failed
	})
}

func anyCall(c *iip.ClientChannel, r *rand.Rand, mark string) error {
	switch r.Intn(7) {
	case 0:
		body := mark + strings.Repeat("x", r.Intn(100_000))
		return wants(c, "/Echo/Owned", body, body)
	case 1:
		n := 1 + r.Int63n(5)
		return wants(c, "/Slow/Sleep", fmt.Sprintf(`{"Millis":%d}`, n), fmt.Sprintf(`{"Slept":%d}`, n))
	case 2:
		return fails(c, "/Fault/Fail", fmt.Sprintf(`{"Message":%q}`, mark), -1, "handler fail:"+mark)
	case 3:
		return fails(c, "/"+strings.ReplaceAll(mark, " ", "-"), mark, 102, "handle error")
	case 4:
		// It may be answered within its time.
		_, err := c.DoRequest("/Slow/Sleep", iip.NewDefaultRequest([]byte(`{"Millis":3}`)), 2*time.Millisecond)
		if err != nil && !errors.Is(err, iip.ErrRequestTimeout) {
			return err
		}
		return nil
	case 5:
		a, b := r.Int63n(1<<30), r.Int63n(1<<30)
		return wants(c, "/Arith/Mul", fmt.Sprintf(`{"A":%d,"B":%d}`, a, b), fmt.Sprintf(`{"C":%d}`, a*b))
	}
	return wants(c, "/echo?"+strings.ReplaceAll(mark, " ", "+"), mark, mark)
}

// lateAnswer: the answer of a request that timed out goes to that request, and the next ones get their own.
func lateAnswer() error {
	return with(func(client *iip.Client) error {
		got := collect(client, "/Slow/Sleep", "/echo")
		c, err := client.NewChannel()
		if err != nil {
			return err
		}
		var requests []iip.Request
		for i := 0; i < 5; i++ {
			slow := iip.NewDefaultRequest([]byte(fmt.Sprintf(`{"Millis":%d}`, 150+i)))
			requests = append(requests, slow)
			if _, err := c.DoRequest("/Slow/Sleep", slow, 20*time.Millisecond); !errors.Is(err, iip.ErrRequestTimeout) {
				return fmt.Errorf("a sleep of 150 ms within 20 ms: %v", err)
			}
			next := iip.NewDefaultRequest([]byte(fmt.Sprintf("next %d", i)))
			requests = append(requests, next)
			data, err := c.DoRequest("/echo", next, limit)
			if err := stand.First(err, same("the next request", string(data), fmt.Sprintf("next %d", i))); err != nil {
				return err
			}
		}
		for i, request := range requests {
			want := fmt.Sprintf("next %d", i/2)
			if i%2 == 0 {
				want = fmt.Sprintf(`{"Slept":%d}`, 150+i/2)
			}
			a, err := got.next()
			if err == nil && a.request != request {
				err = fmt.Errorf("answer %d is another request's", i)
			}
			if err := stand.First(err, same(fmt.Sprintf("answer %d", i), string(a.data), want)); err != nil {
				return err
			}
		}
		return works(c)
	})
}

// callerGone: a closed connection ends the server's work.
func callerGone() error {
	before, err := stats()
	if err != nil {
		return err
	}
	err = withRaw(func(c *raw) error {
		if err := c.Send(iip.StatusC1, "/Slow/Sleep", 0, `{"Millis":4000}`); err != nil {
			return err
		}
		return stand.Poll(limit, "the sleep runs", func() (bool, error) {
			now, err := stats()
			return now.Running > before.Running, err
		})
	})
	if err != nil {
		return err
	}
	return stand.Poll(3*time.Second, "the sleep was cancelled", func() (bool, error) {
		now, err := stats()
		return now.Cancelled > before.Cancelled, err
	})
}
