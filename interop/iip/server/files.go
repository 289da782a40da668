package main

// The files' protocol of the module's examples, which do not compile: written anew, below one directory.

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"

	"github.com/truexf/iip"

	"trunkline.test/interop/iip/wire"
)

func registerFiles(server *iip.Server, dir string) {
	server.RegisterHandler("/download_file", whole(func(_ url.Values, data []byte) ([]byte, error) {
		var ask wire.Download
		if err := json.Unmarshal(data, &ask); err != nil {
			return nil, err
		}
		return download(dir, &ask)
	}), nil)
	server.RegisterHandler("/upload_file", whole(func(_ url.Values, data []byte) ([]byte, error) {
		ask, piece, err := wire.ReadUpload(data)
		if err != nil {
			return nil, fmt.Errorf("invalid request, %w", err)
		}
		return upload(dir, &ask, piece)
	}), nil)
}

func download(dir string, ask *wire.Download) ([]byte, error) {
	fd, err := os.Open(filepath.Join(dir, filepath.Base(ask.FilePath)))
	if err != nil {
		return nil, err
	}
	defer fd.Close()
	buf := make([]byte, 4+wire.Piece)
	n, err := fd.ReadAt(buf[4:], int64(ask.DownloadStartPos))
	if n == 0 && err == io.EOF {
		binary.BigEndian.PutUint32(buf, 1)
		return buf[:4], nil
	}
	if n == 0 {
		return nil, err
	}
	return buf[:4+n], nil
}

// upload appends in place, as the example does: the position only says whether the file begins anew.
func upload(dir string, ask *wire.Upload, piece []byte) ([]byte, error) {
	flags := os.O_CREATE | os.O_APPEND | os.O_RDWR
	if ask.UploadStartPos == 0 {
		flags |= os.O_TRUNC
	}
	fd, err := os.OpenFile(filepath.Join(dir, filepath.Base(ask.FilePath)), flags, 0o666)
	if err != nil {
		return nil, err
	}
	defer fd.Close()
	n, err := fd.Write(piece)
	if err != nil {
		return nil, err
	}
	return json.Marshal(&wire.Uploaded{TaskId: ask.TaskId, DoneBytes: int64(n)})
}
