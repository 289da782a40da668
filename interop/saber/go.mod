module trunkline.test/interop/saber

go 1.23

require (
	github.com/xingshuo/saber v0.0.0-20230324160039-3c941c6d0d77
)
