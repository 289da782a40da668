#[trunkline::service]
struct Arith {
    last: i64,
}

fn main() {}
