//! What `#[service]` makes, without a network: server, client and mock of one trait, through every codec.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use trunkline::{
    Annotated, Bytes, Call, Code, Context, Message, Metadata, NamedService, ReplyBuf, Result, Serialization,
    Service, Status,
};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Message)]
#[serde(rename_all = "PascalCase")]
struct Args {
    a: i64,
    b: i64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Message)]
#[serde(rename_all = "PascalCase")]
struct Product {
    c: i64,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum MathError {
    DivideByZero,
    Overflow { bits: u8 },
}

impl fmt::Display for MathError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DivideByZero => f.write_str("divide by zero"),
            Self::Overflow { bits } => write!(f, "more than {bits} bits"),
        }
    }
}

impl From<MathError> for Status {
    fn from(error: MathError) -> Self {
        Self::from_error(&error)
    }
}

/// Arithmetic.
///
/// On 64 bits.
#[trunkline::service]
trait Arith {
    /// Product of the two.
    #[idempotent]
    async fn mul(&self, args: Args) -> Result<Product>;
    /// Sum of the two, on the spot.
    fn add(&self, args: Args) -> Result<Product, MathError>;
    async fn div(&self, args: Args) -> Result<Product, MathError>;
    fn echo(&self, body: &[u8], reply: &mut ReplyBuf<'_>) -> Result<()>;
    async fn owned(&self, body: Bytes) -> Result<Bytes>;
    #[spawn]
    #[rename = "WhoAmI"]
    async fn identity(&self, cx: &Context) -> Result<Annotated<()>>;
    async fn later(&self, cx: Context, args: Args) -> Result<Product>;
    fn ping(&self) -> Result<()>;
}

struct Calculator;

impl Arith for Calculator {
    async fn mul(&self, args: Args) -> Result<Product> {
        let c = args.a.checked_mul(args.b).ok_or_else(|| Status::failed("overflow"))?;
        Ok(Product { c })
    }

    fn add(&self, args: Args) -> Result<Product, MathError> {
        let c = args.a.checked_add(args.b).ok_or(MathError::Overflow { bits: 64 })?;
        Ok(Product { c })
    }

    async fn div(&self, args: Args) -> Result<Product, MathError> {
        let c = args.a.checked_div(args.b).ok_or(MathError::DivideByZero)?;
        Ok(Product { c })
    }

    fn echo(&self, body: &[u8], reply: &mut ReplyBuf<'_>) -> Result<()> {
        reply.extend_from_slice(body);
        Ok(())
    }

    async fn owned(&self, body: Bytes) -> Result<Bytes> {
        Ok(body)
    }

    async fn identity(&self, cx: &Context) -> Result<Annotated<()>> {
        Ok(Annotated::new((), cx.metadata().clone()))
    }

    async fn later(&self, cx: Context, args: Args) -> Result<Product> {
        tokio::time::sleep(Duration::from_millis(args.a.unsigned_abs())).await;
        Ok(Product { c: cx.time_left().map_or(-1, |left| left.as_millis().try_into().unwrap_or(-1)) })
    }

    fn ping(&self) -> Result<()> {
        Ok(())
    }
}

fn arith() -> ArithClient<ArithServer<Calculator>> {
    ArithClient::new(ArithServer::new(Calculator))
}

#[tokio::test]
async fn a_call_goes_through_client_and_server() {
    assert_eq!(arith().mul(Args { a: 6, b: 7 }).await.unwrap(), Product { c: 42 });
}
