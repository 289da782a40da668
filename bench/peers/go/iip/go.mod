module trunkline.test/bench/peers/iip

go 1.26.0

require (
	github.com/truexf/iip v1.3.5-0.20230410095017-8ee6128dbac7
	trunkline.test/bench/peer v0.0.0
)

require (
	github.com/truexf/goutil v1.4.10 // indirect
	golang.org/x/text v0.3.8 // indirect
)

replace trunkline.test/bench/peer => ../peer
