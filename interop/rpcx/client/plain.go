package main

// Plain HTTP as STAND has it: POST /Service/Method with JSON. Go's gateway has no such form.

import (
	"encoding/json"
	"fmt"
	"strings"

	"trunkline.test/interop/stand"
)

var noPlain = &stand.Difference{ID: "rpcx-plain", Why: "Go's gateway wants X-RPCX headers"}

func plain(method, path, body string, headers ...string) (*stand.Answer, error) {
	return stand.HTTP(method, flags.Addr, path, stand.Headers(meta{"Content-Type": "application/json"}, headers...), body)
}

func plainWant(path, body string, status int, want string, headers ...string) error {
	a, err := plain("POST", path, body, headers...)
	if err != nil {
		return err
	}
	if err := a.Want(status, want); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// plainFails wants {"error":{"code":…,"message":…}}; an empty message stands for any text that is not empty.
func plainFails(path, body string, status int, message string, headers ...string) error {
	a, err := plain("POST", path, body, headers...)
	if err != nil {
		return err
	}
	var e struct {
		Error *struct {
			Code    any
			Message string
		}
	}
	if err := json.Unmarshal([]byte(a.Body), &e); err != nil || e.Error == nil || e.Error.Code == nil || e.Error.Message == "" {
		return fmt.Errorf("%s: status %d, body %q is no error object (%v)", path, a.Status, stand.OneLine(a.Body), err)
	}
	if a.Status != status || (message != "" && e.Error.Message != message) {
		return fmt.Errorf("%s: status %d and message %q, expected %d and %q", path, a.Status, e.Error.Message, status, message)
	}
	return nil
}

func plainCases() []stand.Case {
	cases := append(plainCalls(), plainBodies()...)
	for i := range cases {
		cases[i].Go = noPlain
	}
	return cases
}

func plainCalls() []stand.Case {
	return []stand.Case{
		{Name: "plain-call", Run: func() error {
			return stand.First(
				plainWant("/Arith/Mul", mulBody, 200, `{"C":200}`),
				plainWant("/arith/add", mulBody, 200, `{"C":30}`))
		}},
		{Name: "plain-generated", Run: func() error {
			r := flags.Rand("plain")
			for i := 0; i < flags.N; i++ {
				a := stand.GenArgs(r)
				body := fmt.Sprintf(`{"A":%d,"B":%d}`, a.A, a.B)
				if err := plainWant("/Arith/Mul", body, 200, fmt.Sprintf(`{"C":%d}`, a.A*a.B)); err != nil {
					return err
				}
			}
			return nil
		}},
		{Name: "plain-statuses", Run: func() error {
			return stand.First(
				plainFails("/Nope/Mul", mulBody, 404, "rpcx: can't find service Nope"),
				plainFails("/Arith/Nope", mulBody, 404, "rpcx: can't find method Nope"),
				plainFails("/Arith/Mul", `{"A":`, 400, ""),
				plainFails("/Arith/Mul", `{"A":"text"}`, 400, ""),
				plainFails("/Arith/Div", `{"A":1,"B":0}`, 500, "divide by zero"),
				plainFails("/Fault/Fail", `{"Message":"größer"}`, 500, "größer"),
				plainFails("/Fault/Panic", `{}`, 500, ""))
		}},
		{Name: "plain-method", Run: func() error {
			a, err := plain("DELETE", "/Arith/Mul", mulBody)
			if err != nil || a.Status != 405 || !strings.Contains(a.Body, `"error"`) {
				return fmt.Errorf("%+v (%v)", a, err)
			}
			return nil
		}},
		{Name: "plain-timeout", Run: func() error {
			return cancelledBy(func() error {
				return stand.First(
					plainFails("/Slow/Sleep", `{"Millis":8000}`, 504, "", "X-Timeout", "100ms"),
					plainFails("/Slow/Sleep", `{"Millis":1}`, 400, "", "X-Timeout", "soon"),
					plainWant("/Arith/Mul", mulBody, 200, `{"C":200}`, "X-Timeout", "5s"))
			})
		}},
	}
}

func plainBodies() []stand.Case {
	return []stand.Case{
		{Name: "plain-over-limit", Run: func() error {
			over := strings.Repeat("x", int(flags.BodyLimit)+1)
			return stand.First(
				plainFails("/Echo/Owned", over, 413, ""),
				plainWant("/Echo/Owned", over[1:], 200, over[1:]),
				plainFails("/Echo/Echo", over, 413, ""))
		}},
		{Name: "plain-echo", Run: func() error {
			r := flags.Rand("plain-echo")
			for _, n := range stand.Sizes {
				for _, path := range []string{"/Echo/Echo", "/Echo/Owned"} {
					body := string(stand.Body(r, n))
					if err := plainWant(path, body, 200, body, "Content-Type", "text/x-anything"); err != nil {
						return fmt.Errorf("%d bytes: %w", n, err)
					}
				}
			}
			return nil
		}},
		{Name: "plain-meta", Run: func() error {
			a, err := plain("POST", "/Meta/Echo", "{}", "X-RPCX-Meta", "k=v&m=%C3%B6&empty=")
			if err != nil || a.Status != 200 {
				return fmt.Errorf("%+v (%v)", a, err)
			}
			return a.WantMeta("X-RPCX-Meta", meta{"k": "v", "m": "ö", "empty": ""})
		}},
		{Name: "plain-index", Run: func() error {
			a, err := plain("GET", "/", "")
			if err != nil {
				return err
			}
			for _, name := range []string{"Arith", "Echo", "Slow"} {
				if a.Status != 200 || !strings.Contains(a.Body, name) {
					return fmt.Errorf("status %d, %q does not name %s", a.Status, stand.OneLine(a.Body), name)
				}
			}
			return nil
		}},
	}
}

func authPlain() error {
	return stand.First(
		plainWant("/Arith/Mul", mulBody, 200, `{"C":200}`, "Authorization", "Bearer "+flags.Token),
		plainFails("/Arith/Mul", mulBody, 401, "", "Authorization", "Bearer not "+flags.Token),
		plainFails("/Arith/Mul", mulBody, 401, ""))
}
