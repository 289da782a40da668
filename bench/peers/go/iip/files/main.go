// The file examples of the library, which do not compile as they are, without what they print: the same requests, sizes,
// buffers, and a file opened for each piece.
//
//	files server --listen ADDR --files DIR
//	files get|put ADDR NAME FILE
//
// The server's first line is `ready ADDR`. The others print one line, {"seconds":…}. All of them end with their standard
// input, so that what they took of the processor can be looked at.
package main

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/truexf/iip"
)

const (
	pathGet, pathPut = "/download_file", "/upload_file"
	pieceGet         = 10*1024 - 4
	piecePut         = 10 << 20
)

type download struct {
	TaskId           int64
	FilePath         string
	DownloadStartPos int
}

type upload struct {
	TaskId         int64
	FilePath       string
	UploadStartPos int
	Completed      bool
}

type uploaded struct{ TaskId, DoneBytes int64 }

type handler func(data []byte) ([]byte, error)

func (h handler) Handle(_ string, _ url.Values, data []byte, whole bool) ([]byte, error) {
	if !whole {
		return nil, nil
	}
	return h(data)
}

func serve(listen, dir string) error {
	server, err := iip.NewServer(iip.ServerConfig{
		MaxConnections: 1000, MaxChannelsPerConn: 10, ChannelPacketQueueLen: 1000, TcpWriteQueueLen: 1000,
		TcpReadBufferSize: 16 * 1024, TcpWriteBufferSize: 16 * 1024,
	}, listen, nil)
	if err != nil {
		return err
	}
	server.RegisterHandler(pathGet, handler(func(data []byte) ([]byte, error) { return give(dir, data) }), nil)
	server.RegisterHandler(pathPut, handler(func(data []byte) ([]byte, error) { return take(dir, data) }), nil)
	ln, err := net.Listen("tcp", listen)
	if err != nil {
		return err
	}
	if err := server.Serve(ln, false); err != nil {
		return err
	}
	fmt.Println("ready", ln.Addr())
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

func give(dir string, data []byte) ([]byte, error) {
	var ask download
	if err := json.Unmarshal(data, &ask); err != nil {
		return nil, err
	}
	fd, err := os.Open(filepath.Join(dir, filepath.Base(ask.FilePath)))
	if err != nil {
		return nil, err
	}
	defer fd.Close()
	fd.Seek(int64(ask.DownloadStartPos), io.SeekStart)
	buf := make([]byte, 4+pieceGet)
	n, err := fd.Read(buf[4:])
	if err != nil {
		binary.BigEndian.PutUint32(buf, 1)
		return buf[:4], nil
	}
	return buf[:4+n], nil
}

func take(dir string, data []byte) ([]byte, error) {
	if len(data) <= 4 {
		return nil, errors.New("invalid request")
	}
	n := binary.BigEndian.Uint32(data)
	var ask upload
	if err := json.Unmarshal(data[4:4+n], &ask); err != nil {
		return nil, err
	}
	flags := os.O_CREATE | os.O_APPEND | os.O_RDWR
	if ask.UploadStartPos == 0 {
		flags |= os.O_TRUNC
	}
	fd, err := os.OpenFile(filepath.Join(dir, filepath.Base(ask.FilePath)), flags, 0o666)
	if err != nil {
		return nil, err
	}
	defer fd.Close()
	done, err := fd.Write(data[4+n:])
	if err != nil {
		return nil, err
	}
	return json.Marshal(&uploaded{ask.TaskId, int64(done)})
}

// task is a transfer on its way: each answer makes the next request.
type task struct {
	channel    *iip.ClientChannel
	name, file string
	at         int
	last       bool
	done       chan error
}

// request keeps the bytes that are asked with.
type request struct {
	iip.DefaultContext
	data []byte
}

func (r *request) Data() []byte { return r.data }

func (t *task) Handle(path string, _ iip.Request, data []byte, whole bool) error {
	if !whole {
		return nil
	}
	end, err := false, error(nil)
	if path == pathGet {
		end, err = t.got(data)
	} else {
		end, err = t.sent(data)
	}
	if err == nil && !end {
		err = t.next(path)
	}
	if err != nil || end {
		t.done <- err
	}
	return err
}

func (t *task) next(path string) error {
	ask := t.askGet
	if path == pathPut {
		ask = t.askPut
	}
	data, err := ask()
	if err != nil {
		return err
	}
	return t.channel.DoStreamRequest(path, &request{data: data})
}

func (t *task) askGet() ([]byte, error) { return json.Marshal(&download{1, t.name, t.at}) }

func (t *task) got(data []byte) (bool, error) {
	if len(data) < 4 || data[0] == '{' {
		return false, fmt.Errorf("invalid response %q", data)
	}
	fd, err := os.OpenFile(t.file, os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o666)
	if err != nil {
		return false, err
	}
	defer fd.Close()
	if _, err := fd.Write(data[4:]); err != nil {
		return false, err
	}
	t.at += len(data) - 4
	return binary.BigEndian.Uint32(data) == 1, nil
}

func (t *task) askPut() ([]byte, error) {
	fd, err := os.Open(t.file)
	if err != nil {
		return nil, err
	}
	defer fd.Close()
	piece := make([]byte, piecePut)
	if _, err := fd.Seek(int64(t.at), io.SeekStart); err != nil {
		return nil, err
	}
	n, err := fd.Read(piece)
	if err != nil && err != io.EOF {
		return nil, err
	}
	t.last = err == io.EOF
	meta, err := json.Marshal(&upload{1, t.name, t.at, t.last})
	if err != nil {
		return nil, err
	}
	data := make([]byte, 4, 4+len(meta)+n)
	binary.BigEndian.PutUint32(data, uint32(len(meta)))
	return append(append(data, meta...), piece[:n]...), nil
}

func (t *task) sent(data []byte) (bool, error) {
	var done uploaded
	if err := json.Unmarshal(data, &done); err != nil || done.TaskId != 1 {
		return false, fmt.Errorf("invalid response %q", data)
	}
	t.at += int(done.DoneBytes)
	return t.last, nil
}

func transfer(path, addr, name, file string) error {
	begun := time.Now()
	client, err := iip.NewClient(iip.ClientConfig{
		MaxConnections: 1000, MaxChannelsPerConn: 10, ChannelPacketQueueLen: 1000, TcpWriteQueueLen: 1000,
		TcpReadBufferSize: 16 * 1024, TcpWriteBufferSize: 16 * 1024, TcpConnectTimeout: 3 * time.Second,
	}, addr, nil)
	if err != nil {
		return err
	}
	t := &task{name: name, file: file, done: make(chan error, 1)}
	client.RegisterHandler(path, t)
	if t.channel, err = client.NewChannel(); err != nil {
		return err
	}
	if err := t.next(path); err != nil {
		return err
	}
	if err := <-t.done; err != nil {
		return err
	}
	fmt.Printf("{\"seconds\":%.6f}\n", time.Since(begun).Seconds())
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

func run(args []string) error {
	switch {
	case len(args) == 5 && args[0] == "server" && args[1] == "--listen" && args[3] == "--files":
		return serve(args[2], args[4])
	case len(args) == 4 && args[0] == "get":
		return transfer(pathGet, args[1], args[2], args[3])
	case len(args) == 4 && args[0] == "put":
		return transfer(pathPut, args[1], args[2], args[3])
	}
	return errors.New("usage: files server --listen ADDR --files DIR | files get|put ADDR NAME FILE")
}

func main() {
	iip.LogClosing = false
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "files:", err)
		os.Exit(1)
	}
}
