// Package wire is what both programs share: frames of IIP written and read by the module's own functions, where its
// client and server cannot send what the wire allows (messages of several frames), and the files' messages.
package wire

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"io"
	"net"
	"time"

	"github.com/truexf/iip"
)

// Conn is a connection whose frames are written and read one by one.
type Conn struct {
	net.Conn
	r *bufio.Reader
}

// New takes a connection over.
func New(c net.Conn) *Conn {
	// The module's reader makes a reader of its own unless it is given one that is as large: what that had read ahead
	// would be lost.
	return &Conn{c, bufio.NewReaderSize(c, int(iip.PacketReadBufSize))}
}

// Dial connects.
func Dial(addr string) (*Conn, error) {
	c, err := net.DialTimeout("tcp4", addr, 3*time.Second)
	if err != nil {
		return nil, err
	}
	return New(c), nil
}

// Send writes one frame.
func (c *Conn) Send(status byte, path string, channel uint32, data string) error {
	_, err := iip.WritePacket(&iip.Packet{Status: status, Path: path, ChannelId: channel, Data: []byte(data)}, c.Conn)
	return err
}

// Next reads one frame; with a limit of time where it is not 0.
func (c *Conn) Next(limit time.Duration) (*iip.Packet, error) {
	if limit > 0 {
		c.SetReadDeadline(time.Now().Add(limit))
		defer c.SetReadDeadline(time.Time{})
	}
	return iip.ReadPacket(c.r)
}

// Raw reads bytes as they come.
func (c *Conn) Raw(limit time.Duration) ([]byte, error) {
	c.SetReadDeadline(time.Now().Add(limit))
	defer c.SetReadDeadline(time.Time{})
	buf := make([]byte, 4096)
	n, err := c.r.Read(buf)
	return buf[:n], err
}

// Piece is how many bytes of a file one answer to a download holds at most.
const Piece = 10*1024 - 4

type (
	// Download asks for a piece of a file.
	Download struct {
		TaskId           int64
		FilePath         string
		DownloadStartPos int
	}
	// Upload stands before a piece that is sent.
	Upload struct {
		TaskId         int64
		FilePath       string
		UploadStartPos int
		Completed      bool
	}
	// Uploaded answers it.
	Uploaded struct{ TaskId, DoneBytes int64 }
)

// Body is the upload as it is sent: the length of the JSON, the JSON, the bytes.
func (u *Upload) Body(piece []byte) []byte {
	meta, _ := json.Marshal(u)
	body := binary.BigEndian.AppendUint32(nil, uint32(len(meta)))
	return append(append(body, meta...), piece...)
}

// ReadUpload takes an upload apart.
func ReadUpload(body []byte) (u Upload, piece []byte, err error) {
	if len(body) < 4 {
		return u, nil, io.ErrUnexpectedEOF
	}
	n := uint64(binary.BigEndian.Uint32(body))
	if uint64(len(body)-4) < n {
		return u, nil, io.ErrUnexpectedEOF
	}
	return u, body[4+n:], json.Unmarshal(body[4:4+n], &u)
}
