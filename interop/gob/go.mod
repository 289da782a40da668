module trunkline.test/interop/gob

go 1.23
