// A Go IIP server with the sample services, as far as the module can serve them.
//
//	server [-addr 127.0.0.1:0] [-files DIR]
//
// The first line on stdout is `ready ADDR frames=ADDR`. The second address is a small server on the module's frames
// that streams, which the module's own cannot. It stops at the end of its standard input, or on TERM.
package main

import (
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"syscall"

	"github.com/truexf/iip"
)

func listen(addr string) (net.Listener, error) { return net.Listen("tcp4", addr) }

func run() error {
	addr := flag.String("addr", "127.0.0.1:0", "`HOST:PORT` to listen on")
	files := flag.String("files", "", "`DIR` of files to serve")
	flag.Parse()
	iip.LogClosing = false
	server, err := iip.NewServer(iip.ServerConfig{
		MaxConnections: 10000, MaxChannelsPerConn: 10, ChannelPacketQueueLen: 1000, TcpWriteQueueLen: 1000,
		TcpReadBufferSize: 1 << 16, TcpWriteBufferSize: 1 << 16,
	}, *addr, nil)
	if err != nil {
		return err
	}
	lsn, err := listen(*addr)
	if err != nil {
		return err
	}
	frames, err := listen("127.0.0.1:0")
	if err != nil {
		return err
	}
	register(server, lsn.Addr().String())
	if *files != "" {
		registerFiles(server, *files)
	}
	if err := server.Serve(lsn, false); err != nil {
		return err
	}
	go serveFrames(frames)
	fmt.Printf("ready %s frames=%s\n", lsn.Addr(), frames.Addr())
	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM)
	end := make(chan error, 1)
	go func() {
		_, err := io.Copy(io.Discard, os.Stdin)
		end <- err
	}()
	select {
	case <-term:
		return nil
	case err := <-end:
		return err
	}
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "server:", err)
		os.Exit(1)
	}
}
