// The Go easymicro client of the interop suite: named cases against a server with the sample services.
//
//	client -addr HOST:PORT [-case NAME] [-seed N] [-n 200] [-body-limit 4194304] [-peer trunkline|go] [-long]
//
// One line for each case: `ok NAME`, `FAIL NAME: why` or `expected NAME: ID why`; code 1 if any failed. The client
// loses answers that arrive together (E6), so one call is outstanding on a connection.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/masonchen2014/easymicro/client"
	"github.com/masonchen2014/easymicro/log"
	"github.com/masonchen2014/easymicro/metadata"
	"github.com/masonchen2014/easymicro/protocol"

	"trunkline.test/interop/easymicro/msg"
	"trunkline.test/interop/stand"
)

var (
	flags *stand.Flags
	bg    = context.Background()
	// noErrors: the reason why every case that waits for an error answer differs at a Go server.
	noErrors = &stand.Difference{ID: "E5", Why: "Go's server sends no error answers on TCP"}
)

type meta = map[string]string

var codecs = []struct {
	name string
	st   protocol.SerializeType
}{{"json", protocol.JSON}, {"msgpack", protocol.MsgPack}, {"protobuf", protocol.ProtoBuffer}, {"thrift", protocol.Thrift}}

// with opens a client, which knows one service, for a check.
func with(service string, check func(*client.Client) error) error {
	c, err := client.NewClient(&client.ClientConfig{Network: "tcp", Address: flags.Addr, ServicePath: service})
	if err != nil {
		return err
	}
	defer c.Close()
	return check(c)
}

// limit is how long a call may take. An error answer that does not come (E5) takes all of it, so it is short for Go.
func limit() time.Duration {
	if flags.Peer == "go" {
		return 700 * time.Millisecond
	}
	return 5 * time.Second
}

func call(c *client.Client, method string, args, reply interface{}, opts ...client.BeforeOrAfterCallOption) error {
	return callMeta(c, bg, method, args, reply, opts...)
}

func callMeta(c *client.Client, ctx context.Context, method string, args, reply interface{}, opts ...client.BeforeOrAfterCallOption) error {
	ctx, cancel := context.WithTimeout(ctx, limit())
	defer cancel()
	return c.Call(ctx, method, args, reply, opts...)
}

func in(st protocol.SerializeType) client.BeforeOrAfterCallOption {
	return client.SetCallSerializeType(st)
}

// works proves that a connection to Arith goes on.
func works(c *client.Client) error {
	r := &msg.Reply{}
	if err := call(c, "Mul", &msg.Args{A: 6, B: 7}, r); err != nil || r.C != 42 {
		return fmt.Errorf("the connection does not go on: %d (%v)", r.C, err)
	}
	return nil
}

// fails wants an error answer with exactly this text, and a connection that goes on is proved by the next call.
func fails(err error, text string) error {
	switch {
	case err == nil:
		return fmt.Errorf("no error, expected %q", text)
	case errors.Is(err, client.ErrTimeOut):
		return fmt.Errorf("no answer, expected the error %q", text)
	case err.Error() != text:
		return fmt.Errorf("error %q, expected %q", err, text)
	}
	return nil
}

func stats() (s msg.Stats, err error) {
	err = with("Slow", func(c *client.Client) error { return call(c, "Stats", &msg.Empty{}, &s) })
	return
}

func withMeta(m meta) context.Context { return metadata.NewClientMdContext(bg, m) }

func main() {
	flags = stand.Parse()
	log.SetDummyLogger()
	var cases []stand.Case
	for _, group := range [][]stand.Case{codecCases(), errorCases(), connectionCases(), rawCases(), gatewayCases()} {
		cases = append(cases, group...)
	}
	os.Exit(flags.Run(cases))
}
