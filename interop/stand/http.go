package stand

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Answer is an HTTP answer, read whole.
type Answer struct {
	Status int
	Header http.Header
	Body   string
}

// JSON-RPC has connections of its own: a Go server decides by the first request of a connection what all the others are.
var plainClient, rpcClient = newClient(), newClient()

func newClient() *http.Client {
	return &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{}}
}

// HTTP makes one request; the header names go out as they are spelled here.
func HTTP(method, addr, path string, header map[string]string, body string) (*Answer, error) {
	r, err := http.NewRequest(method, "http://"+addr+path, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	for k, v := range header {
		r.Header[k] = []string{v}
	}
	c := plainClient
	if header["X-JSONRPC-2.0"] != "" {
		c = rpcClient
	}
	res, err := c.Do(r)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	return &Answer{res.StatusCode, res.Header, string(b)}, err
}

// Want compares status, body and, in pairs of name and value, headers (names without regard to case).
func (a *Answer) Want(status int, body string, headers ...string) error {
	if a.Status != status || a.Body != body {
		return fmt.Errorf("status %d and body %q, expected %d and %q", a.Status, OneLine(a.Body), status, OneLine(body))
	}
	for i := 0; i+1 < len(headers); i += 2 {
		if got := a.Header.Get(headers[i]); got != headers[i+1] {
			return fmt.Errorf("header %s is %q, expected %q", headers[i], got, headers[i+1])
		}
	}
	return nil
}

// WantMeta checks a header of URL-encoded pairs; other pairs may stand beside them.
func (a *Answer) WantMeta(name string, meta map[string]string) error {
	got, err := url.ParseQuery(a.Header.Get(name))
	if err != nil {
		return fmt.Errorf("header %s: %v", name, err)
	}
	for k, v := range meta {
		if len(got[k]) != 1 || got[k][0] != v {
			return fmt.Errorf("metadata %q is %q, expected %q", k, got[k], v)
		}
	}
	return nil
}

// Headers joins a base with pairs of name and value; the value "-" takes the name away.
func Headers(base map[string]string, more ...string) map[string]string {
	h := map[string]string{}
	for k, v := range base {
		h[k] = v
	}
	for i := 0; i+1 < len(more); i += 2 {
		if more[i+1] == "-" {
			delete(h, more[i])
		} else {
			h[more[i]] = more[i+1]
		}
	}
	return h
}

// First gives the first failure.
func First(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
