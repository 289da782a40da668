// arpc: raw bytes, with its defaults: it batches reads and writes, and clears nodelay (setting it changes nothing here).
package main

import (
	"net"
	"time"

	"github.com/lesismal/arpc"
	"github.com/lesismal/arpc/log"

	"trunkline.test/bench/peer"
)

func serve(ln net.Listener) error {
	s := arpc.NewServer()
	s.Handler.Handle("/echo", func(c *arpc.Context) { c.Write(c.Body()) })
	return s.Serve(ln)
}

func connect(addr string) (peer.Echo, error) {
	c, err := arpc.NewClient(func() (net.Conn, error) { return net.DialTimeout("tcp", addr, 3*time.Second) })
	if err != nil {
		return nil, err
	}
	return func(body []byte) (int, error) {
		var reply []byte
		err := c.Call("/echo", body, &reply, 30*time.Second)
		return len(reply), err
	}, nil
}

func main() {
	log.SetLevel(log.LevelNone)
	peer.Main(peer.Framework{Serve: serve, Connect: connect})
}
