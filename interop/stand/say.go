package stand

import "fmt"

// Say is the benchmark message of Hello.Say. Filled, it has 581 bytes.
type Say struct {
	Field1   string   `protobuf:"bytes,1,opt,name=field1,proto3"`
	Field2   int32    `protobuf:"varint,2,opt,name=field2,proto3"`
	Field3   int32    `protobuf:"varint,3,opt,name=field3,proto3"`
	Field4   string   `protobuf:"bytes,4,opt,name=field4,proto3"`
	Field5   []uint64 `protobuf:"fixed64,5,rep,packed,name=field5,proto3"`
	Field6   int32    `protobuf:"varint,6,opt,name=field6,proto3"`
	Field7   string   `protobuf:"bytes,7,opt,name=field7,proto3"`
	Field9   string   `protobuf:"bytes,9,opt,name=field9,proto3"`
	Field12  bool     `protobuf:"varint,12,opt,name=field12,proto3"`
	Field13  bool     `protobuf:"varint,13,opt,name=field13,proto3"`
	Field14  bool     `protobuf:"varint,14,opt,name=field14,proto3"`
	Field16  int32    `protobuf:"varint,16,opt,name=field16,proto3"`
	Field17  bool     `protobuf:"varint,17,opt,name=field17,proto3"`
	Field18  string   `protobuf:"bytes,18,opt,name=field18,proto3"`
	Field22  int64    `protobuf:"varint,22,opt,name=field22,proto3"`
	Field23  int32    `protobuf:"varint,23,opt,name=field23,proto3"`
	Field24  bool     `protobuf:"varint,24,opt,name=field24,proto3"`
	Field25  int32    `protobuf:"varint,25,opt,name=field25,proto3"`
	Field29  int32    `protobuf:"varint,29,opt,name=field29,proto3"`
	Field30  bool     `protobuf:"varint,30,opt,name=field30,proto3"`
	Field59  bool     `protobuf:"varint,59,opt,name=field59,proto3"`
	Field60  int32    `protobuf:"varint,60,opt,name=field60,proto3"`
	Field67  int32    `protobuf:"varint,67,opt,name=field67,proto3"`
	Field68  int32    `protobuf:"varint,68,opt,name=field68,proto3"`
	Field78  bool     `protobuf:"varint,78,opt,name=field78,proto3"`
	Field80  bool     `protobuf:"varint,80,opt,name=field80,proto3"`
	Field81  bool     `protobuf:"varint,81,opt,name=field81,proto3"`
	Field100 int32    `protobuf:"varint,100,opt,name=field100,proto3"`
	Field101 int32    `protobuf:"varint,101,opt,name=field101,proto3"`
	Field102 string   `protobuf:"bytes,102,opt,name=field102,proto3"`
	Field103 string   `protobuf:"bytes,103,opt,name=field103,proto3"`
	Field104 int32    `protobuf:"varint,104,opt,name=field104,proto3"`
	Field128 int32    `protobuf:"varint,128,opt,name=field128,proto3"`
	Field129 string   `protobuf:"bytes,129,opt,name=field129,proto3"`
	Field130 int32    `protobuf:"varint,130,opt,name=field130,proto3"`
	Field131 int32    `protobuf:"varint,131,opt,name=field131,proto3"`
	Field150 int32    `protobuf:"varint,150,opt,name=field150,proto3"`
	Field271 int32    `protobuf:"varint,271,opt,name=field271,proto3"`
	Field272 int32    `protobuf:"varint,272,opt,name=field272,proto3"`
	Field280 int32    `protobuf:"varint,280,opt,name=field280,proto3"`
}

func (m *Say) Reset()         { *m = Say{} }
func (m *Say) String() string { return fmt.Sprintf("%+v", *m) }
func (*Say) ProtoMessage()    {}

// NewSay fills every field but the repeated one, as the benchmark does: 54 bytes of text in each string.
func NewSay() *Say {
	const s, n = "a text of fifty-four bytes, größer than a common one", 100000
	return &Say{
		Field1: s, Field2: n, Field3: n, Field4: s, Field6: n, Field7: s, Field9: s, Field12: true, Field13: true,
		Field14: true, Field16: n, Field17: true, Field18: s, Field22: n, Field23: n, Field24: true, Field25: n,
		Field29: n, Field30: true, Field59: true, Field60: n, Field67: n, Field68: n, Field78: true, Field80: true,
		Field81: true, Field100: n, Field101: n, Field102: s, Field103: s, Field104: n, Field128: n, Field129: s,
		Field130: n, Field131: n, Field150: n, Field271: n, Field272: n, Field280: n,
	}
}

// Answered turns the message into what Hello.Say answers.
func (m *Say) Answered() {
	m.Field1, m.Field2 = "OK", 100
}
