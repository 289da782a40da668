module trunkline.test/bench/peer

go 1.23
