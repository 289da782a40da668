package main

// Files, as the module's examples send them: pieces one after the other, going on where a break was.

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/truexf/iip"

	"trunkline.test/interop/iip/wire"
	"trunkline.test/interop/stand"
)

// mostPiece is what one upload carries at most.
const mostPiece = 10 << 20

func fileCases() []stand.Case {
	return []stand.Case{
		{Name: "iip-files", Run: func() error {
			for _, size := range []int{1, wire.Piece - 1, wire.Piece, wire.Piece + 1, 1 << 20, mostPiece, mostPiece + 1, 25 << 20} {
				if err := thereAndBack(size, 1); err != nil {
					return fmt.Errorf("%d bytes: %w", size, err)
				}
			}
			return nil
		}},
		// Each piece over another connection, as after a break.
		{Name: "iip-files-resume", Run: func() error { return thereAndBack(3<<20+5, 17) }},
		{Name: "iip-files-replaced", Run: func() error {
			name, old, new := fileName(), content(300_000), content(200_001)
			return stand.First(upload(name, old, 0, 100_000, true), isThere(name, old), upload(name, new, 0, 100_000, true), isThere(name, new))
		}},
		{Name: "iip-files-unfinished", Run: func() error {
			name, data := fileName(), content(300_000)
			if err := upload(name, data[:200_000], 0, 100_000, false); err != nil {
				return err
			}
			if got, err := download(name, 0); err == nil {
				return fmt.Errorf("%d bytes are there before the end was sent", len(got))
			}
			return stand.First(upload(name, data, 200_000, 100_000, true), isThere(name, data))
		}, Go: &stand.Difference{ID: "iip-files-in-place", Why: "an upload shows under its name from its first byte"}},
		{Name: "iip-files-refused", Run: filesRefused},
	}
}

var names atomic.Int64

func fileName() string {
	return fmt.Sprintf("go-%d-%d.bin", time.Now().UnixNano(), names.Add(1))
}

// content is bytes that no piece has twice.
func content(size int) []byte {
	data := make([]byte, size)
	flags.Rand(fmt.Sprint("file", size)).Read(data)
	return data
}

// thereAndBack sends a file over so many connections, one after the other, and fetches it so.
func thereAndBack(size, connections int) error {
	name, data := fileName(), content(size)
	for n := 0; n < connections; n++ {
		from, to := size*n/connections, size*(n+1)/connections
		if err := upload(name, data[:to], from, mostPiece, n == connections-1); err != nil {
			return fmt.Errorf("upload from %d: %w", from, err)
		}
	}
	if connections == 1 {
		return isThere(name, data)
	}
	var got []byte
	for n := 0; len(got) < size; n++ {
		more, err := downloadSome(name, len(got), size/connections)
		if err != nil {
			return fmt.Errorf("download from %d: %w", len(got), err)
		}
		got = append(got, more...)
	}
	return sameFile(got, data)
}

func isThere(name string, data []byte) error {
	got, err := download(name, 0)
	if err != nil {
		return err
	}
	return sameFile(got, data)
}

func sameFile(got, want []byte) error {
	if a, b := sha256.Sum256(got), sha256.Sum256(want); a != b {
		return fmt.Errorf("%d bytes with hash %x, expected %d with %x", len(got), a[:4], len(want), b[:4])
	}
	return nil
}

// upload sends what is behind a position, as the example does: when the end is reached, a last request without bytes.
func upload(name string, data []byte, from, piece int, complete bool) error {
	return on(func(c *iip.ClientChannel) error {
		for at := from; ; {
			end := min(at+piece, len(data))
			ask := wire.Upload{TaskId: 1, FilePath: name, UploadStartPos: at, Completed: at == len(data)}
			if ask.Completed && !complete {
				return nil
			}
			got, err := c.DoRequest("/upload_file", iip.NewDefaultRequest(ask.Body(data[at:end])), limit)
			if err != nil {
				return err
			}
			var done wire.Uploaded
			if err := json.Unmarshal(got, &done); err != nil || done.TaskId != 1 || done.DoneBytes != int64(end-at) {
				return fmt.Errorf("%d bytes from %d are answered %q", end-at, at, short(string(got)))
			}
			if ask.Completed {
				return nil
			}
			at = end
		}
	})
}

// download fetches what is behind a position.
func download(name string, from int) ([]byte, error) { return downloadSome(name, from, 0) }

// downloadSome stops when it has so many bytes; 0: at the end.
func downloadSome(name string, from, most int) (all []byte, err error) {
	err = on(func(c *iip.ClientChannel) error {
		for most == 0 || len(all) < most {
			ask, err := json.Marshal(&wire.Download{TaskId: 1, FilePath: name, DownloadStartPos: from + len(all)})
			if err != nil {
				return err
			}
			got, err := c.DoRequest("/download_file", iip.NewDefaultRequest(ask), limit)
			if err != nil {
				return err
			}
			if len(got) < 4 || isFailure("", string(got), -1, "…") == nil || len(got) > 4+wire.Piece {
				return fmt.Errorf("from %d: %d bytes %q", from+len(all), len(got), short(string(got)))
			}
			switch done := binary.BigEndian.Uint32(got); {
			case done == 1 && len(got) == 4:
				return nil
			case done != 0 || len(got) == 4:
				return errors.New("neither a piece nor the end")
			}
			all = append(all, got[4:]...)
		}
		return nil
	})
	return all, err
}

// filesRefused: what is not there, what no name is, and requests that cannot be read fail, and the channel goes on.
func filesRefused() error {
	return on(func(c *iip.ClientChannel) error {
		for _, body := range []string{
			`{"TaskId":1,"FilePath":"not-there.bin","DownloadStartPos":0}`, `{"TaskId":1,"FilePath":"../../../etc/hostname"}`,
			`{"TaskId":1,"FilePath":"/etc/hostname"}`, `{"TaskId":1,"FilePath":""}`, `{"TaskId":1,"FilePath":".."}`, "no JSON",
		} {
			if err := fails(c, "/download_file", body, -1, "handler fail:…"); err != nil {
				return err
			}
		}
		for _, body := range []string{"12345", "\xff\xff\xff\xff{}", "\x00\x00\x00\x02{}", "\x00\x00\x00\x05no JSON"} {
			if err := fails(c, "/upload_file", body, -1, "handler fail:…"); err != nil {
				return fmt.Errorf("%q: %w", body, err)
			}
		}
		return works(c)
	})
}
