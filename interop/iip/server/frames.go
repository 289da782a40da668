package main

// A server on the module's frames for what the module's own server cannot do: answers of several frames, requests that
// are answered as they come, an announced close.

import (
	"bytes"
	"fmt"
	"net"
	"net/url"
	"strconv"

	"github.com/truexf/iip"

	"trunkline.test/interop/iip/wire"
)

func serveFrames(lsn net.Listener) {
	for {
		c, err := lsn.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			(&streams{Conn: wire.New(c), open: map[uint32]bool{}}).serve()
		}()
	}
}

// streams is one connection. Requests are answered one after the other, frame by frame.
type streams struct {
	*wire.Conn
	granted uint32
	// open: the channels whose answer has begun.
	open map[uint32]bool
}

func (s *streams) serve() {
	for {
		p, err := s.Next(0)
		if err == nil {
			err = s.answer(p)
		}
		if err != nil {
			return
		}
	}
}

// frame sends a part of an answer: its status follows from what was sent before on the channel.
func (s *streams) frame(p *iip.Packet, path, data string, last bool) error {
	status := iip.StatusS4
	if s.open[p.ChannelId] {
		status = iip.StatusS6
	}
	if last {
		status++
	}
	s.open[p.ChannelId] = !last
	return s.Send(status, path, p.ChannelId, data)
}

func (s *streams) answer(p *iip.Packet) error {
	last := p.Status == iip.StatusC1 || p.Status == iip.StatusC3
	u, err := url.Parse(p.Path)
	if err != nil {
		return err
	}
	n, _ := strconv.Atoi(u.Query().Get("n"))
	switch u.Path {
	case iip.PathNewChannel:
		s.granted++
		return s.frame(p, u.Path, fmt.Sprintf(`{"code":0,"channel_id":%d}`, s.granted), true)
	case "/upper":
		return s.frame(p, u.Path, string(bytes.ToUpper(p.Data)), last)
	case "/count":
		for i := 1; i <= n; i++ {
			if err := s.frame(p, u.Path, strconv.Itoa(i), i == n); err != nil {
				return err
			}
		}
		return nil
	case "/parts": // The request's data in n parts, over and over: large answers.
		for i := 1; i <= n; i++ {
			if err := s.frame(p, u.Path, string(p.Data), i == n); err != nil {
				return err
			}
		}
		return nil
	case "/cut": // Half an answer, and then the close.
		if err := s.frame(p, u.Path, "half", false); err != nil {
			return err
		}
		if err := s.Send(iip.Status8, "", 0, ""); err != nil {
			return err
		}
		return net.ErrClosed
	}
	if !last {
		return nil
	}
	return s.frame(p, u.Path, `{"code":102,"message":"handle error"}`, true)
}
