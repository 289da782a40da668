// Package values holds a struct with every kind of field that gob carries between Go and Trunkline, and generates it.
package values

import (
	"math/rand"
	"strings"

	"trunkline.test/interop/stand/parts"
)

type (
	Base  = parts.Base
	Inner = parts.Inner
)

// All is sent whole; a field that is zero is left out by gob.
type All struct {
	Base   Base
	Bool   bool
	I8     int8
	I16    int16
	I32    int32
	I64    int64
	U8     uint8
	U16    uint16
	U32    uint32
	U64    uint64
	F32    float32
	F64    float64
	Str    string
	Bytes  []byte
	Ints   []int64
	Strs   []string
	Floats []float64
	Map    map[string]int64
	Inner  Inner
	Ptr    *Inner
	Nest   [][]string
	Inners []Inner
	Maps   map[string]Inner
}

// Generate gives a value whose fields are zero, small, extreme or anything in between.
func Generate(r *rand.Rand) All {
	a := All{
		Base: Base{ID: parts.Uint(r)}, Bool: r.Intn(2) == 0,
		I8: int8(parts.Int(r)), I16: int16(parts.Int(r)), I32: int32(parts.Int(r)), I64: parts.Int(r),
		U8: uint8(parts.Uint(r)), U16: uint16(parts.Uint(r)), U32: uint32(parts.Uint(r)), U64: parts.Uint(r),
		F32: float32(parts.Float(r)), F64: parts.Float(r), Str: parts.Text(r), Inner: parts.NewInner(r),
	}
	if r.Intn(3) > 0 {
		a.Bytes = make([]byte, 1+r.Intn(300))
		r.Read(a.Bytes)
	}
	if r.Intn(2) == 0 {
		x := parts.NewInner(r)
		x.N |= 1 // a pointer to a zero struct is sent as an empty one
		a.Ptr = &x
	}
	for n := r.Intn(5); n > 0; n-- {
		a.Ints = append(a.Ints, parts.Int(r))
		a.Strs = append(a.Strs, parts.Text(r))
		a.Floats = append(a.Floats, parts.Float(r))
		a.Inners = append(a.Inners, parts.NewInner(r))
		// gob does not tell a nil element from an empty one
		a.Nest = append(a.Nest, strings.Split(parts.Text(r), "o"))
	}
	for n := r.Intn(4); n > 0; n-- {
		if a.Map == nil {
			a.Map, a.Maps = map[string]int64{}, map[string]Inner{}
		}
		a.Map[parts.Text(r)] = parts.Int(r)
		a.Maps[parts.Text(r)] = parts.NewInner(r)
	}
	return a
}
