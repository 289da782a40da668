// net/http of Go's standard library: a POST of the body, on a connection for each call in flight, as HTTP/1.1 has it.
package main

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"

	"trunkline.test/bench/peer"
)

const path = "/Echo/Echo"

func serve(ln net.Listener) error {
	mux := http.NewServeMux()
	mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		w.Write(body)
	})
	return http.Serve(ln, mux)
}

func connect(addr string) (peer.Echo, error) {
	client := &http.Client{Transport: &http.Transport{MaxConnsPerHost: 1}}
	url := "http://" + addr + path
	return func(body []byte) (int, error) {
		answer, err := client.Post(url, "application/octet-stream", bytes.NewReader(body))
		if err != nil {
			return 0, err
		}
		defer answer.Body.Close()
		back, err := io.ReadAll(answer.Body)
		if err == nil && answer.StatusCode != http.StatusOK {
			err = fmt.Errorf("status %d", answer.StatusCode)
		}
		return len(back), err
	}, nil
}

func main() { peer.Main(peer.Framework{Serve: serve, Connect: connect, OneCall: true}) }
