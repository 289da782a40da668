package main

// rpcx's HTTP gateway: a call in X-RPCX headers, as Go programs and scripts send it.

import (
	"fmt"
	"strings"
	"time"

	"github.com/smallnest/rpcx/protocol"
	"github.com/smallnest/rpcx/share"

	"trunkline.test/interop/rpcx/msg"
	"trunkline.test/interop/stand"
)

const mulBody = `{"A":10,"B":20}`

var gatewayHead = meta{
	"X-RPCX-MessageID": "12345", "X-RPCX-MessageType": "0", "X-RPCX-SerializeType": "1",
	"X-RPCX-ServicePath": "Arith", "X-RPCX-ServiceMethod": "Mul",
}

// repeated are the headers that every answer to gatewayHead has.
var repeated = []string{
	"X-RPCX-MessageID", "12345", "X-RPCX-SerializeType", "1", "X-RPCX-ServicePath", "Arith", "X-RPCX-ServiceMethod", "Mul",
}

// gate sends gatewayHead with changes.
func gate(method, path, body string, more ...string) (*stand.Answer, error) {
	return stand.HTTP(method, flags.Addr, path, stand.Headers(gatewayHead, more...), body)
}

// gateWant sends and compares status, body and headers.
func gateWant(method, path, body string, more []string, status int, want string, headers ...string) error {
	a, err := gate(method, path, body, more...)
	if err != nil {
		return err
	}
	if err := a.Want(status, want, headers...); err != nil {
		return fmt.Errorf("%s %s with %v: %w", method, path, more, err)
	}
	return nil
}

// gateFails wants the gateway's own form of a failure: no body, the text in a header.
func gateFails(status int, text string, more ...string) error {
	return gateWant("POST", "/", mulBody, more, status, "", "X-RPCX-MessageStatusType", "Error", "X-RPCX-ErrorMessage", text)
}

func gatewayCases() []stand.Case {
	return []stand.Case{
		{Name: "gateway-call", Run: func() error {
			return stand.First(
				gateWant("POST", "/", mulBody, nil, 200, `{"C":200}`, repeated...),
				gateWant("GET", "/any/path", mulBody, nil, 200, `{"C":200}`, repeated...),
				gateWant("PUT", "/Arith", mulBody, []string{"X-RPCX-ServicePath", "-"}, 200, `{"C":200}`, repeated...),
				gateWant("POST", "/", mulBody, []string{"X-RPCX-MessageID", "-"}, 200, `{"C":200}`),
				gateWant("POST", "/", mulBody, []string{"X-RPCX-Heartbeat", "1"}, 200, `{"C":200}`),
				gateWant("POST", "/", mulBody, []string{"X-RPCX-Version", "0"}, 200, `{"C":200}`, "X-RPCX-Version", "0"))
		}},
		{Name: "gateway-codecs", Run: gatewayCodecs},
		{Name: "gateway-raw", Run: gatewayRaw},
		{Name: "gateway-meta", Run: func() error {
			want := meta{"k": "v", "m": "ö✓", "empty": ""}
			a, err := gate("POST", "/", "{}", "X-RPCX-ServicePath", "Meta", "X-RPCX-ServiceMethod", "Echo", "X-RPCX-Meta", "k=v&m=%C3%B6%E2%9C%93&empty=")
			if err != nil || a.Status != 200 {
				return fmt.Errorf("%+v (%v)", a, err)
			}
			return a.WantMeta("X-RPCX-Meta", want)
		}},
		{Name: "gateway-failed-call", Run: func() error {
			fail := []string{"X-RPCX-ServicePath", "Fault", "X-RPCX-ServiceMethod", "Fail"}
			return stand.First(
				gateWant("POST", "/", `{"Message":"größer: 10"}`, fail, 500, "", "X-RPCX-MessageStatusType", "Error", "X-RPCX-ErrorMessage", "größer: 10", "X-RPCX-MessageID", "12345"),
				gateFails(500, "rpcx: can't find service Nope", "X-RPCX-ServicePath", "Nope"),
				gateFails(500, "rpcx: can't find method Nope", "X-RPCX-ServiceMethod", "Nope"),
				gateWant("POST", "/", `{"A":1,"B":0}`, []string{"X-RPCX-ServiceMethod", "Div"}, 500, "", "X-RPCX-ErrorMessage", "divide by zero"))
		}},
		{Name: "gateway-bad-header", Run: func() error {
			return stand.First(
				gateFails(200, "empty serialized type", "X-RPCX-SerializeType", "-"),
				gateFails(200, "empty servicemethod", "X-RPCX-ServiceMethod", "-"),
				gateFails(200, "empty servicepath", "X-RPCX-ServicePath", "-"),
				gateFails(200, `strconv.ParseUint: parsing "x": invalid syntax`, "X-RPCX-MessageID", "x"))
		}},
		{Name: "gateway-method", Run: func() error {
			a, err := gate("DELETE", "/Arith", mulBody)
			if err != nil || a.Status != 405 {
				return fmt.Errorf("%+v (%v)", a, err)
			}
			return nil
		}},
		{Name: "gateway-one-way", Run: gatewayOneWay},
		{Name: "gateway-over-limit", Run: func() error {
			a, err := gate("POST", "/", strings.Repeat("x", int(flags.BodyLimit)+1), "X-RPCX-ServicePath", "Echo", "X-RPCX-ServiceMethod", "Owned", "X-RPCX-SerializeType", "0")
			if err != nil {
				return err
			}
			if a.Status != 413 && a.Header.Get("X-RPCX-MessageStatusType") != "Error" {
				return fmt.Errorf("status %d and a body of %d", a.Status, len(a.Body))
			}
			return nil
		}, Go: noLimit},
	}
}

func gatewayCodecs() error {
	for _, c := range codecs {
		codec := share.Codecs[c.st]
		body, err := codec.Encode(&msg.Args{A: 6, B: 7})
		if err != nil {
			return err
		}
		a, err := gate("POST", "/", string(body), "X-RPCX-SerializeType", fmt.Sprint(int(c.st)))
		if err != nil {
			return err
		}
		r := &msg.Reply{}
		if err := codec.Decode([]byte(a.Body), r); err != nil || r.C != 42 || a.Status != 200 {
			return fmt.Errorf("%s: status %d, body %q, C %d (%v)", c.name, a.Status, a.Body, r.C, err)
		}
	}
	return nil
}

func gatewayRaw() error {
	r := flags.Rand("gateway-raw")
	for _, n := range append(stand.Sizes, int(flags.BodyLimit)) {
		body := string(stand.Body(r, n))
		for _, method := range []string{"Echo", "Owned"} {
			more := []string{"X-RPCX-ServicePath", "Echo", "X-RPCX-ServiceMethod", method, "X-RPCX-SerializeType", fmt.Sprint(int(protocol.SerializeNone))}
			if err := gateWant("POST", "/", body, more, 200, body); err != nil {
				return fmt.Errorf("%d bytes: %w", n, err)
			}
		}
	}
	return nil
}

func gatewayOneWay() error {
	before, err := stats()
	if err != nil {
		return err
	}
	more := []string{"X-RPCX-Oneway", "1", "X-RPCX-ServicePath", "Slow", "X-RPCX-ServiceMethod", "Sleep"}
	if err := gateWant("POST", "/", `{"Millis":1}`, more, 200, ""); err != nil {
		return err
	}
	return stand.Poll(3*time.Second, "the one-way sleep was done", func() (bool, error) {
		now, err := stats()
		return now.Completed > before.Completed, err
	})
}

// authHTTP: the rpcx form with a token in Authorization.
func authHTTP() error {
	return stand.First(
		gateWant("POST", "/", mulBody, []string{"Authorization", "Bearer " + flags.Token}, 200, `{"C":200}`, repeated...),
		refused("Authorization", "Bearer not "+flags.Token),
		refused())
}

func refused(more ...string) error {
	a, err := gate("POST", "/", mulBody, more...)
	if err != nil {
		return err
	}
	if a.Header.Get("X-RPCX-ErrorMessage") == "" {
		return fmt.Errorf("no X-RPCX-ErrorMessage in %v", a.Header)
	}
	return a.Want(401, "", "X-RPCX-MessageStatusType", "Error")
}
