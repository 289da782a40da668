package main

// zrpc's broker calls the functions of another peer.

import (
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/rpc"
	"strconv"
	"sync"

	"github.com/vmihailenco/msgpack"
	zclient "github.com/zzinno/zrpc/client"
	zserver "github.com/zzinno/zrpc/server"

	"trunkline.test/interop/stand"
)

// broker is a zrpc broker that has dialled the server as `demo`.
func broker() (*zserver.Broker, error) {
	log.SetOutput(io.Discard)
	host, text, err := net.SplitHostPort(zrpcAddr)
	if err != nil {
		return nil, err
	}
	port, err := strconv.Atoi(text)
	if err != nil {
		return nil, err
	}
	free, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	own := free.Addr().(*net.TCPAddr).Port
	free.Close()
	b := new(zserver.Broker)
	b.New("127.0.0.1", own, map[string]zclient.Producer{"demo": {Addr: host, Port: uint(port)}})
	return b, nil
}

func deals(b *zserver.Broker, name string, data []byte, want string) error {
	got, err := b.Call("demo", name, &data)
	if err != nil || string(*got) != want {
		return fmt.Errorf("%s: %v, %w", name, got, err)
	}
	return nil
}

func zrpcCases() []stand.Case {
	return []stand.Case{
		{Name: "netrpc-zrpc-broker", Run: func() error {
			b, err := broker()
			if err != nil {
				return err
			}
			for n := 0; n < flags.N; n++ {
				text := fmt.Sprintf("message %d", n)
				if err := stand.First(deals(b, "s", []byte("hello"), "world"), deals(b, "echo", []byte(text), text)); err != nil {
					return err
				}
			}
			if _, err := b.Call("demo", "nope", &[]byte{}); err == nil || err.Error() != "Function Name Not Find " {
				return fmt.Errorf("an unknown name: %v", err)
			}
			return nil
		}},
		{Name: "netrpc-zrpc-at-once", Run: func() error {
			b, err := broker()
			if err != nil {
				return err
			}
			var all sync.WaitGroup
			errs := make(chan error, 2000)
			for n := 0; n < cap(errs); n++ {
				all.Add(1)
				go func() {
					defer all.Done()
					text := fmt.Sprint(n)
					errs <- deals(b, "echo", []byte(text), text)
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
		{Name: "netrpc-zrpc-index", Run: func() error {
			return at(zrpcAddr, func(c *rpc.Client) error {
				var body []byte
				if err := call(c, "Consumer.GetIndex", &zclient.Params{}, &body); err != nil {
					return err
				}
				var index zclient.Index
				if err := msgpack.Unmarshal(body, &index); err != nil {
					return err
				}
				found := map[string]bool{}
				for _, name := range index.Index {
					found[name] = true
				}
				if !found["s"] || !found["echo"] {
					return fmt.Errorf("the index is %q", index.Index)
				}
				return nil
			})
		}},
		{Name: "netrpc-zrpc-unknown", Run: func() error {
			return at(zrpcAddr, func(c *rpc.Client) error {
				data := []byte("data")
				for _, name := range []string{"nope", "", "S", "Echo"} {
					err := call(c, "Consumer.Deal", &zclient.Params{FunName: name, Data: &data}, &[]byte{})
					if err == nil || err.Error() != "Function Name Not Find " {
						return fmt.Errorf("%q: %v", name, err)
					}
				}
				var back []byte
				return stand.First(call(c, "Consumer.Deal", &zclient.Params{FunName: "echo", Data: &data}, &back), same(back, data))
			})
		}, Go: &stand.Difference{ID: "Z1", Why: "an unknown name ends the process", Fatal: true}},
		{Name: "netrpc-zrpc-empty", Run: func() error {
			return at(zrpcAddr, func(c *rpc.Client) error {
				for _, data := range []*[]byte{nil, {}} {
					back := []byte("before")
					if err := call(c, "Consumer.Deal", &zclient.Params{FunName: "echo", Data: data}, &back); err != nil {
						return err
					}
					if len(back) > 0 {
						return fmt.Errorf("no bytes came back as %q", back)
					}
				}
				return nil
			})
		}, Go: &stand.Difference{ID: "Z2", Why: "an empty payload ends the process", Fatal: true}},
	}
}

func same(got, want []byte) error {
	if string(got) != string(want) {
		return errors.New("other bytes came back")
	}
	return nil
}
