package main

// JSON-RPC 2.0 on the same port.

import (
	"encoding/json"
	"fmt"
	"sort"
	"strings"
	"time"

	"trunkline.test/interop/stand"
)

type rpcAnswer struct {
	JSONRPC string          `json:"jsonrpc"`
	ID      json.RawMessage `json:"id"`
	Result  json.RawMessage `json:"result"`
	Error   *struct {
		Code    int    `json:"code"`
		Message string `json:"message"`
	} `json:"error"`
}

func request(method, params, id string) string {
	var b strings.Builder
	fmt.Fprintf(&b, `{"jsonrpc":"2.0","method":%q`, method)
	if params != "" {
		b.WriteString(`,"params":` + params)
	}
	if id != "" {
		b.WriteString(`,"id":` + id)
	}
	return b.String() + "}"
}

func post(body string, headers ...string) (*stand.Answer, error) {
	a, err := stand.HTTP("POST", flags.Addr, "/any/path", stand.Headers(meta{"X-JSONRPC-2.0": "true"}, headers...), body)
	if err == nil && a.Status != 200 {
		err = fmt.Errorf("status %d, body %q", a.Status, stand.OneLine(a.Body))
	}
	return a, err
}

// rpcWant wants a result, or where code is not 0 an error; an empty text stands for any message.
func rpcWant(body, id, result string, code int, text string) error {
	a, err := post(body)
	if err != nil {
		return fmt.Errorf("%s: %w", body, err)
	}
	var r rpcAnswer
	if err := json.Unmarshal([]byte(a.Body), &r); err != nil {
		return fmt.Errorf("%s: answered %q (%v)", body, a.Body, err)
	}
	return r.want(a.Body, id, result, code, text)
}

func (r *rpcAnswer) want(body, id, result string, code int, text string) error {
	bad := r.JSONRPC != "2.0" || (id != "" && string(r.ID) != id)
	if code == 0 {
		bad = bad || r.Error != nil || string(r.Result) != result
	} else {
		bad = bad || r.Error == nil || r.Result != nil || r.Error.Code != code || r.Error.Message == "" || (text != "" && r.Error.Message != text)
	}
	if bad {
		return fmt.Errorf("answered %q, expected id %s, result %s, code %d, message %q", stand.OneLine(body), id, result, code, text)
	}
	return nil
}

func jsonrpcCases() []stand.Case {
	differs := func(why string) *stand.Difference { return &stand.Difference{ID: "rpcx-jsonrpc", Why: why} }
	return []stand.Case{
		{Name: "jsonrpc-call", Run: func() error {
			return stand.First(
				rpcWant(request("Arith.Mul", mulBody, "1"), "1", `{"C":200}`, 0, ""),
				rpcWant(request("Arith.Mul", mulBody, `"text"`), `"text"`, `{"C":200}`, 0, ""))
		}},
		{Name: "jsonrpc-failed-call", Run: func() error {
			return stand.First(
				rpcWant(request("Fault.Fail", `{"Message":"größer"}`, "2"), "2", "", -32603, "größer"),
				rpcWant(request("Arith.Div", `{"A":1,"B":0}`, "3"), "3", "", -32603, "divide by zero"))
		}},
		{Name: "jsonrpc-no-dot", Run: func() error { return rpcWant(request("Mul", mulBody, "4"), "4", "", -32601, "") }},
		{Name: "jsonrpc-no-json", Run: func() error { return rpcWant("{", "", "", -32700, "") }},
		{Name: "jsonrpc-notification", Run: jsonrpcNotification},
		{Name: "jsonrpc-notified", Run: jsonrpcNotified, Go: differs("Go ends the handler's context with the HTTP answer")},
		{Name: "jsonrpc-unknown", Run: func() error {
			return stand.First(
				rpcWant(request("Arith.Nope", mulBody, "5"), "5", "", -32601, ""),
				rpcWant(request("Nope.Mul", mulBody, "6"), "6", "", -32601, ""))
		}, Go: differs("Go answers unknown names with -32603")},
		{Name: "jsonrpc-bad-params", Run: func() error {
			return stand.First(
				rpcWant(request("Arith.Mul", `{"A":"text"}`, "7"), "7", "", -32602, ""),
				rpcWant(request("Arith.Mul", `"text"`, "8"), "8", "", -32602, ""))
		}, Go: differs("Go answers params that do not fit with -32603")},
		{Name: "jsonrpc-no-params", Run: func() error {
			a, err := post(request("Arith.Mul", "", "9"))
			if err != nil {
				return err
			}
			var r rpcAnswer
			if err := json.Unmarshal([]byte(a.Body), &r); err != nil || string(r.ID) != "9" {
				return fmt.Errorf("answered %q (%v)", a.Body, err)
			}
			return nil
		}, Go: differs("Go breaks the connection of a call without params")},
		{Name: "jsonrpc-no-request", Run: func() error {
			return stand.First(
				rpcWant("[]", "", "", -32600, ""),
				rpcWant(`{"jsonrpc":"2.0","id":1}`, "", "", -32600, ""))
		}, Go: differs("Go knows no -32600")},
		{Name: "jsonrpc-batch", Run: jsonrpcBatch, Go: differs("Go takes no batches")},
		{Name: "jsonrpc-batch-notifications", Run: func() error {
			a, err := post("[" + request("Arith.Mul", mulBody, "") + "," + request("Nope.Nope", "{}", "") + "]")
			if err != nil {
				return err
			}
			return a.Want(200, "")
		}, Go: differs("Go takes no batches")},
	}
}

func jsonrpcNotification() error {
	for _, body := range []string{request("Arith.Mul", mulBody, ""), request("Fault.Fail", `{"Message":"x"}`, "")} {
		a, err := post(body)
		if err != nil {
			return err
		}
		if err := a.Want(200, ""); err != nil {
			return err
		}
	}
	return nil
}

// jsonrpcNotified: what was notified is done, though its answer is long gone.
func jsonrpcNotified() error {
	before, err := stats()
	if err != nil {
		return err
	}
	if _, err := post(request("Slow.Sleep", `{"Millis":50}`, "")); err != nil {
		return err
	}
	return stand.Poll(3*time.Second, "the notified sleep was done", func() (bool, error) {
		now, err := stats()
		return now.Completed > before.Completed, err
	})
}

func jsonrpcBatch() error {
	begin := time.Now()
	a, err := post("[" + strings.Join([]string{
		request("Arith.Mul", mulBody, "1"), request("Arith.Add", mulBody, `"b"`), request("Arith.Mul", mulBody, ""),
		request("Fault.Fail", `{"Message":"refused"}`, "3"), request("Slow.Sleep", `{"Millis":300}`, "4"),
		request("Slow.Sleep", `{"Millis":300}`, "5"), request("Slow.Sleep", `{"Millis":300}`, "6"), "17",
	}, ",") + "]")
	if err != nil {
		return err
	}
	if took := time.Since(begin); took > 800*time.Millisecond {
		return fmt.Errorf("three sleeps of 300 ms took %v: not side by side", took)
	}
	var all []rpcAnswer
	if err := json.Unmarshal([]byte(a.Body), &all); err != nil || len(all) != 7 {
		return fmt.Errorf("%d answers in %q, expected 7 (%v)", len(all), stand.OneLine(a.Body), err)
	}
	sort.Slice(all, func(i, j int) bool { return string(all[i].ID) < string(all[j].ID) })
	// By the bytes of their ids: "b", 1, 3, 4, 5, 6, null.
	return stand.First(
		all[0].want(a.Body, `"b"`, `{"C":30}`, 0, ""), all[1].want(a.Body, "1", `{"C":200}`, 0, ""),
		all[2].want(a.Body, "3", "", -32603, "refused"), all[3].want(a.Body, "4", `{"Slept":300}`, 0, ""),
		all[4].want(a.Body, "5", `{"Slept":300}`, 0, ""), all[5].want(a.Body, "6", `{"Slept":300}`, 0, ""),
		all[6].want(a.Body, "null", "", -32600, ""))
}

// authJSONRPC: the token in Authorization; a refused one is a failed call.
func authJSONRPC() error {
	body := request("Arith.Mul", mulBody, "1")
	good, err := post(body, "Authorization", "Bearer "+flags.Token)
	if err != nil {
		return err
	}
	var r rpcAnswer
	if err := json.Unmarshal([]byte(good.Body), &r); err != nil {
		return err
	}
	return stand.First(r.want(good.Body, "1", `{"C":200}`, 0, ""), rpcWant(body, "1", "", -32603, ""))
}
