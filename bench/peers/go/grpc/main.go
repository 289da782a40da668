// grpc-go: the body as a protobuf `bytes` field (google.protobuf.BytesValue), 4,096 streams, windows of 2 MiB a stream
// and 32 MiB a connection. What protoc would write stands here by hand.
package main

import (
	"context"
	"net"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"trunkline.test/bench/peer"
)

const (
	path       = "/bench.Echo/Echo"
	stream     = 2 << 20
	connection = 32 << 20
)

var echo = grpc.ServiceDesc{
	ServiceName: "bench.Echo",
	HandlerType: (*any)(nil),
	Methods: []grpc.MethodDesc{{
		MethodName: "Echo",
		Handler: func(_ any, _ context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
			body := new(wrapperspb.BytesValue)
			return body, decode(body)
		},
	}},
}

func serve(ln net.Listener) error {
	s := grpc.NewServer(grpc.MaxConcurrentStreams(4096), grpc.InitialWindowSize(stream), grpc.InitialConnWindowSize(connection))
	s.RegisterService(&echo, struct{}{})
	return s.Serve(ln)
}

func connect(addr string) (peer.Echo, error) {
	c, err := grpc.NewClient("passthrough:///"+addr, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithInitialWindowSize(stream), grpc.WithInitialConnWindowSize(connection))
	if err != nil {
		return nil, err
	}
	return func(body []byte) (int, error) {
		reply := new(wrapperspb.BytesValue)
		err := c.Invoke(context.Background(), path, &wrapperspb.BytesValue{Value: body}, reply)
		return len(reply.Value), err
	}, nil
}

func main() { peer.Main(peer.Framework{Serve: serve, Connect: connect}) }
