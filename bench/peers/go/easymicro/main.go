// easymicro: MessagePack, the body as a byte slice (without serialisation its client sends no payload). Its client
// loses answers that arrive together, so a connection carries one call at a time, and C x D calls in flight take C x D
// connections. A client that speaks only frames gets its body echoed as well: service path `echo`, method `echo`, in
// lower case as the server wants them, serialisation 0.
package main

import (
	"context"
	"net"

	"github.com/masonchen2014/easymicro/client"
	"github.com/masonchen2014/easymicro/log"
	"github.com/masonchen2014/easymicro/protocol"
	"github.com/masonchen2014/easymicro/server"

	"trunkline.test/bench/peer"
)

type Echo struct{}

func (*Echo) Echo(_ context.Context, body *[]byte, reply *[]byte) error { *reply = *body; return nil }

func serve(ln net.Listener) error {
	s := server.NewServer()
	if err := s.RegisterName("Echo", new(Echo)); err != nil {
		return err
	}
	s.Serve("tcp", ln.Addr().String())
	return nil
}

func connect(addr string) (peer.Echo, error) {
	c, err := client.NewClient(&client.ClientConfig{Network: "tcp", Address: addr, ServicePath: "Echo"})
	if err != nil {
		return nil, err
	}
	return func(body []byte) (int, error) {
		var reply []byte
		err := c.Call(context.Background(), "Echo", &body, &reply, client.SetCallSerializeType(protocol.MsgPack))
		return len(reply), err
	}, nil
}

func main() {
	log.SetDummyLogger()
	peer.Main(peer.Framework{Serve: serve, Connect: connect, OneCall: true, OwnListener: true})
}
