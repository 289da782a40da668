// saber: its stress test with the command line of the other peers. `--in-flight` callers, each a service of its own,
// log in at the services `lobby` 101 to 104, one call after the other; the body is the test's own, whatever the size.
//
// A node answers over a connection of its own, to an address that it has in its table. So the addresses are fixed: the
// caller's node listens at 127.0.7.2:8907, and a server has to know it there as stress_client. `--cluster NAME` is what
// the server's node is called.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"sync/atomic"
	"time"

	"github.com/goinggo/mapstructure"
	"github.com/xingshuo/saber/common/log"
	saber "github.com/xingshuo/saber/pkg"

	"trunkline.test/bench/peer"
)

const (
	clientCluster = "stress_client"
	clientAddr    = "127.0.7.2:8907"
)

// The name of the server's node.
var serverCluster = "stress_server"

type ReqLogin struct {
	Gid  uint64
	Name string
}

type RspLogin struct{ Status int }

// node starts a node whose table has one other.
func node(cluster, addr, other, otherAddr string) (*saber.Server, error) {
	config, err := json.Marshal(saber.ServerConfig{
		ClusterName:    cluster,
		LocalAddr:      addr,
		RemoteAddrs:    map[string]string{other: otherAddr},
		TickIntervalMs: 1000,
	})
	if err != nil {
		return nil, err
	}
	file, err := os.CreateTemp("", "saber-*.json")
	if err != nil {
		return nil, err
	}
	defer os.Remove(file.Name())
	if _, err := file.Write(config); err != nil {
		return nil, err
	}
	if err := file.Close(); err != nil {
		return nil, err
	}
	server, err := saber.NewServer(file.Name())
	if err == nil {
		// It writes a line for each service otherwise.
		server.SetLogSystem(&log.LoggerStd{}, log.LevelError)
	}
	return server, err
}

func serve(ln net.Listener) error {
	server, err := node(serverCluster, ln.Addr().String(), clientCluster, clientAddr)
	if err != nil {
		return err
	}
	for id := uint32(101); id <= 104; id++ {
		lobby, err := server.NewService("lobby", id)
		if err != nil {
			return err
		}
		lobby.RegisterSvcHandler("ReqLogin", func(_ context.Context, request any) (any, error) {
			login := &ReqLogin{}
			if err := mapstructure.Decode(request, login); err != nil {
				return nil, err
			}
			return &RspLogin{Status: 200}, nil
		})
	}
	select {}
}

// The codec of a caller: its answers as the struct that they are.
type codec struct{}

func (codec) Marshal(_ saber.MsgType, _ string, value any) ([]byte, error) { return json.Marshal(value) }

func (codec) Unmarshal(_ saber.MsgType, _ string, data []byte) (any, error) {
	reply := &RspLogin{}
	err := json.Unmarshal(data, reply)
	return reply, err
}

var (
	client *saber.Server
	// The number of the last caller; the stress test begins with 2.
	last atomic.Uint32
)

// connect gives a caller of its own to each goroutine; they share the node and its connection.
func connect(addr string) (peer.Echo, error) {
	if client == nil {
		var err error
		if client, err = node(clientCluster, clientAddr, serverCluster, addr); err != nil {
			return nil, err
		}
		last.Store(1)
	}
	id := last.Add(1)
	caller, err := client.NewService("kiteproxy", id)
	if err != nil {
		return nil, err
	}
	caller.SetCodec(codec{})
	ctx := context.WithValue(context.Background(), saber.CtxKeyRpcTimeoutMS, 3*time.Second)
	return func(body []byte) (int, error) {
		login := &ReqLogin{Gid: uint64(10100000 + id), Name: fmt.Sprintf("%08x", rand.Uint32())}
		reply, err := caller.CallCluster(ctx, serverCluster, "lobby", 101+id%4, "ReqLogin", login)
		if err != nil {
			return 0, err
		}
		if answer, ok := reply.(*RspLogin); !ok || answer.Status != 200 {
			return 0, fmt.Errorf("an answer that is none: %v", reply)
		}
		return len(body), nil
	}, nil
}

func main() {
	if at := slices.Index(os.Args, "--cluster"); at > 0 && at+1 < len(os.Args) {
		serverCluster = os.Args[at+1]
		os.Args = slices.Delete(os.Args, at, at+2)
	}
	peer.Main(peer.Framework{Serve: serve, Connect: connect, OneCall: true, OwnListener: true})
}
