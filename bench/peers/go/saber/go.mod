module trunkline.test/bench/peers/saber

go 1.26.0

require (
	github.com/goinggo/mapstructure v0.0.0-20140717182941-194205d9b4a9
	github.com/xingshuo/saber v0.0.0-20230324160039-3c941c6d0d77
	trunkline.test/bench/peer v0.0.0
)

replace trunkline.test/bench/peer => ../peer
