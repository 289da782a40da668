package main

// The sample services and the plain paths, as handlers of the module.

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/truexf/iip"

	"trunkline.test/interop/stand"
)

// handler is called at each frame with all the data so far.
type handler func(path string, query url.Values, data []byte, whole bool) ([]byte, error)

func (h handler) Handle(path string, query url.Values, data []byte, whole bool) ([]byte, error) {
	return h(path, query, data, whole)
}

// whole makes a handler that answers once all is there.
func whole(answer func(query url.Values, data []byte) ([]byte, error)) handler {
	return func(_ string, query url.Values, data []byte, whole bool) ([]byte, error) {
		if !whole {
			return nil, nil
		}
		return answer(query, data)
	}
}

// typed makes a handler of JSON.
func typed[A, R any](answer func(*A) (*R, error)) handler {
	return whole(func(_ url.Values, data []byte) ([]byte, error) {
		a := new(A)
		if err := json.Unmarshal(data, a); err != nil {
			return nil, err
		}
		r, err := answer(a)
		if err != nil {
			return nil, err
		}
		return json.Marshal(r)
	})
}

func arith(op func(a, b int64) (int64, error)) handler {
	return typed(func(a *stand.Args) (*stand.Reply, error) {
		c, err := op(a.A, a.B)
		return &stand.Reply{C: c}, err
	})
}

var running, completed atomic.Int64

func sleep(a *stand.Millis) (*stand.Slept, error) {
	running.Add(1)
	defer running.Add(-1)
	time.Sleep(time.Duration(a.Millis) * time.Millisecond)
	completed.Add(1)
	return &stand.Slept{Slept: a.Millis}, nil
}

// headers gives what an HTTP adapter, or a caller with metadata, has put into the query.
func headers(query url.Values, _ []byte) ([]byte, error) {
	all := map[string][]string{}
	if arg := query.Get(iip.ArgHttpHeader); arg != "" {
		h, err := iip.IIPArgToHttpHeader(arg)
		if err != nil {
			return nil, err
		}
		all = h
	}
	return json.Marshal(all)
}

func register(server *iip.Server, addr string) {
	echo := whole(func(_ url.Values, data []byte) ([]byte, error) { return data, nil })
	var calls atomic.Int64
	paths := map[string]handler{
		"/Arith/Mul": arith(stand.Mul), "/Arith/Add": arith(stand.Add), "/Arith/Div": arith(stand.Div),
		"/echo": echo, "/Echo/Echo": echo, "/Echo/Owned": echo,
		"/odd path/ü%41": echo, "/a/b/c": echo,
		"/Slow/Sleep": typed(sleep),
		"/Slow/Stats": typed(func(*stand.Empty) (*stand.Stats, error) {
			return &stand.Stats{Running: running.Load(), Completed: completed.Load()}, nil
		}),
		"/Fault/Fail":  typed(func(m *stand.Message) (*stand.Empty, error) { return nil, errors.New(m.Message) }),
		"/Fault/Panic": func(string, url.Values, []byte, bool) ([]byte, error) { panic("the text of the panic") },
		"/Fault/Big": typed(func(b *stand.Bytes) (*stand.Data, error) {
			return &stand.Data{Data: strings.Repeat("x", int(b.Bytes))}, nil
		}),
		"/headers":   whole(headers),
		"/Meta/Echo": whole(headers),
		"/query":     whole(func(query url.Values, _ []byte) ([]byte, error) { return json.Marshal(query) }),
		"/nothing":   whole(func(url.Values, []byte) ([]byte, error) { return nil, nil }),
		"/who":       whole(func(url.Values, []byte) ([]byte, error) { return []byte(addr), nil }),
		// As the module's echo example: it answers every frame, with an error before the last one.
		"/early": func(_ string, _ url.Values, data []byte, whole bool) ([]byte, error) {
			if !whole {
				return nil, iip.ErrPacketContinue
			}
			return data, nil
		},
		"/upper": whole(func(_ url.Values, data []byte) ([]byte, error) { return bytes.ToUpper(data), nil }),
		// How often it was called for this request, and with how much at the end.
		"/frames": func(_ string, _ url.Values, data []byte, whole bool) ([]byte, error) {
			n := calls.Add(1)
			if !whole {
				return nil, nil
			}
			calls.Store(0)
			return []byte(fmt.Sprintf("%d frames, %d bytes", n, len(data))), nil
		},
	}
	for path, h := range paths {
		server.RegisterHandler(path, h, nil)
	}
}
