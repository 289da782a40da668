// Package msg gives the messages of the sample services the methods that easymicro's codecs ask for: protobuf through
// github.com/golang/protobuf 1.3, Thrift through apache's 0.13, JSON and MessagePack by reflection.
package msg

import (
	"github.com/apache/thrift/lib/go/thrift"
	"github.com/golang/protobuf/proto"

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
	Empty   stand.Empty
	Say     stand.Say
)

func (m *Args) pb() proto.Message    { return (*stand.Args)(m) }
func (m *Reply) pb() proto.Message   { return (*stand.Reply)(m) }
func (m *Text) pb() proto.Message    { return (*stand.Text)(m) }
func (m *Millis) pb() proto.Message  { return (*stand.Millis)(m) }
func (m *Slept) pb() proto.Message   { return (*stand.Slept)(m) }
func (m *Stats) pb() proto.Message   { return (*stand.Stats)(m) }
func (m *Message) pb() proto.Message { return (*stand.Message)(m) }
func (m *Bytes) pb() proto.Message   { return (*stand.Bytes)(m) }
func (m *Data) pb() proto.Message    { return (*stand.Data)(m) }
func (m *Empty) pb() proto.Message   { return (*stand.Empty)(m) }
func (m *Say) pb() proto.Message     { return (*stand.Say)(m) }

func (m *Args) Marshal() ([]byte, error)    { return proto.Marshal(m.pb()) }
func (m *Reply) Marshal() ([]byte, error)   { return proto.Marshal(m.pb()) }
func (m *Text) Marshal() ([]byte, error)    { return proto.Marshal(m.pb()) }
func (m *Millis) Marshal() ([]byte, error)  { return proto.Marshal(m.pb()) }
func (m *Slept) Marshal() ([]byte, error)   { return proto.Marshal(m.pb()) }
func (m *Stats) Marshal() ([]byte, error)   { return proto.Marshal(m.pb()) }
func (m *Message) Marshal() ([]byte, error) { return proto.Marshal(m.pb()) }
func (m *Bytes) Marshal() ([]byte, error)   { return proto.Marshal(m.pb()) }
func (m *Data) Marshal() ([]byte, error)    { return proto.Marshal(m.pb()) }
func (m *Empty) Marshal() ([]byte, error)   { return proto.Marshal(m.pb()) }
func (m *Say) Marshal() ([]byte, error)     { return proto.Marshal(m.pb()) }
func (m *Args) Unmarshal(b []byte) error    { return proto.Unmarshal(b, m.pb()) }
func (m *Reply) Unmarshal(b []byte) error   { return proto.Unmarshal(b, m.pb()) }
func (m *Text) Unmarshal(b []byte) error    { return proto.Unmarshal(b, m.pb()) }
func (m *Millis) Unmarshal(b []byte) error  { return proto.Unmarshal(b, m.pb()) }
func (m *Slept) Unmarshal(b []byte) error   { return proto.Unmarshal(b, m.pb()) }
func (m *Stats) Unmarshal(b []byte) error   { return proto.Unmarshal(b, m.pb()) }
func (m *Message) Unmarshal(b []byte) error { return proto.Unmarshal(b, m.pb()) }
func (m *Bytes) Unmarshal(b []byte) error   { return proto.Unmarshal(b, m.pb()) }
func (m *Data) Unmarshal(b []byte) error    { return proto.Unmarshal(b, m.pb()) }
func (m *Empty) Unmarshal(b []byte) error   { return proto.Unmarshal(b, m.pb()) }
func (m *Say) Unmarshal(b []byte) error     { return proto.Unmarshal(b, m.pb()) }

type tproto = thrift.TProtocol

func (m *Args) Write(p tproto) error    { return write(p, m) }
func (m *Reply) Write(p tproto) error   { return write(p, m) }
func (m *Text) Write(p tproto) error    { return write(p, m) }
func (m *Millis) Write(p tproto) error  { return write(p, m) }
func (m *Slept) Write(p tproto) error   { return write(p, m) }
func (m *Stats) Write(p tproto) error   { return write(p, m) }
func (m *Message) Write(p tproto) error { return write(p, m) }
func (m *Bytes) Write(p tproto) error   { return write(p, m) }
func (m *Data) Write(p tproto) error    { return write(p, m) }
func (m *Empty) Write(p tproto) error   { return write(p, m) }
func (m *Args) Read(p tproto) error     { return read(p, m) }
func (m *Reply) Read(p tproto) error    { return read(p, m) }
func (m *Text) Read(p tproto) error     { return read(p, m) }
func (m *Millis) Read(p tproto) error   { return read(p, m) }
func (m *Slept) Read(p tproto) error    { return read(p, m) }
func (m *Stats) Read(p tproto) error    { return read(p, m) }
func (m *Message) Read(p tproto) error  { return read(p, m) }
func (m *Bytes) Read(p tproto) error    { return read(p, m) }
func (m *Data) Read(p tproto) error     { return read(p, m) }
func (m *Empty) Read(p tproto) error    { return read(p, m) }

func write(p tproto, m interface{}) error {
	err := p.WriteStructBegin("")
	for _, f := range stand.Fields(m) {
		typ := thrift.TType(thrift.I64)
		if _, ok := f.Ptr.(*string); ok {
			typ = thrift.STRING
		}
		err = stand.First(err, p.WriteFieldBegin("", typ, f.ID))
		switch v := f.Ptr.(type) {
		case *int64:
			err = stand.First(err, p.WriteI64(*v))
		case *string:
			err = stand.First(err, p.WriteString(*v))
		}
		err = stand.First(err, p.WriteFieldEnd())
	}
	return stand.First(err, p.WriteFieldStop(), p.WriteStructEnd())
}

func read(p tproto, m interface{}) error {
	if _, err := p.ReadStructBegin(); err != nil {
		return err
	}
	fields := stand.Fields(m)
	for {
		_, typ, id, err := p.ReadFieldBegin()
		if err != nil {
			return err
		}
		if typ == thrift.STOP {
			return p.ReadStructEnd()
		}
		var to interface{}
		if int(id) >= 1 && int(id) <= len(fields) {
			to = fields[id-1].Ptr
		}
		switch v := to.(type) {
		case *int64:
			*v, err = p.ReadI64()
		case *string:
			*v, err = p.ReadString()
		default:
			err = p.Skip(typ)
		}
		if err = stand.First(err, p.ReadFieldEnd()); err != nil {
			return err
		}
	}
}
