// zrpc: a broker that offers one function, and one that calls it. `--at-once` makes the load that of zrpc's own test
// (demo/performance): as many goroutines as there are calls, each with one of them.
package main

import (
	"io"
	"log"
	"net"

	"github.com/zzinno/zrpc/client"
	"github.com/zzinno/zrpc/server"

	"trunkline.test/bench/peer"
)

// The name that the other broker has for this one, and that of its function.
const (
	producer = "hello"
	function = "echo"
)

func serve(ln net.Listener) error {
	at := ln.Addr().(*net.TCPAddr)
	offered := &client.Consumer{Funs: map[string]func(*[]byte) ([]byte, error){
		function: func(data *[]byte) ([]byte, error) { return *data, nil },
	}}
	new(server.Broker).New(at.IP.String(), at.Port, offered)
	select {}
}

func connect(addr string) (peer.Echo, error) {
	to, err := net.ResolveTCPAddr("tcp4", addr)
	if err != nil {
		return nil, err
	}
	// A broker listens, whether anybody calls it or not.
	free, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	own := free.Addr().(*net.TCPAddr).Port
	free.Close()
	b := new(server.Broker)
	b.New("127.0.0.1", own, map[string]client.Producer{
		producer: {Addr: to.IP.String(), Port: uint(to.Port)},
	})
	return func(body []byte) (int, error) {
		reply, err := b.Call(producer, function, &body)
		if err != nil {
			return 0, err
		}
		return len(*reply), nil
	}, nil
}

func main() {
	// It says what it found.
	log.SetOutput(io.Discard)
	peer.Main(peer.Framework{Serve: serve, Connect: connect, OwnListener: true})
}
