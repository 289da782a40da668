// Package msg gives the messages of the sample services the methods that rpcx's codecs ask for: protobuf through
// google.golang.org/protobuf, Thrift through apache's library, JSON and MessagePack by reflection.
package msg

import (
	"context"
	"encoding/json"

	"github.com/apache/thrift/lib/go/thrift"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/runtime/protoimpl"

	"trunkline.test/interop/stand"
)

type (
	Args    stand.Args
	Reply   stand.Reply
	Text    stand.Text
	Millis  stand.Millis
	Slept   stand.Slept
	Stats   stand.Stats
	Message stand.Message
	Bytes   stand.Bytes
	Data    stand.Data
	Count   stand.Count
	Started stand.Started
	Empty   stand.Empty
	Say     stand.Say
)

type v1 interface {
	Reset()
	String() string
	ProtoMessage()
}

func pb(m v1) ([]byte, error)               { return proto.Marshal(protoimpl.X.ProtoMessageV2Of(m)) }
func unpb(b []byte, m v1) error             { return proto.Unmarshal(b, protoimpl.X.ProtoMessageV2Of(m)) }
func (m *Args) v1() v1                      { return (*stand.Args)(m) }
func (m *Reply) v1() v1                     { return (*stand.Reply)(m) }
func (m *Text) v1() v1                      { return (*stand.Text)(m) }
func (m *Millis) v1() v1                    { return (*stand.Millis)(m) }
func (m *Slept) v1() v1                     { return (*stand.Slept)(m) }
func (m *Stats) v1() v1                     { return (*stand.Stats)(m) }
func (m *Message) v1() v1                   { return (*stand.Message)(m) }
func (m *Bytes) v1() v1                     { return (*stand.Bytes)(m) }
func (m *Data) v1() v1                      { return (*stand.Data)(m) }
func (m *Count) v1() v1                     { return (*stand.Count)(m) }
func (m *Started) v1() v1                   { return (*stand.Started)(m) }
func (m *Empty) v1() v1                     { return (*stand.Empty)(m) }
func (m *Say) v1() v1                       { return (*stand.Say)(m) }
func (m *Args) Marshal() ([]byte, error)    { return pb(m.v1()) }
func (m *Reply) Marshal() ([]byte, error)   { return pb(m.v1()) }
func (m *Text) Marshal() ([]byte, error)    { return pb(m.v1()) }
func (m *Millis) Marshal() ([]byte, error)  { return pb(m.v1()) }
func (m *Slept) Marshal() ([]byte, error)   { return pb(m.v1()) }
func (m *Stats) Marshal() ([]byte, error)   { return pb(m.v1()) }
func (m *Message) Marshal() ([]byte, error) { return pb(m.v1()) }
func (m *Bytes) Marshal() ([]byte, error)   { return pb(m.v1()) }
func (m *Data) Marshal() ([]byte, error)    { return pb(m.v1()) }
func (m *Count) Marshal() ([]byte, error)   { return pb(m.v1()) }
func (m *Started) Marshal() ([]byte, error) { return pb(m.v1()) }
func (m *Empty) Marshal() ([]byte, error)   { return pb(m.v1()) }
func (m *Say) Marshal() ([]byte, error)     { return pb(m.v1()) }
func (m *Args) Unmarshal(b []byte) error    { return unpb(b, m.v1()) }
func (m *Reply) Unmarshal(b []byte) error   { return unpb(b, m.v1()) }
func (m *Text) Unmarshal(b []byte) error    { return unpb(b, m.v1()) }
func (m *Millis) Unmarshal(b []byte) error  { return unpb(b, m.v1()) }
func (m *Slept) Unmarshal(b []byte) error   { return unpb(b, m.v1()) }
func (m *Stats) Unmarshal(b []byte) error   { return unpb(b, m.v1()) }
func (m *Message) Unmarshal(b []byte) error { return unpb(b, m.v1()) }
func (m *Bytes) Unmarshal(b []byte) error   { return unpb(b, m.v1()) }
func (m *Data) Unmarshal(b []byte) error    { return unpb(b, m.v1()) }
func (m *Count) Unmarshal(b []byte) error   { return unpb(b, m.v1()) }
func (m *Started) Unmarshal(b []byte) error { return unpb(b, m.v1()) }
func (m *Empty) Unmarshal(b []byte) error   { return unpb(b, m.v1()) }
func (m *Say) Unmarshal(b []byte) error     { return unpb(b, m.v1()) }

type (
	ctx    = context.Context
	tproto = thrift.TProtocol
)

func (m *Args) Write(c ctx, p tproto) error    { return write(c, p, m) }
func (m *Reply) Write(c ctx, p tproto) error   { return write(c, p, m) }
func (m *Text) Write(c ctx, p tproto) error    { return write(c, p, m) }
func (m *Millis) Write(c ctx, p tproto) error  { return write(c, p, m) }
func (m *Slept) Write(c ctx, p tproto) error   { return write(c, p, m) }
func (m *Stats) Write(c ctx, p tproto) error   { return write(c, p, m) }
func (m *Message) Write(c ctx, p tproto) error { return write(c, p, m) }
func (m *Bytes) Write(c ctx, p tproto) error   { return write(c, p, m) }
func (m *Data) Write(c ctx, p tproto) error    { return write(c, p, m) }
func (m *Count) Write(c ctx, p tproto) error   { return write(c, p, m) }
func (m *Started) Write(c ctx, p tproto) error { return write(c, p, m) }
func (m *Empty) Write(c ctx, p tproto) error   { return write(c, p, m) }
func (m *Args) Read(c ctx, p tproto) error     { return read(c, p, m) }
func (m *Reply) Read(c ctx, p tproto) error    { return read(c, p, m) }
func (m *Text) Read(c ctx, p tproto) error     { return read(c, p, m) }
func (m *Millis) Read(c ctx, p tproto) error   { return read(c, p, m) }
func (m *Slept) Read(c ctx, p tproto) error    { return read(c, p, m) }
func (m *Stats) Read(c ctx, p tproto) error    { return read(c, p, m) }
func (m *Message) Read(c ctx, p tproto) error  { return read(c, p, m) }
func (m *Bytes) Read(c ctx, p tproto) error    { return read(c, p, m) }
func (m *Data) Read(c ctx, p tproto) error     { return read(c, p, m) }
func (m *Count) Read(c ctx, p tproto) error    { return read(c, p, m) }
func (m *Started) Read(c ctx, p tproto) error  { return read(c, p, m) }
func (m *Empty) Read(c ctx, p tproto) error    { return read(c, p, m) }

func write(c ctx, p tproto, m any) error {
	err := p.WriteStructBegin(c, "")
	for _, f := range stand.Fields(m) {
		typ := thrift.TType(thrift.I64)
		if _, ok := f.Ptr.(*string); ok {
			typ = thrift.STRING
		}
		err = stand.First(err, p.WriteFieldBegin(c, "", typ, f.ID))
		switch v := f.Ptr.(type) {
		case *int64:
			err = stand.First(err, p.WriteI64(c, *v))
		case *string:
			err = stand.First(err, p.WriteString(c, *v))
		}
		err = stand.First(err, p.WriteFieldEnd(c))
	}
	return stand.First(err, p.WriteFieldStop(c), p.WriteStructEnd(c))
}

func read(c ctx, p tproto, m any) error {
	if _, err := p.ReadStructBegin(c); err != nil {
		return err
	}
	fields := stand.Fields(m)
	for {
		_, typ, id, err := p.ReadFieldBegin(c)
		if err != nil {
			return err
		}
		if typ == thrift.STOP {
			return p.ReadStructEnd(c)
		}
		var to any
		if int(id) >= 1 && int(id) <= len(fields) {
			to = fields[id-1].Ptr
		}
		switch v := to.(type) {
		case *int64:
			*v, err = p.ReadI64(c)
		case *string:
			*v, err = p.ReadString(c)
		default:
			err = p.Skip(c, typ)
		}
		if err = stand.First(err, p.ReadFieldEnd(c)); err != nil {
			return err
		}
	}
}

// Any is a reply that goes out as the bytes it is, whatever codec is asked to encode it: Echo's answer.
type Any []byte

func (m Any) MarshalJSON() ([]byte, error)        { return json.RawMessage(m).MarshalJSON() }
func (m Any) Marshal() ([]byte, error)            { return m, nil }
func (m Any) MarshalMsg(b []byte) ([]byte, error) { return append(b, m...), nil }
func (m Any) Read(ctx, tproto) error              { return nil }
func (m Any) Write(_ ctx, p tproto) error {
	_, err := p.Transport().Write(m)
	return err
}
