// net/rpc of Go's standard library: gob, the body as a byte slice.
package main

import (
	"net"
	"net/rpc"

	"trunkline.test/bench/peer"
)

type Echo struct{}

func (*Echo) Echo(body []byte, reply *[]byte) error { *reply = body; return nil }

func serve(ln net.Listener) error {
	s := rpc.NewServer()
	if err := s.RegisterName("Echo", new(Echo)); err != nil {
		return err
	}
	s.Accept(ln)
	return nil
}

func connect(addr string) (peer.Echo, error) {
	c, err := rpc.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	return func(body []byte) (int, error) {
		var reply []byte
		err := c.Call("Echo.Echo", body, &reply)
		return len(reply), err
	}, nil
}

func main() { peer.Main(peer.Framework{Serve: serve, Connect: connect}) }
