package main

// The system paths, with the module's JSON.

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/truexf/iip"

	"trunkline.test/interop/stand"
)

func systemCases() []stand.Case {
	return []stand.Case{
		{Name: "iip-sys-server-count", Run: func() error {
			return grows(func(c *iip.ClientChannel) (n iip.Count, err error) {
				return n, strict(c, iip.PathServerCountJson, "{}", &n)
			}, 0)
		}},
		{Name: "iip-sys-path-count", Run: func() error {
			return grows(func(c *iip.ClientChannel) (n iip.Count, err error) {
				return n, strict(c, iip.PathServerPathCountJson, "/Echo/Owned", &n)
			}, len("\x05/Echo/Owned\x00")+4+4+1000)
		}},
		{Name: "iip-sys-server-measure", Run: func() error { return measures(iip.PathServerMeasureJson, "{}", false) }},
		{Name: "iip-sys-path-measure", Run: func() error { return measures(iip.PathServerPathMeasureJson, "/Echo/Owned", true) }},
		{Name: "iip-sys-statis", Run: statis},
		{Name: "iip-sys-connection-statis", Run: connectionStatis},
		{Name: "iip-sys-unknown-path", Run: func() error {
			return on(func(c *iip.ClientChannel) error {
				return stand.First(
					fails(c, iip.PathServerPathCountJson, "/not/there", -1, "handler fail:path [/sys/path_count] not support"),
					fails(c, iip.PathServerPathMeasureJson, "/not/there", -1, "handler fail:path [/sys/path_measure] not support"), works(c))
			})
		}},
	}
}

// strict reads an answer that has exactly the fields of v.
func strict(c *iip.ClientChannel, path, body string, v any) error {
	got, err := ask(c, path, body)
	if err != nil {
		return err
	}
	return exactly(path, got, v)
}

func exactly(what, got string, v any) error {
	d := json.NewDecoder(strings.NewReader(got))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return fmt.Errorf("%s: %q: %w", what, short(got), err)
	}
	// Fields that are not there would read as zeros.
	again, err := json.Marshal(v)
	if err != nil {
		return err
	}
	var a, b any
	if err := stand.First(json.Unmarshal([]byte(got), &a), json.Unmarshal(again, &b)); err != nil {
		return err
	}
	if keys(a) != keys(b) {
		return fmt.Errorf("%s: the fields are %s, expected %s", what, short(keys(a)), short(keys(b)))
	}
	return nil
}

// keys writes down which fields there are.
func keys(v any) string {
	switch v := v.(type) {
	case map[string]any:
		names := make([]string, 0, len(v))
		for _, name := range sorted(v) {
			names = append(names, name+":"+keys(v[name]))
		}
		return "{" + strings.Join(names, ",") + "}"
	case []any:
		if len(v) == 0 {
			return "[]"
		}
		return fmt.Sprintf("%d×%s", len(v), keys(v[0]))
	}
	return "-"
}

func echoes(c *iip.ClientChannel, count int) error {
	body := strings.Repeat("x", 1000)
	for i := 0; i < count; i++ {
		if err := wants(c, "/Echo/Owned", body, body); err != nil {
			return err
		}
	}
	return nil
}

// grows: 50 calls are counted. A frame's length is told where nobody else is counted with it.
func grows(count func(*iip.ClientChannel) (iip.Count, error), frame int) error {
	return on(func(c *iip.ClientChannel) error {
		before, err := count(c)
		if err != nil {
			return err
		}
		if err := echoes(c, 50); err != nil {
			return err
		}
		// Go counts the bytes when they are written, which may be after they are read.
		return stand.Poll(limit, fmt.Sprintf("50 calls are counted after %+v", before), func() (bool, error) {
			now, err := count(c)
			whole, sent, packets := now.WholePacketReceived-before.WholePacketReceived, now.WholePacketSent-before.WholePacketSent, now.PacketsSent-before.PacketsSent
			bytes := now.BytesSent - before.BytesSent
			if frame > 0 {
				return whole == 50 && sent == 50 && packets == 50 && bytes == int64(50*frame), err
			}
			return whole >= 50 && sent >= 50 && packets >= 50 && bytes >= 50_000, err
		})
	})
}

// measure is what the module's Measure is in JSON.
type measure struct {
	FiveMinuteRequests  []int64     `json:"five_minute_requests"`
	FiveMinuteDuration  []int64     `json:"five_minute_duration"`
	AllRequests         int64       `json:"all_requests"`
	AllDuration         int64       `json:"all_duration"`
	FiveMinuteTimeCount []timeCount `json:"five_minute_timecount"`
	AllTimeCount        timeCount   `json:"all_timecount"`
}

type timeCount struct {
	RangeCount []struct{ Duration, Count int64 } `json:"range_count"`
}

func (t *timeCount) sum() (n int64) {
	for _, r := range t.RangeCount {
		n += r.Count
	}
	return
}

func (m *measure) check() error {
	if len(m.FiveMinuteRequests) != 301 || len(m.FiveMinuteDuration) != 301 || len(m.FiveMinuteTimeCount) != 301 || len(m.AllTimeCount.RangeCount) != 8 {
		return errors.New("the lists are not 301 and 8 long")
	}
	var requests int64
	for i, n := range m.FiveMinuteRequests {
		requests += n
		if len(m.FiveMinuteTimeCount[i].RangeCount) != 8 {
			return errors.New("a second has not 8 ranges")
		}
	}
	if requests > m.AllRequests || m.AllTimeCount.sum() != m.AllRequests || m.AllRequests > 0 && m.AllDuration <= 0 {
		return fmt.Errorf("%d requests in five minutes, %d in all, %d in the ranges, %d ns", requests, m.AllRequests, m.AllTimeCount.sum(), m.AllDuration)
	}
	return nil
}

// measures: 50 calls are measured; exactly those where the path is ours alone.
func measures(path, body string, alone bool) error {
	return on(func(c *iip.ClientChannel) error {
		var before, after measure
		if err := stand.First(strict(c, path, body, &before), before.check(), echoes(c, 50)); err != nil {
			return err
		}
		return stand.Poll(limit, "50 calls are measured", func() (bool, error) {
			after = measure{}
			if err := strict(c, path, body, &after); err != nil {
				return false, err
			}
			more := after.AllRequests - before.AllRequests
			return more == 50 || more > 50 && !alone, after.check()
		})
	})
}

func statis() error {
	return on(func(c *iip.ClientChannel) error {
		if err := echoes(c, 1); err != nil {
			return err
		}
		for _, unit := range []string{`{"time_unit":"microsecond"}`, `{"time_unit":"millisecond"}`, `{"time_unit":"second"}`, `{"time_unit":"nanosecond"}`, "{}"} {
			got, err := ask(c, iip.PathServerStatis, unit)
			if err != nil {
				return err
			}
			for _, part := range []string{
				"total count: {", "total measure: \n", "/Echo/Owned count: {\"PacketsSent\":", "/Echo/Owned measure: \n",
				"5 minute requests     : ", "all requests          : ", ", average duration: ", "all timecount         : range1(",
			} {
				if !strings.Contains(got, part) {
					return fmt.Errorf("%s: %q is not in %d bytes %q", unit, part, len(got), short(got))
				}
			}
		}
		return nil
	})
}

// connectionStatis: this connection is among those that are told of, with its channels.
func connectionStatis() error {
	return withRaw(func(c *raw) error {
		if err := stand.First(c.grant(1), c.asks("/echo", 1, "x", "x"), c.Send(iip.StatusC1, iip.PathServerConnectionStatis, 0, "{}")); err != nil {
			return err
		}
		p, err := c.Next(limit)
		if err != nil {
			return err
		}
		all := map[string]json.RawMessage{}
		if err := json.Unmarshal(p.Data, &all); err != nil {
			return fmt.Errorf("%q: %w", short(string(p.Data)), err)
		}
		mine, ok := all[c.LocalAddr().String()]
		if !ok {
			return fmt.Errorf("%s is not in %q", c.LocalAddr(), short(string(p.Data)))
		}
		var s iip.ConnectionSatis
		if err := exactly("connection", string(mine), &s); err != nil {
			return err
		}
		if s.Count == nil || s.Count.PacketReceived < 0 || len(s.Channels) != 2 || s.Channels[1].Count == nil {
			return fmt.Errorf("%q", short(string(mine)))
		}
		if n := s.Channels[1].Count; n.PacketReceived != 1 || n.BytesReceived != int64(len("\x01/echo\x00")+4+4+1) || n.PacketsSent != 1 || n.WholePacketReceived != 1 {
			return fmt.Errorf("channel 1: %+v", *n)
		}
		return nil
	})
}
