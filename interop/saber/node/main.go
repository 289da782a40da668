// A Go saber node with the services of the suite.
//
//	node -node NAME -addr HOST:PORT [-remote NAME=HOST:PORT]…
//
// The first line on stdout is `ready ADDR`. It stops at the end of its standard input, or on TERM.
//
// lobby 101 to 104: ReqLogin, Echo, Fail (a text), Panic, Wait (milliseconds). Count 1: Add {"N"} -> {"Total"}. Relay 1 to 20
// makes calls and notifies for its caller: Call and Notify {"Cluster","Service","ID","Method","Body","Millis"} (with
// "Measure": 1 only the length of the text that is the reply), and Tick,
// which sends as many notifies by a timer, Times of them, Millis apart.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	saber "github.com/xingshuo/saber/pkg"
)

type remotes map[string]string

func (r remotes) String() string { return fmt.Sprint(map[string]string(r)) }

func (r remotes) Set(text string) error {
	name, addr, found := strings.Cut(text, "=")
	if !found {
		return errors.New("NAME=HOST:PORT")
	}
	r[name] = addr
	return nil
}

// number reads a field of a decoded JSON object.
func number(v any, field string) float64 {
	m, _ := v.(map[string]any)
	n, _ := m[field].(float64)
	return n
}

func text(v any, field string) string {
	m, _ := v.(map[string]any)
	s, _ := m[field].(string)
	return s
}

type handler = func(context.Context, any) (any, error)

func lobby(svc *saber.Service) {
	for method, h := range map[string]handler{
		"ReqLogin": func(_ context.Context, req any) (any, error) {
			if number(req, "Gid") == 0 || text(req, "Name") == "" {
				return nil, errors.New("no Gid or no Name")
			}
			return map[string]int{"Status": 200}, nil
		},
		"Echo":  func(_ context.Context, req any) (any, error) { return req, nil },
		"Fail":  func(_ context.Context, req any) (any, error) { return nil, errors.New(fmt.Sprint(req)) },
		"Panic": func(context.Context, any) (any, error) { panic("as it was told") },
		"Wait": func(_ context.Context, req any) (any, error) {
			ms, _ := req.(float64)
			time.Sleep(time.Duration(ms) * time.Millisecond)
			return req, nil
		},
	} {
		svc.RegisterSvcHandler(method, h)
	}
}

func count(svc *saber.Service) {
	total := 0.0
	svc.RegisterSvcHandler("Add", func(_ context.Context, req any) (any, error) {
		total += number(req, "N")
		return map[string]float64{"Total": total}, nil
	})
}

// relay does what its caller asks for, so that a test elsewhere can have this node call any other.
func relay(svc *saber.Service) {
	whom := func(req any) (string, string, uint32, string, any) {
		body, _ := req.(map[string]any)
		return text(req, "Cluster"), text(req, "Service"), uint32(number(req, "ID")), text(req, "Method"), body["Body"]
	}
	svc.RegisterSvcHandler("Call", func(_ context.Context, req any) (any, error) {
		cluster, service, id, method, body := whom(req)
		limit := time.Duration(number(req, "Millis")) * time.Millisecond
		ctx := context.WithValue(context.Background(), saber.CtxKeyRpcTimeoutMS, limit)
		reply, err := svc.CallCluster(ctx, cluster, service, id, method, body)
		if err != nil {
			return map[string]any{"Error": err.Error()}, nil
		}
		if text, ok := reply.(string); ok && number(req, "Measure") == 1 {
			return map[string]any{"Reply": len(text)}, nil
		}
		return map[string]any{"Reply": reply}, nil
	})
	svc.RegisterSvcHandler("Notify", func(ctx context.Context, req any) (any, error) {
		cluster, service, id, method, body := whom(req)
		return nil, svc.SendCluster(ctx, cluster, service, id, method, body)
	})
	svc.RegisterSvcHandler("Tick", func(ctx context.Context, req any) (any, error) {
		cluster, service, id, method, body := whom(req)
		svc.RegisterTimer(func() {
			_ = svc.SendCluster(context.Background(), cluster, service, id, method, body)
		}, int64(number(req, "Millis")), int(number(req, "Times")))
		return nil, nil
	})
}

func run() error {
	name := flag.String("node", "go", "`NAME` of the cluster's node")
	addr := flag.String("addr", "127.0.0.1:0", "`HOST:PORT` to listen on")
	others := remotes{}
	flag.Var(others, "remote", "`NAME=HOST:PORT` of another node")
	flag.Parse()
	log.SetOutput(os.Stderr)
	config := saber.ServerConfig{ClusterName: *name, LocalAddr: *addr, RemoteAddrs: others, TickIntervalMs: 10}
	file := filepath.Join(os.TempDir(), fmt.Sprintf("trunkline-saber-%d.json", os.Getpid()))
	data, err := json.Marshal(config)
	if err != nil {
		return err
	}
	if err := os.WriteFile(file, data, 0o600); err != nil {
		return err
	}
	server, err := saber.NewServer(file)
	os.Remove(file)
	if err != nil {
		return err
	}
	services := map[string]func(*saber.Service){"Count/1": count}
	for id := 1; id <= 20; id++ {
		services[fmt.Sprintf("Relay/%d", id)] = relay
	}
	for id := 101; id <= 104; id++ {
		services[fmt.Sprintf("lobby/%d", id)] = lobby
	}
	for name, register := range services {
		var id uint32
		service, number, _ := strings.Cut(name, "/")
		fmt.Sscan(number, &id)
		svc, err := server.NewService(service, id)
		if err != nil {
			return err
		}
		register(svc)
	}
	fmt.Printf("ready %s\n", *addr)
	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM)
	end := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		close(end)
	}()
	select {
	case <-term:
	case <-end:
	}
	// The module's own stop waits for services that may never end.
	os.Exit(0)
	return nil
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "node:", err)
		os.Exit(1)
	}
}
