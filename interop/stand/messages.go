package stand

import (
	"errors"
	"fmt"
	"math"
	"math/rand"
	"reflect"
	"strings"
)

// The messages of the sample services. The tags number the fields for the protobuf libraries; Thrift uses the same
// numbers. A program turns them into types of its own that carry the methods its framework asks for.
type (
	Args struct {
		A int64 `protobuf:"varint,1,opt,name=A,proto3"`
		B int64 `protobuf:"varint,2,opt,name=B,proto3"`
	}
	Reply struct {
		C int64 `protobuf:"varint,1,opt,name=C,proto3"`
	}
	// Text is no message of a sample service: Echo takes any body, and this is a typed one.
	Text struct {
		S string `protobuf:"bytes,1,opt,name=S,proto3"`
	}
	Millis struct {
		Millis int64 `protobuf:"varint,1,opt,name=Millis,proto3"`
	}
	Slept struct {
		Slept int64 `protobuf:"varint,1,opt,name=Slept,proto3"`
	}
	Stats struct {
		Running   int64 `protobuf:"varint,1,opt,name=Running,proto3"`
		Completed int64 `protobuf:"varint,2,opt,name=Completed,proto3"`
		Cancelled int64 `protobuf:"varint,3,opt,name=Cancelled,proto3"`
	}
	Message struct {
		Message string `protobuf:"bytes,1,opt,name=Message,proto3"`
	}
	Bytes struct {
		Bytes int64 `protobuf:"varint,1,opt,name=Bytes,proto3"`
	}
	Data struct {
		Data string `protobuf:"bytes,1,opt,name=Data,proto3"`
	}
	Count struct {
		Count int64 `protobuf:"varint,1,opt,name=Count,proto3"`
	}
	Started struct {
		Started int64 `protobuf:"varint,1,opt,name=Started,proto3"`
	}
	Empty struct{}
)

func (m *Args) Reset()           { *m = Args{} }
func (m *Args) String() string   { return fmt.Sprintf("{%d %d}", m.A, m.B) }
func (*Args) ProtoMessage()      {}
func (m *Reply) Reset()          { *m = Reply{} }
func (m *Reply) String() string  { return fmt.Sprintf("{%d}", m.C) }
func (*Reply) ProtoMessage()     {}
func (m *Text) Reset()           { *m = Text{} }
func (m *Text) String() string   { return m.S }
func (*Text) ProtoMessage()      {}
func (m *Millis) Reset()         { *m = Millis{} }
func (m *Millis) String() string { return fmt.Sprint(m.Millis) }
func (*Millis) ProtoMessage()    {}
func (m *Slept) Reset()          { *m = Slept{} }
func (m *Slept) String() string  { return fmt.Sprint(m.Slept) }
func (*Slept) ProtoMessage()     {}
func (m *Stats) Reset()          { *m = Stats{} }
func (m *Stats) String() string {
	return fmt.Sprintf("{%d %d %d}", m.Running, m.Completed, m.Cancelled)
}
func (*Stats) ProtoMessage()      {}
func (m *Message) Reset()         { *m = Message{} }
func (m *Message) String() string { return m.Message }
func (*Message) ProtoMessage()    {}
func (m *Bytes) Reset()           { *m = Bytes{} }
func (m *Bytes) String() string   { return fmt.Sprint(m.Bytes) }
func (*Bytes) ProtoMessage()      {}
func (m *Data) Reset()            { *m = Data{} }
func (m *Data) String() string    { return m.Data }
func (*Data) ProtoMessage()       {}
func (m *Count) Reset()           { *m = Count{} }
func (m *Count) String() string   { return fmt.Sprint(m.Count) }
func (*Count) ProtoMessage()      {}
func (m *Started) Reset()         { *m = Started{} }
func (m *Started) String() string { return fmt.Sprint(m.Started) }
func (*Started) ProtoMessage()    {}
func (m *Empty) Reset()           { *m = Empty{} }
func (*Empty) String() string     { return "{}" }
func (*Empty) ProtoMessage()      {}

// Field is one field of a message as Thrift needs it: a pointer to an int64 or to a string.
type Field struct {
	ID  int16
	Ptr any
}

// Fields lists the fields of a pointer to a message, in order: number i+1 is field i.
func Fields(m any) []Field {
	v := reflect.ValueOf(m).Elem()
	out := make([]Field, v.NumField())
	for i := range out {
		out[i] = Field{int16(i + 1), v.Field(i).Addr().Interface()}
	}
	return out
}

// GenArgs gives arguments whose product and sum both fit, small ones, negative ones and zeros among them.
func GenArgs(r *rand.Rand) Args {
	a := r.Int63() >> uint(r.Intn(63))
	var b int64
	if a == 0 {
		b = r.Int63() >> uint(r.Intn(63))
	} else {
		b = r.Int63n(math.MaxInt64/a/2+1) >> uint(r.Intn(63))
	}
	if a > math.MaxInt64/2 {
		a /= 2
	}
	if r.Intn(2) == 0 {
		a = -a
	}
	if r.Intn(2) == 0 {
		b = -b
	}
	return Args{a, b}
}

// Mul is what Arith.Mul does: overflow is an error.
func Mul(a, b int64) (int64, error) {
	c := a * b
	if a != 0 && (c/a != b || (a == -1 && b == math.MinInt64)) {
		return 0, errors.New("overflow")
	}
	return c, nil
}

// Add is what Arith.Add does: overflow is an error.
func Add(a, b int64) (int64, error) {
	c := a + b
	if (c > a) != (b > 0) {
		return 0, errors.New("overflow")
	}
	return c, nil
}

// Div is what Arith.Div does.
func Div(a, b int64) (int64, error) {
	switch {
	case b == 0:
		return 0, errors.New("divide by zero")
	case a == math.MinInt64 && b == -1:
		return 0, errors.New("overflow")
	}
	return a / b, nil
}

// Sizes are the bodies that every codec is tried with; the body limit and one more come on top.
var Sizes = []int{0, 1, 1024, 1025, 4095, 4096, 65536, 1 << 20}

// Body gives n bytes that compress badly enough to notice a mix-up and well enough to shrink.
func Body(r *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = "trunkline 0123456789abcdefghijk\n"[r.Intn(32)]
	}
	return b
}

// Fit gives a text whose encoded message has exactly n bytes, or false where the codec has no such message.
func Fit(n int, encode func(*Text) (int, error)) (*Text, bool, error) {
	t := &Text{}
	for try := 0; try < 8; try++ {
		got, err := encode(t)
		if err != nil || got == n {
			return t, got == n, err
		}
		l := len(t.S) + n - got
		if l < 0 {
			return nil, false, nil
		}
		t.S = strings.Repeat("x", l)
	}
	return nil, false, nil
}

// ErrorTexts are what Fault.Fail is asked to fail with.
var ErrorTexts = []string{"refused", "größer als ✓ 名", "", "two\nlines", strings.Repeat("long ", 400)}
