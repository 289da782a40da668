// The Go net/rpc client of the interop suite, and a zrpc broker: named cases against a server with the sample services.
//
//	client -addr HOST:PORT [-own-addr HOST:PORT] [-connect-addr HOST:PORT] [-zrpc-addr HOST:PORT] [-case NAME]
//	       [-seed N] [-n 200] [-body-limit 4194304] [-peer trunkline|go] [-long]
//
// -own-addr is a server with the service Types, where that is another one. One line for each case: `ok NAME`,
// `FAIL NAME: why` or `expected NAME: ID why`; code 1 if any failed.
package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/rpc"
	"os"
	"reflect"
	"strings"
	"sync"
	"time"

	"trunkline.test/interop/netrpc/values"
	"trunkline.test/interop/stand"
)

// limit bounds what has to happen soon.
const limit = 10 * time.Second

var (
	flags    *stand.Flags
	ownAddr  string
	zrpcAddr string
)

// both runs a check over TCP and after CONNECT.
func both(check func(*rpc.Client) error) error {
	return stand.First(with(check), over(check))
}

func with(check func(*rpc.Client) error) error { return at(flags.Addr, check) }

func at(addr string, check func(*rpc.Client) error) error {
	c, err := rpc.Dial("tcp", addr)
	if err != nil {
		return err
	}
	defer c.Close()
	return check(c)
}

func over(check func(*rpc.Client) error) error {
	c, err := rpc.DialHTTP("tcp", flags.Connect)
	if err != nil {
		return fmt.Errorf("CONNECT: %w", err)
	}
	defer c.Close()
	if err := check(c); err != nil {
		return fmt.Errorf("after CONNECT: %w", err)
	}
	return nil
}

// call is bounded in time: net/rpc itself waits for ever.
func call(c *rpc.Client, method string, args, reply any) error {
	done := c.Go(method, args, reply, make(chan *rpc.Call, 1)).Done
	select {
	case ended := <-done:
		return ended.Error
	case <-time.After(limit):
		return fmt.Errorf("%s: no answer in %v", method, limit)
	}
}

// gives wants this reply.
func gives[T any](c *rpc.Client, method string, args any, want T) error {
	var got T
	if err := call(c, method, args, &got); err != nil {
		return fmt.Errorf("%s: %w", method, err)
	}
	if !reflect.DeepEqual(got, want) {
		return fmt.Errorf("%s: got %.200v, expected %.200v", method, fmt.Sprintf("%+v", got), fmt.Sprintf("%+v", want))
	}
	return nil
}

// fails wants a failure with this text; one that ends in … is the beginning of it. What the answer carries beside the
// text must not disturb the next one.
func fails(c *rpc.Client, method string, args any, text string) error {
	err := call(c, method, args, new(stand.Reply))
	if err == nil {
		return fmt.Errorf("%s was answered", method)
	}
	var server rpc.ServerError
	begin, open := strings.CutSuffix(text, "…")
	if !errors.As(err, &server) || string(server) != text && !(open && strings.HasPrefix(string(server), begin)) {
		return fmt.Errorf("%s: %T %q, expected %q", method, err, stand.OneLine(err.Error()), text)
	}
	return works(c)
}

// works proves that a connection goes on.
func works(c *rpc.Client) error {
	if err := gives(c, "Arith.Mul", stand.Args{A: 6, B: 7}, stand.Reply{C: 42}); err != nil {
		return fmt.Errorf("the connection does not go on: %w", err)
	}
	return nil
}

func main() {
	flag.StringVar(&ownAddr, "own-addr", "", "`HOST:PORT` of the service Types (default: -addr)")
	flag.StringVar(&zrpcAddr, "zrpc-addr", "", "`HOST:PORT` of the service Consumer (default: -addr)")
	flags = stand.Parse()
	if ownAddr == "" {
		ownAddr = flags.Addr
	}
	if zrpcAddr == "" {
		zrpcAddr = flags.Addr
	}
	os.Exit(flags.Run(append(append(calls(), failures()...), append(hostile(), zrpcCases()...)...)))
}

func calls() []stand.Case {
	return []stand.Case{
		{Name: "netrpc-mul", Run: func() error { return both(works) }},
		{Name: "netrpc-generated", Run: func() error {
			r := flags.Rand("generated")
			return both(func(c *rpc.Client) error {
				for n := 0; n < flags.N; n++ {
					a := stand.GenArgs(r)
					err := stand.First(
						gives(c, "Arith.Mul", a, stand.Reply{C: a.A * a.B}), gives(c, "Arith.Add", &a, stand.Reply{C: a.A + a.B}))
					if err != nil {
						return fmt.Errorf("call %d: %w", n, err)
					}
				}
				return nil
			})
		}},
		{Name: "netrpc-types", Run: func() error {
			r := flags.Rand("types")
			return at(ownAddr, func(c *rpc.Client) error {
				for n := 0; n < flags.N; n++ {
					if a := values.Generate(r); n%2 == 0 {
						if err := gives(c, "Types.All", a, a); err != nil {
							return fmt.Errorf("value %d: %w", n, err)
						}
					} else if err := gives(c, "Types.Name", a.Inner, a.Inner.Name); err != nil {
						return fmt.Errorf("value %d: %w", n, err)
					}
				}
				return gives(c, "Types.Sum", []int64{1, -2, 300}, int64(299))
			})
		}},
		// Echo.Echo hands the body on as it came, whatever it is.
		{Name: "netrpc-echo-types", Run: func() error {
			r := flags.Rand("echo-types")
			return both(func(c *rpc.Client) error {
				for n := 0; n < flags.N; n++ {
					if a := values.Generate(r); n%3 == 0 {
						if err := gives(c, "Echo.Echo", a.Inner, a.Inner); err != nil {
							return err
						}
					} else if err := gives(c, "Echo.Echo", a, a); err != nil {
						return fmt.Errorf("value %d: %w", n, err)
					}
				}
				return nil
			})
		}, Go: &stand.Difference{ID: "netrpc-echo", Why: "the Go server's Echo takes bytes and nothing else"}},
		{Name: "netrpc-bytes", Run: func() error {
			r := flags.Rand("bytes")
			return both(func(c *rpc.Client) error {
				for n := 0; n < flags.N; n++ {
					body := make([]byte, 1+r.Intn(1<<uint(1+r.Intn(16))))
					r.Read(body)
					if err := echoes(c, []string{"Echo.Echo", "Echo.Owned"}[n%2], body); err != nil {
						return err
					}
				}
				return nil
			})
		}},
		{Name: "netrpc-sizes", Run: func() error {
			r := flags.Rand("sizes")
			return both(func(c *rpc.Client) error {
				for _, size := range append(stand.Sizes, int(flags.BodyLimit)-64) {
					body := stand.Body(r, size)
					if err := stand.First(echoes(c, "Echo.Echo", body), echoes(c, "Echo.Owned", body)); err != nil {
						return err
					}
				}
				return works(c)
			})
		}},
		{Name: "netrpc-say", Run: func() error {
			return both(func(c *rpc.Client) error {
				for _, say := range []*stand.Say{stand.NewSay(), {}, {Field5: []uint64{1, 1 << 63}, Field22: -5}} {
					want := *say
					want.Answered()
					if err := gives(c, "Hello.Say", say, want); err != nil {
						return err
					}
				}
				return nil
			})
		}},
		{Name: "netrpc-slow", Run: func() error {
			return both(func(c *rpc.Client) error {
				var before, after stand.Stats
				return stand.First(
					call(c, "Slow.Stats", stand.Empty{}, &before),
					gives(c, "Slow.Sleep", stand.Millis{Millis: 5}, stand.Slept{Slept: 5}),
					call(c, "Slow.Stats", stand.Empty{}, &after),
					more(after.Completed, before.Completed))
			})
		}},
		{Name: "netrpc-out-of-order", Run: outOfOrder},
		{Name: "netrpc-in-flight", Run: func() error { return both(inFlight) }},
		{Name: "netrpc-many-connections", Run: func() error {
			var all sync.WaitGroup
			errs := make(chan error, 50)
			for n := 0; n < 50; n++ {
				all.Add(1)
				go func() {
					defer all.Done()
					errs <- with(func(c *rpc.Client) error {
						for n := 0; n < 100; n++ {
							if err := works(c); err != nil {
								return err
							}
						}
						return nil
					})
				}()
			}
			all.Wait()
			close(errs)
			for err := range errs {
				if err != nil {
					return err
				}
			}
			return nil
		}},
		{Name: "netrpc-names-any-case", Run: func() error {
			return with(func(c *rpc.Client) error { return gives(c, "arith.mul", stand.Args{A: 6, B: 7}, stand.Reply{C: 42}) })
		}, Go: &stand.Difference{ID: "netrpc-case", Why: "exact names only"}},
		{Name: "netrpc-other-fields", Run: func() error {
			type Order struct {
				B     int8
				Extra map[string][]values.Inner
				A     int64
			}
			return with(func(c *rpc.Client) error {
				extra := map[string][]values.Inner{"k": {{Name: "d", N: 1}}}
				return stand.First(
					gives(c, "Arith.Mul", Order{B: 7, A: 6, Extra: extra}, stand.Reply{C: 42}),
					gives(c, "Arith.Mul", Order{B: -7, A: 6}, stand.Reply{C: -42}),
					gives(c, "Arith.Mul", struct{ A *int32 }{new(int32)}, stand.Reply{}), works(c))
			})
		}},
		{Name: "netrpc-reply-not-wanted", Run: func() error {
			return with(func(c *rpc.Client) error {
				return stand.First(call(c, "Arith.Mul", stand.Args{A: 6, B: 7}, nil), works(c))
			})
		}},
	}
}

func more(after, before int64) error {
	if after <= before {
		return fmt.Errorf("%d calls were completed before, %d after", before, after)
	}
	return nil
}

func echoes(c *rpc.Client, method string, body []byte) error {
	var got []byte
	if err := call(c, method, body, &got); err != nil {
		return fmt.Errorf("%s of %d bytes: %w", method, len(body), err)
	}
	if !bytes.Equal(got, body) {
		return fmt.Errorf("%s of %d bytes: %d other bytes", method, len(body), len(got))
	}
	return nil
}

func outOfOrder() error {
	return both(func(c *rpc.Client) error {
		done := make(chan *rpc.Call, 3)
		for _, millis := range []int64{300, 1, 150} {
			c.Go("Slow.Sleep", stand.Millis{Millis: millis}, new(stand.Slept), done)
		}
		for _, want := range []int64{1, 150, 300} {
			select {
			case ended := <-done:
				if got := ended.Reply.(*stand.Slept).Slept; ended.Error != nil || got != want {
					return fmt.Errorf("%d, %v came where %d was expected", got, ended.Error, want)
				}
			case <-time.After(limit):
				return errors.New("no answer")
			}
		}
		return nil
	})
}

// inFlight has 5,000 calls of several kinds outstanding at once.
func inFlight(c *rpc.Client) error {
	const n = 5000
	done := make(chan *rpc.Call, n)
	for i := int64(0); i < n; i++ {
		switch i % 4 {
		case 0:
			c.Go("Slow.Sleep", stand.Millis{Millis: i % 20}, new(stand.Slept), done)
		case 1:
			body := []byte(fmt.Sprint(i))
			c.Go("Echo.Owned", body, new([]byte), done)
		default:
			c.Go("Arith.Mul", stand.Args{A: i, B: 3}, new(stand.Reply), done)
		}
	}
	for i := 0; i < n; i++ {
		select {
		case ended := <-done:
			if ended.Error != nil {
				return fmt.Errorf("%s %v: %w", ended.ServiceMethod, ended.Args, ended.Error)
			}
			right := true
			switch args := ended.Args.(type) {
			case stand.Millis:
				right = ended.Reply.(*stand.Slept).Slept == args.Millis
			case []byte:
				right = bytes.Equal(*ended.Reply.(*[]byte), args)
			case stand.Args:
				right = ended.Reply.(*stand.Reply).C == args.A*args.B
			}
			if !right {
				return fmt.Errorf("%s %v has the answer of another call: %v", ended.ServiceMethod, ended.Args, ended.Reply)
			}
		case <-time.After(limit):
			return fmt.Errorf("%d of %d calls were answered", i, n)
		}
	}
	return works(c)
}

func failures() []stand.Case {
	noLimit := &stand.Difference{ID: "netrpc-no-limit", Why: "Go's server has no limit but the gigabyte of gob"}
	return []stand.Case{
		{Name: "netrpc-unknown", Run: func() error {
			return both(func(c *rpc.Client) error {
				args := stand.Args{A: 1, B: 2}
				return stand.First(
					fails(c, "Nope.Mul", args, "rpc: can't find service Nope.Mul"),
					fails(c, "Arith.Nope", args, "rpc: can't find method Arith.Nope"),
					fails(c, "Mul", args, "rpc: service/method request ill-formed: Mul"),
					fails(c, "", args, "rpc: service/method request ill-formed: "),
					fails(c, "a.b.Mul", args, "rpc: can't find service a.b.Mul"),
					fails(c, "Arith.", args, "rpc: can't find method Arith."),
					fails(c, ".Mul", args, "rpc: can't find service .Mul"))
			})
		}},
		{Name: "netrpc-fail-texts", Run: func() error {
			return both(func(c *rpc.Client) error {
				for _, text := range stand.ErrorTexts {
					if text == "" {
						continue // gob leaves an empty text out, and nobody can tell it from a success
					}
					if err := fails(c, "Fault.Fail", stand.Message{Message: text}, text); err != nil {
						return err
					}
				}
				return stand.First(
					fails(c, "Arith.Div", stand.Args{A: 1}, "divide by zero"),
					gives(c, "Arith.Div", stand.Args{A: -7, B: 2}, stand.Reply{C: -3}))
			})
		}},
		{Name: "netrpc-fail-empty", Run: func() error {
			return with(func(c *rpc.Client) error {
				if err := call(c, "Fault.Fail", stand.Message{}, new(stand.Empty)); err == nil {
					return errors.New("a failure without a text came as a success")
				}
				return works(c)
			})
		}, Go: &stand.Difference{ID: "netrpc-empty-error", Why: "a failure without a text comes as a success"}},
		{Name: "netrpc-panic", Run: func() error {
			return both(func(c *rpc.Client) error {
				err := call(c, "Fault.Panic", stand.Empty{}, new(stand.Empty))
				if err == nil || strings.Contains(err.Error(), "Fault.Panic was called") {
					return fmt.Errorf("a panic is answered %v", err)
				}
				return works(c)
			})
		}, Go: &stand.Difference{ID: "netrpc-panic", Why: "a panic ends the process", Fatal: true}},
		{Name: "netrpc-wrong-type", Run: func() error {
			return both(func(c *rpc.Client) error {
				return stand.First(
					fails(c, "Arith.Mul", struct{ X int }{1}, "gob: type mismatch: no fields matched compiling decoder for Args"),
					fails(c, "Arith.Mul", "text", "gob: type mismatch in decoder: want struct type …"),
					fails(c, "Arith.Mul", struct{ A string }{"six"}, "gob: …"),
					fails(c, "Arith.Mul", map[string]int{"A": 1}, "gob: …"),
					fails(c, "Echo.Owned", stand.Args{A: 1}, "gob: …"))
			})
		}},
		{Name: "netrpc-over-limit", Run: func() error {
			return both(func(c *rpc.Client) error {
				over := make([]byte, flags.BodyLimit+1)
				return stand.First(
					names(c, "Echo.Echo", over), names(c, "Echo.Owned", over),
					names(c, "Fault.Big", stand.Bytes{Bytes: flags.BodyLimit}), works(c))
			})
		}, Go: noLimit},
		{Name: "netrpc-meta", Run: func() error {
			return with(func(c *rpc.Client) error {
				var reply struct{}
				return stand.First(call(c, "Meta.Echo", stand.Empty{}, &reply), works(c))
			})
		}, Go: &stand.Difference{ID: "netrpc-meta", Why: "the Go server has no metadata"}},
	}
}

// names wants an error that names the limit.
func names(c *rpc.Client, method string, args any) error {
	err := call(c, method, args, nil)
	if err == nil {
		return fmt.Errorf("%s over the limit was answered", method)
	}
	for _, word := range []string{"--body-limit", fmt.Sprint(flags.BodyLimit)} {
		if !strings.Contains(err.Error(), word) {
			return fmt.Errorf("%s: %q does not name %s", method, err, word)
		}
	}
	return works(c)
}

// raw sends bytes and reads what comes back until the connection ends or nothing more comes.
func raw(data []byte, wait time.Duration) (string, bool, error) {
	c, err := net.Dial("tcp", flags.Addr)
	if err != nil {
		return "", false, err
	}
	defer c.Close()
	if _, err := c.Write(data); err != nil {
		return "", false, err
	}
	c.SetReadDeadline(time.Now().Add(wait))
	var got bytes.Buffer
	_, err = got.ReadFrom(c)
	var timeout net.Error
	closed := !(errors.As(err, &timeout) && timeout.Timeout())
	return got.String(), closed, nil
}

func hostile() []stand.Case {
	closes := func(data []byte) func() error {
		return func() error {
			got, closed, err := raw(data, limit)
			if err == nil && (!closed || got != "") {
				err = fmt.Errorf("answered %q, closed: %v", stand.OneLine(got), closed)
			}
			return stand.First(err, with(works))
		}
	}
	huge := append([]byte("\x2e\x7f\x03\x01\x01\x07Request\x01\xff\x80\x00\x01\x02\x01\rServiceMethod\x01\x0c\x00\x01\x03Seq\x01\x06\x00\x00\x00"), 0xf8, 0x40, 0, 0, 0, 0, 0, 0, 0, 1)
	return []stand.Case{
		{Name: "netrpc-garbage", Run: closes([]byte(strings.Repeat("hello world, this is no gob at all\n", 5)))},
		{Name: "netrpc-huge-message", Run: closes(huge)},
		{Name: "netrpc-http-paths", Run: func() error {
			for request, want := range map[string]string{
				"CONNECT /nope HTTP/1.0\n\n":                         "404",
				"GET /_goRPC_ HTTP/1.0\r\nConnection: close\r\n\r\n": "405 must CONNECT",
			} {
				c, err := net.Dial("tcp", flags.Connect)
				if err != nil {
					return err
				}
				defer c.Close()
				if _, err := c.Write([]byte(request)); err != nil {
					return err
				}
				c.SetReadDeadline(time.Now().Add(limit))
				var got bytes.Buffer
				if _, err := got.ReadFrom(c); err != nil || !strings.Contains(got.String(), want) {
					return fmt.Errorf("%q: %q, %v", request, got.String(), err)
				}
			}
			return nil
		}},
	}
}
