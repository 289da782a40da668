// Command gob writes generated gob values as streams of their own, and reads what Trunkline made of them.
//
//	gob write FILE [-seed N] [-n 250]   writes a value a stream, each behind four bytes of its length
//	gob read FILE [-seed N] [-n 250]    reads such a file: the values have to be those that write would write
//	gob json FILE [-seed N] [-n 250]    reads a file of JSON, a value a line: what encoding/json gives for the values
//
// Exit code: 0 all as wanted, 1 a difference, 2 usage.
package main

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/gob"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"math/rand"
	"os"
	"reflect"
	"strings"

	"trunkline.test/interop/stand/parts"
)

type (
	Base  = parts.Base
	Inner = parts.Inner
)

// All has every kind of field that gob carries without help.
type All struct {
	Base
	Truth   bool
	I8      int8
	I16     int16
	I32     int32
	I64     int64
	U8      uint8
	U16     uint16
	U32     uint32
	U64     uint64
	F32     float32
	F64     float64
	Complex complex128 `json:"-"` // encoding/json has none
	Text    string
	Bytes   []byte
	Rune    rune
	Array   [3]int16
	Octets  [4]byte
	Ints    []int64
	Texts   []string
	Truths  []bool
	Floats  []float32
	Nest    [][]string
	Deep    [][][]int8
	Blobs   [][]byte
	Map     map[string]int64
	ByNum   map[int32]Inner
	MapMap  map[string]map[uint16][]string
	Inner   Inner
	Ptr     *Inner
	PtrPtr  **string
	Number  *int64
	Inners  []Inner
	Ptrs    []*Inner
	Tree    *Tree
	Empty   struct{}
}

// Tree refers to itself in a pointer and in a slice.
type Tree struct {
	V           int
	Left, Right *Tree
	All         []Tree
}

// value gives the value at a place of a sequence: All and, between them, bare ones of every kind.
func value(r *rand.Rand, place int) any {
	switch place % 16 {
	case 1:
		v := parts.Int(r)
		return &v
	case 2:
		v := parts.Text(r)
		return &v
	case 3:
		v := []byte(parts.Text(r))
		return &v
	case 4:
		v := []int64{parts.Int(r), parts.Int(r), 0}
		return &v
	case 5:
		v := map[string]Inner{parts.Text(r): parts.NewInner(r), "k": parts.NewInner(r)}
		return &v
	case 6:
		v := [3]float64{parts.Float(r), 0, parts.Float(r)}
		return &v
	case 7:
		v := complex(parts.Float(r), parts.Float(r))
		return &v
	case 8:
		v := r.Intn(2) == 0
		return &v
	case 9:
		v := uint64(parts.Int(r))
		return &v
	case 10:
		return tree(r, 6)
	case 11:
		v := parts.Float(r)
		return &v
	case 12:
		v := [][]uint16{{1, 0, uint16(parts.Int(r))}, {}, {65535}}
		return &v
	default:
		return all(r)
	}
}

func all(r *rand.Rand) *All {
	a := &All{
		Base: Base{ID: uint64(parts.Int(r))}, Truth: r.Intn(2) == 0,
		I8: int8(parts.Int(r)), I16: int16(parts.Int(r)), I32: int32(parts.Int(r)), I64: parts.Int(r),
		U8: uint8(parts.Int(r)), U16: uint16(parts.Int(r)), U32: uint32(parts.Int(r)), U64: uint64(parts.Int(r)),
		F32: float32(parts.Float(r)), F64: parts.Float(r), Complex: complex(parts.Float(r), parts.Float(r)),
		Text: parts.Text(r), Rune: 'ö', Inner: parts.NewInner(r),
		Array: [3]int16{int16(parts.Int(r)), 0, int16(parts.Int(r))}, Octets: [4]byte{byte(parts.Int(r)), 200, 0, 1},
	}
	if r.Intn(3) > 0 {
		a.Bytes = make([]byte, 1+r.Intn(300))
		r.Read(a.Bytes)
		a.Tree = tree(r, 5)
	}
	if r.Intn(2) == 0 {
		x, t, n := parts.NewInner(r), parts.Text(r)+"!", parts.Int(r)|1
		p := &t
		a.Ptr, a.PtrPtr, a.Number = &x, &p, &n
	}
	for n := r.Intn(5); n > 0; n-- {
		a.Ints = append(a.Ints, parts.Int(r))
		a.Texts = append(a.Texts, parts.Text(r))
		a.Truths = append(a.Truths, r.Intn(2) == 0)
		a.Floats = append(a.Floats, float32(parts.Float(r)))
		a.Inners = append(a.Inners, parts.NewInner(r))
		x := parts.NewInner(r)
		a.Ptrs = append(a.Ptrs, &x)
		// gob does not tell a nil element from an empty one.
		a.Nest = append(a.Nest, strings.Split(parts.Text(r), "o"))
		a.Deep = append(a.Deep, [][]int8{{int8(parts.Int(r))}, {0, -1}})
		a.Blobs = append(a.Blobs, []byte("x"+parts.Text(r)))
	}
	for n := r.Intn(4); n > 0; n-- {
		if a.Map == nil {
			a.Map, a.ByNum, a.MapMap = map[string]int64{}, map[int32]Inner{}, map[string]map[uint16][]string{}
		}
		a.Map[parts.Text(r)] = parts.Int(r)
		a.ByNum[int32(parts.Int(r))] = parts.NewInner(r)
		a.MapMap[parts.Text(r)] = map[uint16][]string{uint16(parts.Int(r)): {parts.Text(r), ""}}
	}
	return a
}

func tree(r *rand.Rand, depth int) *Tree {
	if depth == 0 {
		return nil
	}
	t := &Tree{V: int(parts.Int(r))}
	if r.Intn(2) == 0 {
		t.Left = tree(r, depth-1)
	}
	if r.Intn(2) == 0 {
		t.Right = tree(r, depth-1)
	}
	for n := r.Intn(3); n > 0 && depth > 3; n-- {
		t.All = append(t.All, *tree(r, depth-2))
	}
	return t
}

func write(to io.Writer, r *rand.Rand, n int) error {
	for place := 0; place < n; place++ {
		var stream bytes.Buffer
		if err := gob.NewEncoder(&stream).Encode(value(r, place)); err != nil {
			return fmt.Errorf("value %d: %w", place, err)
		}
		if err := binary.Write(to, binary.BigEndian, uint32(stream.Len())); err != nil {
			return err
		}
		if _, err := to.Write(stream.Bytes()); err != nil {
			return err
		}
	}
	return nil
}

func read(from io.Reader, r *rand.Rand, n int) error {
	for place := 0; place < n; place++ {
		wanted := value(r, place)
		var length uint32
		if err := binary.Read(from, binary.BigEndian, &length); err != nil {
			return fmt.Errorf("value %d: %w", place, err)
		}
		got := reflect.New(reflect.TypeOf(wanted).Elem())
		if err := gob.NewDecoder(io.LimitReader(from, int64(length))).DecodeValue(got); err != nil {
			return fmt.Errorf("value %d: %w", place, err)
		}
		// What gob makes of the value is what it should be: nothing tells nil from empty afterwards.
		var stream bytes.Buffer
		again := reflect.New(reflect.TypeOf(wanted).Elem())
		if err := gob.NewEncoder(&stream).Encode(wanted); err != nil {
			return err
		}
		if err := gob.NewDecoder(&stream).DecodeValue(again); err != nil {
			return err
		}
		if !reflect.DeepEqual(got.Interface(), again.Interface()) {
			return fmt.Errorf("value %d:\n got    %+v\n wanted %+v", place, got.Elem(), again.Elem())
		}
	}
	if extra, _ := io.ReadAll(from); len(extra) > 0 {
		return fmt.Errorf("%d bytes follow the last value", len(extra))
	}
	return nil
}

// plain is a value without what encoding/json cannot write, and what gob cannot tell: complex numbers, and pointers
// to what is left out where it is zero.
func plain(v any) any {
	switch v := v.(type) {
	case *All:
		if v.PtrPtr == nil {
			t := ""
			p := &t
			v.PtrPtr = &p
		}
		if v.Number == nil {
			v.Number = new(int64)
		}
	case *complex128:
		return nil
	}
	return v
}

func readJSON(from io.Reader, r *rand.Rand, n int) error {
	lines := bufio.NewReader(from)
	for place := 0; place < n; place++ {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			return fmt.Errorf("value %d: %w", place, err)
		}
		v := value(r, place)
		var stream bytes.Buffer
		if err := gob.NewEncoder(&stream).Encode(v); err != nil {
			return err
		}
		again := reflect.New(reflect.TypeOf(v).Elem())
		if err := gob.NewDecoder(&stream).DecodeValue(again); err != nil {
			return err
		}
		wanted := plain(again.Interface())
		if wanted == nil {
			continue
		}
		text, err := json.Marshal(wanted)
		if err != nil {
			return err
		}
		got, want := generic(line), generic(text)
		if m, ok := got.(map[string]any); ok {
			delete(m, "Complex")
		}
		// encoding/json puts the fields of an embedded struct among the others; gob has it as a field.
		if m, ok := want.(map[string]any); ok && m["ID"] != nil {
			m["Base"] = map[string]any{"ID": m["ID"]}
			delete(m, "ID")
		}
		if !reflect.DeepEqual(got, want) {
			return fmt.Errorf("value %d:\n got    %v\n wanted %v", place, got, want)
		}
	}
	return nil
}

// generic reads JSON with its numbers as they are written.
func generic(text []byte) any {
	var v any
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	if err := d.Decode(&v); err != nil {
		return fmt.Sprint(err)
	}
	return v
}

func main() {
	if len(os.Args) < 3 {
		fmt.Fprintln(os.Stderr, "usage: gob write|read|json FILE [-seed N] [-n 250]")
		os.Exit(2)
	}
	flags := flag.NewFlagSet("gob", flag.ExitOnError)
	seed := flags.Int64("seed", 1, "the same values again")
	n := flags.Int("n", 250, "how many values")
	_ = flags.Parse(os.Args[3:])
	r := rand.New(rand.NewSource(*seed))
	var err error
	switch os.Args[1] {
	case "write":
		var file *os.File
		if file, err = os.Create(os.Args[2]); err == nil {
			to := bufio.NewWriter(file)
			if err = write(to, r, *n); err == nil {
				err = to.Flush()
			}
			file.Close()
		}
	case "read", "json":
		var file *os.File
		if file, err = os.Open(os.Args[2]); err == nil {
			if os.Args[1] == "json" {
				err = readJSON(file, r, *n)
			} else {
				err = read(bufio.NewReader(file), r, *n)
			}
			file.Close()
		}
	default:
		fmt.Fprintln(os.Stderr, "usage: gob write|read|json FILE [-seed N] [-n 250]")
		os.Exit(2)
	}
	if err != nil {
		fmt.Println("FAIL", err)
		os.Exit(1)
	}
	fmt.Println("ok", *n, "values")
}
