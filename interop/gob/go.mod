module trunkline.test/interop/gob

go 1.23

require trunkline.test/interop/stand v0.0.0

replace trunkline.test/interop/stand => ../stand
