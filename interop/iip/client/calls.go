package main

// Calls one by one: generated messages, sizes, limits, paths and failures.

import (
	"encoding/json"
	"fmt"
	"math/rand"
	"strings"

	"github.com/truexf/iip"

	"trunkline.test/interop/stand"
)

var noLimit = &stand.Difference{ID: "iip-no-limit", Why: "Go's server has no limit of a body but the 16 MiB of a frame"}

func callCases() []stand.Case { return append(bodyCases(), nameCases()...) }

func bodyCases() []stand.Case {
	return []stand.Case{
		{Name: "iip-json", Run: generatedCalls},
		{Name: "iip-bytes", Run: func() error {
			r := flags.Rand("bytes")
			return on(func(c *iip.ClientChannel) error {
				for i := 0; i < flags.N; i++ {
					body := make([]byte, 1+r.Intn(1<<uint(1+r.Intn(16))))
					r.Read(body)
					if err := wants(c, []string{"/echo", "/Echo/Echo", "/Echo/Owned"}[i%3], string(body), string(body)); err != nil {
						return fmt.Errorf("message %d: %w", i, err)
					}
				}
				return nil
			})
		}},
		{Name: "iip-json-values", Run: func() error {
			r := flags.Rand("values")
			return on(func(c *iip.ClientChannel) error {
				for i := 0; i < flags.N; i++ {
					body, err := json.Marshal(value(r, 4))
					if err != nil {
						return err
					}
					if err := wants(c, "/echo", string(body), string(body)); err != nil {
						return fmt.Errorf("message %d: %w", i, err)
					}
				}
				return nil
			})
		}},
		{Name: "iip-sizes", Run: func() error { return sizes(append(stand.Sizes[1:], 14_000, int(flags.BodyLimit))) }},
		{Name: "iip-over-limit", Run: func() error {
			return on(func(c *iip.ClientChannel) error {
				over := strings.Repeat("x", int(flags.BodyLimit)+1)
				return stand.First(
					namesLimit(c, "/echo", over), namesLimit(c, "/Echo/Owned", over),
					namesLimit(c, "/Fault/Big", fmt.Sprintf(`{"Bytes":%d}`, flags.BodyLimit)), works(c))
			})
		}, Go: noLimit},
	}
}

func nameCases() []stand.Case {
	return []stand.Case{
		{Name: "iip-paths", Run: oddPaths},
		{Name: "iip-failures", Run: failures},
		{Name: "iip-unknown", Run: func() error {
			return on(func(c *iip.ClientChannel) error {
				for _, path := range []string{"/nope", "/Nope/Mul", "/Arith/Nope", "/Arith", "/", "/a/b/c/d", "/ECHO/", "/näme", "/sys/nope", "/sys/trunklin"} {
					if err := fails(c, path, "{}", 102, "handle error"); err != nil {
						return err
					}
				}
				return works(c)
			})
		}},
		{Name: "iip-empty-path", Run: func() error {
			return on(func(c *iip.ClientChannel) error {
				return stand.First(fails(c, "//", "{}", 102, "handle error"), works(c))
			})
		}, Go: &stand.Difference{ID: "iip-empty-path", Why: "an empty path cannot be answered, and the connection closes"}},
		{Name: "iip-encoded-path", Run: func() error {
			return on(func(c *iip.ClientChannel) error {
				for _, path := range []string{"/Arith/%4dul", "/%41rith/M%75l?x=%20", "/Arith%2FMul?x=%20"} {
					if err := wants(c, path, `{"A":6,"B":7}`, `{"C":42}`); err != nil {
						return err
					}
				}
				for _, path := range []string{"/Arith/%4eul", "/Arith/%254dul", "/%65cho%2f"} {
					if err := fails(c, path, "{}", 102, "handle error"); err != nil {
						return err
					}
				}
				return stand.First(wants(c, "/%65cho", "decoded", "decoded"), works(c))
			})
		}},
		{Name: "iip-panic", Run: func() error {
			return on(func(c *iip.ClientChannel) error {
				got, err := ask(c, "/Fault/Panic", "{}")
				if err != nil {
					return err
				}
				if isFailure("panic", got, 101, "…") != nil && isFailure("panic", got, -1, "handler fail:…") != nil {
					return fmt.Errorf("a panic is answered %q", short(got))
				}
				for _, leak := range []string{"text of the panic", "stack", ".rs", "src/"} {
					if strings.Contains(got, leak) {
						return fmt.Errorf("the caller sees %q in %q", leak, short(got))
					}
				}
				return works(c)
			})
		}},
		{Name: "iip-channel-zero", Run: func() error {
			return withRaw(func(c *raw) error {
				return stand.First(
					c.asks("/Arith/Mul", 0, `{"A":6,"B":7}`, `{"C":42}`),
					c.grant(1), c.asks("/echo", 1, "one", "one"),
					c.asks(iip.PathNewChannel, 1, "{}", `{"code":0,"channel_id":2}`), c.asks("/echo", 2, "two", "two"))
			})
		}},
	}
}

// largeCases need a server whose body limit is the wire's.
func largeCases() []stand.Case {
	return []stand.Case{
		{Name: "iip-16mib", Run: func() error { return sizes([]int{int(iip.MaxPacketSize) - 1, int(iip.MaxPacketSize)}) }},
		{Name: "iip-over-16mib", Run: func() error {
			return on(func(c *iip.ClientChannel) error {
				got, err := ask(c, "/Fault/Big", fmt.Sprintf(`{"Bytes":%d}`, iip.MaxPacketSize))
				if err != nil {
					return err
				}
				return stand.First(isFailure("over 16 MiB", got, -1, "handler fail:…"), works(c))
			})
		}, Go: &stand.Difference{ID: "I1", Why: "an answer of more than 16 MiB closes the connection"}},
	}
}

func generatedCalls() error {
	r := flags.Rand("json")
	return on(func(c *iip.ClientChannel) error {
		for i := 0; i < flags.N; i++ {
			a := stand.GenArgs(r)
			body := fmt.Sprintf(`{"A":%d,"B":%d}`, a.A, a.B)
			err := stand.First(
				wants(c, "/Arith/Mul", body, fmt.Sprintf(`{"C":%d}`, a.A*a.B)),
				wants(c, "/Arith/Add", body, fmt.Sprintf(`{"C":%d}`, a.A+a.B)))
			if err != nil {
				return err
			}
		}
		return nil
	})
}

var letters = []rune("aZ 0\"\\/\n\t\x00\x7fäß✓名😀<&")

// value is any JSON value.
func value(r *rand.Rand, depth int) any {
	kinds := 6
	if depth == 0 {
		kinds = 4
	}
	switch r.Intn(kinds) {
	case 0:
		return r.Int63() - r.Int63()
	case 1:
		return []any{nil, true, false}[r.Intn(3)]
	case 2:
		return r.NormFloat64()
	case 3:
		text := make([]rune, r.Intn(40))
		for i := range text {
			text[i] = letters[r.Intn(len(letters))]
		}
		return string(text)
	case 4:
		list := make([]any, r.Intn(5))
		for i := range list {
			list[i] = value(r, depth-1)
		}
		return list
	}
	object := map[string]any{}
	for i := r.Intn(5); i > 0; i-- {
		object[fmt.Sprintf("k%d ö", r.Intn(100))] = value(r, depth-1)
	}
	return object
}

func sizes(sizes []int) error {
	r := flags.Rand("sizes")
	return on(func(c *iip.ClientChannel) error {
		for _, n := range sizes {
			body := string(stand.Body(r, n))
			if err := stand.First(wants(c, "/echo", body, body), wants(c, "/Echo/Owned", body, body)); err != nil {
				return err
			}
		}
		return works(c)
	})
}

// namesLimit wants an error that names the limit, its value and the flag.
func namesLimit(c *iip.ClientChannel, path, body string) error {
	got, err := ask(c, path, body)
	if err != nil {
		return err
	}
	if err := isFailure(path, got, -1, "handler fail:…"); err != nil {
		return err
	}
	for _, part := range []string{fmt.Sprint(flags.BodyLimit), "--body-limit"} {
		if !strings.Contains(got, part) {
			return fmt.Errorf("%s: %q does not name %s", path, short(got), part)
		}
	}
	return nil
}

// oddPaths: queries and characters that change nothing of what is called.
func oddPaths() error {
	return on(func(c *iip.ClientChannel) error {
		for _, path := range []string{
			"/echo?", "/echo?x", "/echo?x=1&y=2", "/echo?q=%20%2F%3F%00", "/echo?q=ä✓名", `/echo?q="<>'{}|^`, "/echo?a=/b/c?d",
			"/echo?" + strings.Repeat("x", 2000), "/Echo/Echo?n=5", "/Echo/Owned?__http_hdr__=", "/Echo/Echo?__http_hdr__=no-base64!",
			"/echo?n=1&__trunkline=x",
		} {
			if err := wants(c, path, "as it is", "as it is"); err != nil {
				return err
			}
		}
		for _, path := range []string{"/Arith/Mul?", "/Arith/Mul?x=1"} {
			if err := wants(c, path, `{"A":6,"B":7}`, `{"C":42}`); err != nil {
				return err
			}
		}
		return works(c)
	})
}

func failures() error {
	return on(func(c *iip.ClientChannel) error {
		for _, text := range stand.ErrorTexts {
			body, err := json.Marshal(&stand.Message{Message: text})
			if err != nil {
				return err
			}
			if err := fails(c, "/Fault/Fail", string(body), -1, "handler fail:"+text); err != nil {
				return err
			}
		}
		return stand.First(
			fails(c, "/Arith/Div", `{"A":1,"B":0}`, -1, "handler fail:divide by zero"),
			fails(c, "/Arith/Mul", `{"A":`, -1, "handler fail:…"),
			fails(c, "/Arith/Mul", `{"A":"text"}`, -1, "handler fail:…"),
			works(c))
	})
}
