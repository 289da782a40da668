// The Go IIP client of the interop suite: named cases against a server with the sample services.
//
//	client -addr HOST:PORT [-own-addr HOST:PORT] [-web HOST:PORT] [-case NAME] [-seed N] [-n 200]
//	       [-body-limit 4194304] [-peer trunkline|go] [-long]
//
// -own-addr is a server with the path /headers, where that is another one. With a body limit of 16 MiB only the cases
// run that need it; with -web, an HTTP adapter in front of the server, only those of adapters, through that one. One line for each case: `ok NAME`, `FAIL NAME: why` or `expected NAME: ID why`; code 1 if any
// failed.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/truexf/iip"

	"trunkline.test/interop/stand"
)

// limit bounds what has to happen soon.
const limit = 10 * time.Second

var (
	flags            *stand.Flags
	ownAddr, webAddr string
)

// config has queues that hold what the cases have outstanding.
func config() iip.ClientConfig {
	return iip.ClientConfig{
		MaxConnections: 100, MaxChannelsPerConn: 100, ChannelPacketQueueLen: 2000, TcpWriteQueueLen: 2000,
		TcpReadBufferSize: 1 << 16, TcpWriteBufferSize: 1 << 16, TcpConnectTimeout: 3 * time.Second,
	}
}

// with opens a client for a check.
func with(check func(*iip.Client) error) error { return withConfig(config(), check) }

func withConfig(c iip.ClientConfig, check func(*iip.Client) error) error {
	client, err := iip.NewClient(c, flags.Addr, nil)
	if err != nil {
		return err
	}
	defer client.Close()
	return check(client)
}

// on opens one channel for a check.
func on(check func(*iip.ClientChannel) error) error {
	return with(func(client *iip.Client) error {
		c, err := client.NewChannel()
		if err != nil {
			return err
		}
		return check(c)
	})
}

func ask(c *iip.ClientChannel, path, body string) (string, error) {
	data, err := c.DoRequest(path, iip.NewDefaultRequest([]byte(body)), limit)
	if err != nil {
		return "", fmt.Errorf("%s: %w", stand.OneLine(path), err)
	}
	return string(data), nil
}

// wants compares an answer to the byte.
func wants(c *iip.ClientChannel, path, body, want string) error {
	got, err := ask(c, path, body)
	if err != nil {
		return err
	}
	return same(path, got, want)
}

func same(what, got, want string) error {
	if got != want {
		return fmt.Errorf("%s: %d bytes %q, expected %d bytes %q", stand.OneLine(what), len(got), short(got), len(want), short(want))
	}
	return nil
}

func short(s string) string {
	if len(s) > 80 {
		s = s[:80] + "…"
	}
	return s
}

// works proves that a channel goes on.
func works(c *iip.ClientChannel) error {
	if err := wants(c, "/Arith/Mul", `{"A":6,"B":7}`, `{"C":42}`); err != nil {
		return fmt.Errorf("the channel does not go on: %w", err)
	}
	return nil
}

// failure is an error as the wire has it: data.
type failure struct {
	Code    *int    `json:"code"`
	Message *string `json:"message"`
}

// fails wants a failure with this code and text; a text that ends in … is the beginning of it.
func fails(c *iip.ClientChannel, path, body string, code int, text string) error {
	got, err := ask(c, path, body)
	if err != nil {
		return err
	}
	return isFailure(path, got, code, text)
}

func isFailure(what, got string, code int, text string) error {
	var f failure
	if err := json.Unmarshal([]byte(got), &f); err != nil || f.Code == nil || f.Message == nil {
		return fmt.Errorf("%s: %q is no failure", what, short(got))
	}
	begin, open := strings.CutSuffix(text, "…")
	if *f.Code != code || *f.Message != text && !(open && strings.HasPrefix(*f.Message, begin)) {
		return fmt.Errorf("%s: %d %q, expected %d %q", what, *f.Code, short(*f.Message), code, short(text))
	}
	return nil
}

func stats() (s stand.Stats, err error) {
	err = on(func(c *iip.ClientChannel) error {
		got, err := ask(c, "/Slow/Stats", "{}")
		if err != nil {
			return err
		}
		return json.Unmarshal([]byte(got), &s)
	})
	return
}

func main() {
	flag.StringVar(&ownAddr, "own-addr", "", "where /headers is served (default: -addr)")
	flag.StringVar(&webAddr, "web", "", "an HTTP adapter in front of -addr, which the adapter cases use")
	flags = stand.Parse()
	if ownAddr == "" {
		ownAddr = flags.Addr
	}
	iip.LogClosing = false
	groups := [][]stand.Case{callCases(), channelCases(), streamCases(), systemCases(), balanceCases(), adapterCases(), fileCases()}
	if flags.BodyLimit == int64(iip.MaxPacketSize) {
		groups = [][]stand.Case{largeCases()}
	}
	if webAddr != "" {
		groups = [][]stand.Case{adapterCases()}
	}
	var cases []stand.Case
	for _, group := range groups {
		cases = append(cases, group...)
	}
	os.Exit(flags.Run(cases))
}
