module trunkline.test/interop/stand

go 1.23
