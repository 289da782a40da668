package main

// An HTTP adapter in front of the server: the module's own, or the one that -web names.

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/rand"
	"net"
	"net/http"
	"net/url"
	"os"
	"sort"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/truexf/iip/httpadapter"

	"trunkline.test/interop/stand"
)

// overAdapter is what the module's adapter is known not to do; another one has to.
func overAdapter(id, why string) *stand.Difference {
	if webAddr != "" {
		return nil
	}
	return &stand.Difference{ID: id, Why: why}
}

func adapterCases() []stand.Case {
	return []stand.Case{
		{Name: "iip-adapter-json", Run: webJSON},
		{Name: "iip-adapter-bytes", Run: webBytes},
		{Name: "iip-adapter-generated-headers", Run: webHeaders},
		{Name: "iip-adapter-calls", Run: func() error {
			return adapted(func(web string) error {
				return stand.First(
					webWants(web, "POST", "/Arith/Mul", `{"A":6,"B":7}`, 200, `{"C":42}`),
					webWants(web, "POST", "/Arith/Mul?x=1&y=%20", `{"A":6,"B":7}`, 200, `{"C":42}`),
					webWants(web, "PUT", "/echo", "größer", 200, "größer"),
					webWants(web, "GET", "/echo?a=b", "", 200, "{}"),
					webWants(web, "POST", "/Arith/Div", `{"A":1,"B":0}`, 200, `{"code":-1,"message":"handler fail:divide by zero"}`),
					webWants(web, "POST", "/nope", "x", 200, `{"code":102,"message":"handle error"}`),
					webWants(web, "POST", "/echo?", strings.Repeat("x", 1<<20), 200, strings.Repeat("x", 1<<20)))
			})
		}},
		{Name: "iip-adapter-together", Run: func() error {
			return adapted(func(web string) error {
				var all sync.WaitGroup
				failed := make(chan error, 20)
				for n := 0; n < 20; n++ {
					all.Add(1)
					go func() {
						defer all.Done()
						for i := 0; i < 20; i++ {
							body := fmt.Sprintf("call %d of caller %d", i, n)
							if err := webWants(web, "POST", "/echo", body, 200, body); err != nil {
								failed <- err
								return
							}
						}
					}()
				}
				all.Wait()
				close(failed)
				return <-failed
			})
		}},
		{Name: "iip-adapter-timeout", Run: func() error {
			return adapted(func(web string) error {
				return stand.First(
					webWants(web, "POST", "/Slow/Sleep", `{"Millis":2500}`, 500, ""),
					webWants(web, "POST", "/Arith/Mul", `{"A":6,"B":7}`, 200, `{"C":42}`))
			})
		}},
		{Name: "iip-adapter-no-route", Run: func() error {
			return adapted(func(web string) error {
				// The adapter says so on stdout, where the cases are told of.
				out := os.Stdout
				os.Stdout = os.Stderr
				defer func() { os.Stdout = out }()
				_, port, err := net.SplitHostPort(web)
				if err != nil {
					return err
				}
				return webWants("localhost:"+port, "POST", "/echo", "x", 501, "")
			})
		}},
		{Name: "iip-adapter-headers", Run: func() error {
			return adapted(func(web string) error {
				return stand.First(
					headersSeen(web, "/headers", nil, map[string]string{"X-Tenant": "größer", "X-Empty": "", "Accept-Language": "de, en;q=0.5"}),
					headersSeen(web, "/headers?x=1", nil, map[string]string{"X-Tenant": "b"}))
			})
		}},
		{Name: "iip-adapter-forged", Run: func() error {
			return adapted(func(web string) error {
				forged := base64.URLEncoding.EncodeToString([]byte(`{"X-Tenant":["forged"],"X-Admin":["1"]}`))
				return headersSeen(web, "/headers?__http_hdr__="+forged, []string{"x-admin"}, map[string]string{"X-Tenant": "true"})
			})
		}, Go: &stand.Difference{ID: "I4", Why: "the headers that the request itself has put into its query win over the adapter's"}},
		{Name: "iip-adapter-large-headers", Run: func() error {
			return adapted(func(web string) error {
				r, err := stand.HTTP("POST", web, "/echo", map[string]string{"Cookie": strings.Repeat("x", 2048)}, "x")
				if err != nil {
					return err
				}
				if webAddr != "" {
					// Go's server reads a longer path than its client writes.
					return r.Want(200, "x")
				}
				// The caller is told what was too large, and not that the server is at fault.
				if r.Status != 431 && r.Status != 413 && r.Status != 400 {
					return fmt.Errorf("2 KiB of headers: status %d", r.Status)
				}
				return nil
			})
		}, Caller: overAdapter("I5", "headers of more than about 1.4 KB make the adapter close its connection to the server")},
	}
}

// webJSON calls with generated arguments, one request after the other.
func webJSON() error {
	return adapted(func(web string) error {
		r := flags.Rand("adapter-json")
		for i := 0; i < flags.N; i++ {
			a := stand.GenArgs(r)
			body := fmt.Sprintf(`{"A":%d,"B":%d}`, a.A, a.B)
			err := stand.First(
				webWants(web, "POST", "/Arith/Mul", body, 200, fmt.Sprintf(`{"C":%d}`, a.A*a.B)),
				webWants(web, "PUT", fmt.Sprintf("/Arith/Add?n=%d", i), body, 200, fmt.Sprintf(`{"C":%d}`, a.A+a.B)))
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// webBytes has generated bodies echoed, of any bytes, by any method, with generated queries.
func webBytes() error {
	methods := []string{"POST", "PUT", "PATCH", "DELETE"}
	return adapted(func(web string) error {
		r := flags.Rand("adapter-bytes")
		for i := 0; i < flags.N; i++ {
			body := make([]byte, 1+r.Intn(1<<uint(1+r.Intn(16))))
			r.Read(body)
			path := "/echo"
			if r.Intn(2) == 0 {
				path += "?" + url.Values{text(r): {text(r)}, "n": {fmt.Sprint(i), text(r)}}.Encode()
			}
			if err := webWants(web, methods[r.Intn(len(methods))], path, string(body), 200, string(body)); err != nil {
				return fmt.Errorf("request %d: %w", i, err)
			}
		}
		return nil
	})
}

// webHeaders has the service see generated headers.
func webHeaders() error {
	return adapted(func(web string) error {
		r := flags.Rand("adapter-headers")
		for i := 0; i < flags.N; i++ {
			headers := map[string]string{}
			for n := r.Intn(6); n >= 0; n-- {
				// Blanks around a value are no part of it, and what is no text is no header.
				headers[fmt.Sprintf("X-Test-%d", n)] = strings.TrimSpace(strings.Map(printable, text(r)))
			}
			path := "/headers"
			if r.Intn(2) == 0 {
				path += "?" + url.Values{"q": {text(r)}}.Encode()
			}
			if err := headersSeen(web, path, nil, headers); err != nil {
				return fmt.Errorf("request %d: %w", i, err)
			}
		}
		return nil
	})
}

func text(r *rand.Rand) string {
	all := make([]rune, r.Intn(30))
	for i := range all {
		all[i] = letters[r.Intn(len(letters))]
	}
	return string(all)
}

func printable(c rune) rune {
	if unicode.IsControl(c) {
		return -1
	}
	return c
}

// adapted starts an adapter that sends everything for 127.0.0.1 to the server, and to the one with /headers what that
// serves. Where -web names one that runs, that is taken.
func adapted(check func(web string) error) error {
	if webAddr != "" {
		return check(webAddr)
	}
	a, err := httpadapter.NewHttpAdapterServer("", "", "", 2*time.Second)
	if err != nil {
		return err
	}
	backend := func(addr string) httpadapter.IipBackendConfig {
		return httpadapter.IipBackendConfig{ServerList: addr + "#1", ServerKeepConns: 3, ServerMaxConns: 10}
	}
	err = stand.First(
		a.RegisterBackend("all", backend(flags.Addr)), a.RegisterBackend("own", backend(ownAddr)),
		a.PushRouteTail("127.0.0.1", "^/", "all"), a.PushRouteHead("127.0.0.1", "^/headers", "own"))
	if err != nil {
		return err
	}
	lsn, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return err
	}
	go http.Serve(lsn, a)
	defer func() {
		lsn.Close()
		a.RemoveBackend("all")
		a.RemoveBackend("own")
	}()
	return check(lsn.Addr().String())
}

func webWants(web, method, path, body string, status int, want string) error {
	a, err := stand.HTTP(method, web, path, nil, body)
	if err != nil {
		return err
	}
	if err := a.Want(status, want); err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	return nil
}

// headersSeen wants the service to see these headers (names without regard to case), and none of the others.
func headersSeen(web, path string, without []string, with map[string]string) error {
	a, err := stand.HTTP("POST", web, path, with, "x")
	if err != nil {
		return err
	}
	if a.Status != 200 {
		return fmt.Errorf("status %d", a.Status)
	}
	var got map[string][]string
	if err := json.Unmarshal([]byte(a.Body), &got); err != nil {
		return fmt.Errorf("%q: %w", short(a.Body), err)
	}
	seen := map[string]string{}
	for name, values := range got {
		seen[strings.ToLower(name)] = strings.Join(values, ",")
	}
	for name, value := range with {
		if got, ok := seen[strings.ToLower(name)]; !ok || got != value {
			return fmt.Errorf("header %s is %q, expected %q, in %s", name, got, value, short(a.Body))
		}
	}
	for _, name := range without {
		if got, ok := seen[name]; ok {
			return fmt.Errorf("header %s is there: %q", name, got)
		}
	}
	return nil
}

func sorted[V any](m map[string]V) []string {
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	sort.Strings(names)
	return names
}
