module trunkline.test/bench/peers/zrpc

go 1.26.0

require (
	github.com/zzinno/zrpc v0.0.3
	trunkline.test/bench/peer v0.0.0
)

replace trunkline.test/bench/peer => ../peer
