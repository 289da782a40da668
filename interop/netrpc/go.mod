module trunkline.test/interop/netrpc

go 1.23

require (
	github.com/vmihailenco/msgpack v4.0.4+incompatible
	github.com/zzinno/zrpc v0.0.3
	trunkline.test/interop/stand v0.0.0
)

replace trunkline.test/interop/stand => ../stand
