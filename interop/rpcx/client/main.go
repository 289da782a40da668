// The Go rpcx client of the interop suite: named cases against a server with the sample services.
//
//	client -addr HOST:PORT [-token T] [-case NAME] [-seed N] [-n 200] [-body-limit 4194304] [-peer trunkline|go]
//
// One line for each case: `ok NAME`, `FAIL NAME: why` or `expected NAME: ID why`; code 1 if any failed.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/smallnest/rpcx/client"
	"github.com/smallnest/rpcx/log"
	"github.com/smallnest/rpcx/protocol"
	"github.com/smallnest/rpcx/share"

	"trunkline.test/interop/rpcx/msg"
	"trunkline.test/interop/stand"
)

var (
	flags *stand.Flags
	bg    = context.Background()
)

type meta = map[string]string

// codecs in the order of their numbers; raw stands apart, since it carries no typed message.
var codecs = []struct {
	name string
	st   protocol.SerializeType
}{{"json", protocol.JSON}, {"msgpack", protocol.MsgPack}, {"protobuf", protocol.ProtoBuffer}, {"thrift", protocol.Thrift}}

// dial opens a connection on a network of rpcx (tcp, http, ws); the options may be changed before.
func dial(network string, st protocol.SerializeType, change ...func(*client.Option)) (*client.Client, error) {
	o := client.DefaultOption
	o.SerializeType = st
	for _, f := range change {
		f(&o)
	}
	addr := map[string]string{"tcp": flags.Addr, "http": flags.Connect, "ws": flags.WS}[network]
	c := client.NewClient(o)
	if err := c.Connect(network, addr); err != nil {
		return nil, fmt.Errorf("connect on %s: %w", network, err)
	}
	return c, nil
}

// with runs a check on one fresh connection.
func with(st protocol.SerializeType, check func(*client.Client) error, change ...func(*client.Option)) error {
	c, err := dial("tcp", st, change...)
	if err != nil {
		return err
	}
	defer c.Close()
	return check(c)
}

// call is a call that must not hang: the limit only bounds a failure.
func call(c client.RPCClient, path, method string, args, reply any) error {
	return callMeta(c, nil, nil, path, method, args, reply)
}

func callMeta(c client.RPCClient, req, res meta, path, method string, args, reply any) error {
	ctx, cancel := context.WithTimeout(bg, 10*time.Second)
	defer cancel()
	if req != nil {
		ctx = context.WithValue(ctx, share.ReqMetaDataKey, req)
	}
	if res != nil {
		ctx = context.WithValue(ctx, share.ResMetaDataKey, res)
	}
	return c.Call(ctx, path, method, args, reply)
}

// works proves that a connection goes on.
func works(c client.RPCClient) error {
	r := &msg.Reply{}
	if err := call(c, "Arith", "Mul", &msg.Args{A: 6, B: 7}, r); err != nil {
		return fmt.Errorf("the connection does not go on: %w", err)
	}
	if r.C != 42 {
		return fmt.Errorf("the connection goes on with 6 * 7 = %d", r.C)
	}
	return nil
}

// fails wants an error of the service with exactly this text.
func fails(err error, text string) error {
	var s client.ServiceError
	switch {
	case err == nil:
		return fmt.Errorf("no error, expected %q", text)
	case !errors.As(err, &s):
		return fmt.Errorf("error %q did not come from the service, expected %q", err, text)
	case err.Error() != text:
		return fmt.Errorf("error %q, expected %q", err, text)
	}
	return nil
}

func main() {
	flags = stand.Parse()
	log.SetDummyLogger()
	var cases []stand.Case
	for _, group := range [][]stand.Case{
		codecCases(), errorCases(), connectionCases(), deadlineCases(), gatewayCases(), plainCases(), jsonrpcCases(), authCases(),
	} {
		cases = append(cases, group...)
	}
	os.Exit(flags.Run(cases))
}
