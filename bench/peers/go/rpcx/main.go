// rpcx: raw bytes without serialisation, no metadata, no compression. A client that speaks only frames gets its body
// echoed as well: service path `Echo`, method `Echo`, serialisation 0.
package main

import (
	"context"
	"net"

	"github.com/smallnest/rpcx/client"
	"github.com/smallnest/rpcx/log"
	"github.com/smallnest/rpcx/protocol"
	"github.com/smallnest/rpcx/server"

	"trunkline.test/bench/peer"
)

func serve(ln net.Listener) error {
	s := server.NewServer()
	s.AddHandler("Echo", "Echo", func(c *server.Context) error { return c.Write(c.Payload()) })
	return s.ServeListener("tcp", ln)
}

func connect(addr string) (peer.Echo, error) {
	option := client.DefaultOption
	option.SerializeType = protocol.SerializeNone
	option.Heartbeat = false
	c := client.NewClient(option)
	if err := c.Connect("tcp", addr); err != nil {
		return nil, err
	}
	return func(body []byte) (int, error) {
		var reply []byte
		err := c.Call(context.Background(), "Echo", "Echo", body, &reply)
		return len(reply), err
	}, nil
}

func main() {
	log.SetDummyLogger()
	peer.Main(peer.Framework{Serve: serve, Connect: connect})
}
