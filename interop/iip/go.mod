module trunkline.test/interop/iip

go 1.23

require (
	github.com/truexf/iip v1.3.5-0.20230410095017-8ee6128dbac7
	trunkline.test/interop/stand v0.0.0
)

require github.com/truexf/goutil v1.4.10 // indirect

replace trunkline.test/interop/stand => ../stand
