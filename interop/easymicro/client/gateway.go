package main

// easymicro's HTTP gateway: a call in Easymicro headers.

import (
	"fmt"
	"time"

	"github.com/masonchen2014/easymicro/share"

	"trunkline.test/interop/easymicro/msg"
	"trunkline.test/interop/stand"
)

const mulBody = `{"A":10,"B":20}`

var gatewayHead = meta{"Easymicro-Version": "0", "Easymicro-MessageID": "12345", "Easymicro-SerializeType": "1"}

func gate(method, path, body string, more ...string) (*stand.Answer, error) {
	return stand.HTTP(method, flags.Addr, path, stand.Headers(gatewayHead, more...), body)
}

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
func gateFails(path, body string, status int, text string, more ...string) error {
	return gateWant("POST", path, body, more, status, "", "Easymicro-MessageStatusType", "Error", "Easymicro-ErrorMessage", text)
}

func gatewayCases() []stand.Case { return append(gatewayCalls(), gatewayFailures()...) }

func gatewayCalls() []stand.Case {
	repeated := func(service, method string) []string {
		return []string{
			"Easymicro-MessageID", "12345", "Easymicro-SerializeType", "1", "Easymicro-Version", "0",
			"Easymicro-ServicePath", service, "Easymicro-ServiceMethod", method,
		}
	}
	return []stand.Case{
		{Name: "gateway-call", Run: func() error {
			return stand.First(
				gateWant("POST", "/Arith/Mul", mulBody, nil, 200, `{"C":200}`, repeated("Arith", "Mul")...),
				gateWant("GET", "/arith/mul", mulBody, nil, 200, `{"C":200}`, repeated("arith", "mul")...))
		}},
		{Name: "gateway-codecs", Run: func() error {
			for _, c := range codecs {
				codec := share.Codecs[c.st]
				body, err := codec.Encode(&msg.Args{A: 6, B: 7})
				if err != nil {
					return err
				}
				a, err := gate("POST", "/Arith/Mul", string(body), "Easymicro-SerializeType", fmt.Sprint(int(c.st)))
				if err != nil {
					return err
				}
				r := &msg.Reply{}
				if err := codec.Decode([]byte(a.Body), r); err != nil || r.C != 42 || a.Status != 200 {
					return fmt.Errorf("%s: status %d, body %q, C %d (%v)", c.name, a.Status, a.Body, r.C, err)
				}
			}
			return nil
		}},
		{Name: "gateway-raw", Run: func() error {
			r := flags.Rand("gateway-raw")
			for _, n := range append(stand.Sizes, int(flags.BodyLimit)) {
				body := string(stand.Body(r, n))
				if err := gateWant("POST", "/Echo/Owned", body, []string{"Easymicro-SerializeType", "0"}, 200, body); err != nil {
					return fmt.Errorf("%d bytes: %w", n, err)
				}
			}
			return nil
		}},
		{Name: "gateway-meta", Run: func() error {
			a, err := gate("POST", "/Meta/Echo", "{}", "Easymicro-Meta", "k=v&m=%C3%B6%E2%9C%93&empty=")
			if err != nil || a.Status != 200 {
				return fmt.Errorf("%+v (%v)", a, err)
			}
			return a.WantMeta("Easymicro-Meta", meta{"k": "v", "m": "ö✓", "empty": ""})
		}},
	}
}

func gatewayFailures() []stand.Case {
	return []stand.Case{
		{Name: "gateway-failed-call", Run: func() error {
			return stand.First(
				gateFails("/Fault/Fail", `{"Message":"größer: 10"}`, 500, "größer: 10"),
				gateFails("/Arith/Div", `{"A":1,"B":0}`, 500, "divide by zero"),
				gateFails("/Nope/Mul", mulBody, 500, "easymicro: can't find service nope"),
				gateFails("/Arith/Nope", mulBody, 500, "easymicro: can't find method nope"))
		}},
		{Name: "gateway-bad-header", Run: func() error {
			return stand.First(
				gateFails("/Arith/Mul", mulBody, 400, "empty serialized type", "Easymicro-SerializeType", "-"),
				gateFails("/Arith/Mul", mulBody, 400, "invalid serialized type", "Easymicro-SerializeType", "x"),
				gateFails("/Arith/Mul", mulBody, 400, "invalid message id", "Easymicro-MessageID", "x"),
				gateFails("/Arith/Mul", mulBody, 400, "invalid message id", "Easymicro-MessageID", "-"))
		}},
		{Name: "gateway-path-and-method", Run: func() error {
			path, err := gate("POST", "/Arith", mulBody)
			if err != nil || path.Status != 404 {
				return fmt.Errorf("a path of one part: %+v (%v)", path, err)
			}
			put, err := gate("PUT", "/Arith/Mul", mulBody)
			if err != nil || put.Status != 405 {
				return fmt.Errorf("PUT: %+v (%v)", put, err)
			}
			return nil
		}},
		{Name: "gateway-one-way", Run: func() error {
			before, err := stats()
			if err != nil {
				return err
			}
			if err := gateWant("POST", "/Slow/Sleep", `{"Millis":1}`, []string{"Easymicro-Oneway", "1"}, 200, ""); err != nil {
				return err
			}
			return stand.Poll(3*time.Second, "the one-way sleep was done", func() (bool, error) {
				now, err := stats()
				return now.Completed > before.Completed, err
			})
		}},
	}
}
