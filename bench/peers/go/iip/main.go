// IIP: `/echo`, with the sizes of buffers and queues of the library's own benchmark. One channel a
// connection, on which the calls of all goroutines keep their order. With `--balanced` a client calls through the
// library's load-balancing client, which keeps two connections with a channel each.
package main

import (
	"net"
	"net/url"
	"os"
	"slices"
	"time"

	"github.com/truexf/iip"

	"trunkline.test/bench/peer"
)

const path = "/echo"

type echo struct{}

func (echo) Handle(_ string, _ url.Values, data []byte, completed bool) ([]byte, error) {
	if !completed {
		return nil, iip.ErrPacketContinue
	}
	return data, nil
}

// What the client hears by a call's own return, too.
type heard struct{}

func (heard) Handle(string, iip.Request, []byte, bool) error { return nil }

func serve(ln net.Listener) error {
	s, err := iip.NewServer(iip.ServerConfig{
		MaxConnections:        10000,
		MaxChannelsPerConn:    10,
		ChannelPacketQueueLen: 1000,
		TcpWriteQueueLen:      1000,
		TcpReadBufferSize:     16 * 1024,
		TcpWriteBufferSize:    16 * 1024,
	}, ln.Addr().String(), nil)
	if err != nil {
		return err
	}
	if err := s.RegisterHandler(path, echo{}, nil); err != nil {
		return err
	}
	if err := s.Serve(ln, false); err != nil {
		return err
	}
	// It serves in goroutines of its own.
	select {}
}

func connect(addr string) (peer.Echo, error) {
	client, err := iip.NewClient(iip.ClientConfig{
		MaxConnections:        1,
		MaxChannelsPerConn:    10,
		ChannelPacketQueueLen: 1000,
		TcpWriteQueueLen:      1000,
		TcpReadBufferSize:     16 * 1024,
		TcpWriteBufferSize:    16 * 1024,
		TcpConnectTimeout:     3 * time.Second,
	}, addr, nil)
	if err != nil {
		return nil, err
	}
	if err := client.RegisterHandler(path, heard{}); err != nil {
		return nil, err
	}
	channel, err := client.NewChannel()
	if err != nil {
		return nil, err
	}
	return func(body []byte) (int, error) {
		reply, err := channel.DoRequest(path, iip.NewDefaultRequest(body), 5*time.Second)
		return len(reply), err
	}, nil
}

// balanced is the load-balancing client as the library's benchmark calls it.
func balanced(addr string) (peer.Echo, error) {
	client, err := iip.NewLoadBalanceClient(2, 2, addr+"#1")
	if err != nil {
		return nil, err
	}
	return func(body []byte) (int, error) {
		reply, err := client.DoRequest2("localhost", path, iip.NewDefaultRequest(body), 5*time.Second)
		return len(reply), err
	}, nil
}

func main() {
	iip.LogClosing = false
	framework := peer.Framework{Serve: serve, Connect: connect}
	if at := slices.Index(os.Args, "--balanced"); at > 0 {
		os.Args = slices.Delete(os.Args, at, at+1)
		framework.Connect = balanced
	}
	peer.Main(framework)
}
