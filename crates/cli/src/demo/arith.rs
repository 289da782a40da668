//! `Arith`: whole numbers. Overflow is an error and never a wrap.

use serde::{Deserialize, Serialize};
use trunkline::{Message, Result, Status, service};

/// Two numbers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Message)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Args {
    a: i64,
    b: i64,
}

/// The result.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Message)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Reply {
    c: i64,
}

/// Arithmetic on 64-bit integers.
#[service]
pub(crate) trait Arith {
    /// A times B.
    #[idempotent]
    fn mul(&self, args: Args) -> Result<Reply>;
    /// A plus B.
    #[idempotent]
    fn add(&self, args: Args) -> Result<Reply>;
    /// A divided by B, towards zero.
    fn div(&self, args: Args) -> Result<Reply>;
}

/// Calculates.
pub(crate) struct Calculator;

impl Arith for Calculator {
    fn mul(&self, args: Args) -> Result<Reply> {
        reply(args.a.checked_mul(args.b))
    }

    fn add(&self, args: Args) -> Result<Reply> {
        reply(args.a.checked_add(args.b))
    }

    fn div(&self, args: Args) -> Result<Reply> {
        if args.b == 0 {
            return Err(Status::failed("divide by zero"));
        }
        reply(args.a.checked_div(args.b))
    }
}

fn reply(result: Option<i64>) -> Result<Reply> {
    result.map(|c| Reply { c }).ok_or_else(|| Status::failed("the result does not fit into 64 bits"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_an_error() {
        let text = |result: Result<Reply>| result.unwrap_err().message().to_owned();
        assert!(text(Calculator.mul(Args { a: i64::MAX, b: 2 })).contains("64 bits"));
        assert!(text(Calculator.add(Args { a: i64::MIN, b: -1 })).contains("64 bits"));
        assert!(text(Calculator.div(Args { a: i64::MIN, b: -1 })).contains("64 bits"));
        assert_eq!(text(Calculator.div(Args { a: 1, b: 0 })), "divide by zero");
        assert_eq!(Calculator.div(Args { a: -7, b: 2 }).unwrap(), Reply { c: -3 });
    }
}
