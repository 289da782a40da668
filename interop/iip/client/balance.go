package main

// The load-balancing client.

import (
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/truexf/iip"

	"trunkline.test/interop/stand"
)

func balanceCases() []stand.Case {
	return []stand.Case{
		{Name: "iip-lb", Run: func() error {
			return balanced(flags.Addr+"#3,"+flags.Addr+"#1", func(lb *iip.LoadBalanceClient) error {
				// Its connections are opened one by one: where a server has a weight, calls that open them together trip
				// over each other.
				return stand.First(together(lb, 32, 1), together(lb, 400, 20))
			})
		}},
		{Name: "iip-lb-methods", Run: balanceMethods},
		{Name: "iip-lb-dead", Run: deadBackend,
			Caller: &stand.Difference{ID: "iip-lb-pause", Why: "a server that was never connected to is not paused: its share of the calls fails"}},
		{Name: "iip-lb-timeout", Run: balanceTimeout,
			Caller: &stand.Difference{ID: "I13", Why: "a timeout closes the connection, and the calls beside it wait for their own"}},
		{Name: "iip-lb-after-timeout", Run: func() error {
			return balanced(flags.Addr+"#1", func(lb *iip.LoadBalanceClient) error {
				for i := 0; i < 4; i++ {
					if _, err := lb.DoRequest("/Slow/Sleep", iip.NewDefaultRequest([]byte(`{"Millis":300}`)), 30*time.Millisecond); err == nil {
						return fmt.Errorf("a sleep of 300 ms ended within 30 ms")
					}
					if err := lbWants(lb, "/echo", "next"); err != nil {
						return err
					}
				}
				return together(lb, 100, 10)
			})
		}},
	}
}

func balanced(servers string, check func(*iip.LoadBalanceClient) error) error {
	lb, err := iip.NewLoadBalanceClient(4, 50, servers)
	if err != nil {
		return err
	}
	defer lb.CloseAll()
	return check(lb)
}

func lbWants(lb *iip.LoadBalanceClient, path, body string) error {
	got, err := lb.DoRequest(path, iip.NewDefaultRequest([]byte(body)), limit)
	if err != nil {
		return err
	}
	return same(path, string(got), body)
}

// together makes count calls in so many goroutines, each with a text of its own.
func together(lb *iip.LoadBalanceClient, count, callers int) error {
	var all sync.WaitGroup
	failed := make(chan error, callers)
	for n := 0; n < callers; n++ {
		all.Add(1)
		go func() {
			defer all.Done()
			for i := 0; i < count/callers; i++ {
				if err := lbWants(lb, "/echo", fmt.Sprintf("call %d of caller %d", i, n)); err != nil {
					failed <- err
					return
				}
			}
		}()
	}
	all.Wait()
	close(failed)
	return <-failed
}

// balanceMethods: all ways of picking, through the call that takes the client's address.
func balanceMethods() error {
	return balanced(flags.Addr+"#2,"+flags.Addr+"#1", func(lb *iip.LoadBalanceClient) error {
		// The first call makes the dictionary that expressions need.
		if err := lbWants(lb, "/echo", "first"); err != nil {
			return err
		}
		err := stand.First(lb.AddBackend(flags.Addr, "named", nil),
			lb.SetJsonExp([]byte(`{"LB_TARGET":[[["$LB_TARGET_SERVER","=","named"]]]}`)))
		if err != nil {
			return err
		}
		lb.SetBalanceParamKey("user")
		for _, method := range []iip.LoadBalanceMethod{
			iip.MethodRoundrobin, iip.MethodRandom, iip.MethodMinPending, iip.MethodIpHash, iip.MethodURIParam, iip.MethodJsonExp,
		} {
			lb.SetMethod(method)
			for i := 0; i < 20; i++ {
				body := fmt.Sprintf("method %d, call %d", method, i)
				got, err := lb.DoRequest2(fmt.Sprintf("10.0.0.%d", i), fmt.Sprintf("/echo?user=%d", i), iip.NewDefaultRequest([]byte(body)), limit)
				if err := stand.First(err, same("answer", string(got), body)); err != nil {
					return fmt.Errorf("method %d: %w", method, err)
				}
			}
		}
		return nil
	})
}

// deadBackend: where nobody listens at one of the addresses, the others answer once that is known.
func deadBackend() error {
	lsn, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return err
	}
	dead := lsn.Addr().String()
	lsn.Close()
	return balanced(flags.Addr+"#1,"+dead+"#1", func(lb *iip.LoadBalanceClient) error {
		failed := 0
		for i := 0; i < 100; i++ {
			if err := lbWants(lb, "/echo", "x"); err != nil {
				failed++
			}
		}
		if failed != 1 {
			return fmt.Errorf("%d of 100 calls failed, expected the one that found out", failed)
		}
		return nil
	})
}

// balanceTimeout: what is in flight beside a call that times out is answered.
func balanceTimeout() error {
	lb, err := iip.NewLoadBalanceClient(1, 1, flags.Addr+"#1")
	if err != nil {
		return err
	}
	defer lb.CloseAll()
	if err := lbWants(lb, "/echo", "first"); err != nil {
		return err
	}
	beside := make(chan error, 1)
	go func() {
		_, err := lb.DoRequest("/Slow/Sleep", iip.NewDefaultRequest([]byte(`{"Millis":600}`)), 3*time.Second)
		beside <- err
	}()
	if _, err := lb.DoRequest("/Slow/Sleep", iip.NewDefaultRequest([]byte(`{"Millis":5000}`)), 100*time.Millisecond); err == nil {
		return fmt.Errorf("a sleep of 5 s ended within 100 ms")
	}
	return <-beside
}
