// Package parts generates what the values of the gob programs are made of: zero, small, extreme or anything in between.
package parts

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

func Int(r *rand.Rand) int64 {
	switch r.Intn(4) {
	case 0:
		return 0
	case 1:
		return []int64{math.MaxInt64, math.MinInt64, -1, 127, -128, 128, -129}[r.Intn(7)]
	default:
		return (r.Int63() - r.Int63()) >> uint(r.Intn(63))
	}
}

func Uint(r *rand.Rand) uint64 { return uint64(Int(r)) }

// Float gives numbers that are equal to themselves and that JSON has. None that needs more digits as a float64 than as
// a float32 is both: gob does not say which of them a value was.
func Float(r *rand.Rand) float64 {
	return []float64{0, 1, -2.25, 17, 3.5e37, r.NormFloat64(), r.ExpFloat64() * 1e30, 1e-7}[r.Intn(8)]
}

func Text(r *rand.Rand) string {
	words := []string{"", "größer", "名", "hello world", "a", strings.Repeat("long ", 60)}
	return words[r.Intn(len(words))] + words[r.Intn(len(words))]
}

func NewInner(r *rand.Rand) Inner {
	if r.Intn(4) == 0 {
		return Inner{}
	}
	return Inner{Text(r), int(Int(r))}
}
