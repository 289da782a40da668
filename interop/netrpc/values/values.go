// Package values holds a struct with every kind of field that gob carries between Go and Trunkline, and generates it.
package values

import (
	"math"
	"math/rand"
	"strings"
)

type Base struct{ ID uint64 }

type Inner struct {
	Name string
	N    int
}

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
		Base: Base{u(r)}, Bool: r.Intn(2) == 0,
		I8: int8(i(r)), I16: int16(i(r)), I32: int32(i(r)), I64: i(r),
		U8: uint8(u(r)), U16: uint16(u(r)), U32: uint32(u(r)), U64: u(r),
		F32: float32(f(r)), F64: f(r), Str: text(r), Inner: inner(r),
	}
	if r.Intn(3) > 0 {
		a.Bytes = make([]byte, 1+r.Intn(300))
		r.Read(a.Bytes)
	}
	if r.Intn(2) == 0 {
		x := inner(r)
		x.N |= 1 // a pointer to a zero struct is sent as an empty one
		a.Ptr = &x
	}
	for n := r.Intn(5); n > 0; n-- {
		a.Ints = append(a.Ints, i(r))
		a.Strs = append(a.Strs, text(r))
		a.Floats = append(a.Floats, f(r))
		a.Inners = append(a.Inners, inner(r))
		// gob does not tell a nil element from an empty one
		a.Nest = append(a.Nest, strings.Split(text(r), "o"))
	}
	for n := r.Intn(4); n > 0; n-- {
		if a.Map == nil {
			a.Map, a.Maps = map[string]int64{}, map[string]Inner{}
		}
		a.Map[text(r)] = i(r)
		a.Maps[text(r)] = inner(r)
	}
	return a
}

func i(r *rand.Rand) int64 {
	switch r.Intn(4) {
	case 0:
		return 0
	case 1:
		return []int64{math.MaxInt64, math.MinInt64, -1, 127, -128, 128, -129}[r.Intn(7)]
	default:
		return (r.Int63() - r.Int63()) >> uint(r.Intn(63))
	}
}

func u(r *rand.Rand) uint64 { return uint64(i(r)) }

// f gives finite numbers: NaN is not equal to itself.
func f(r *rand.Rand) float64 {
	return []float64{0, 1, -2.25, 17, math.MaxFloat32, r.NormFloat64(), r.ExpFloat64() * 1e30}[r.Intn(7)]
}

func inner(r *rand.Rand) Inner {
	if r.Intn(4) == 0 {
		return Inner{}
	}
	return Inner{text(r), int(i(r))}
}

func text(r *rand.Rand) string {
	words := []string{"", "größer", "名", "hello world", "a", strings.Repeat("long ", 60)}
	return words[r.Intn(len(words))] + words[r.Intn(len(words))]
}
