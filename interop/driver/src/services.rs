//! The sample services as a caller declares them.

use serde::{Deserialize, Serialize};
use trunkline::{Annotated, Bytes, Message, Result, service};

macro_rules! messages {
    ($($name:ident { $($field:ident: $type:ty),* })*) => {$(
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Message)]
        #[serde(rename_all = "PascalCase")]
        pub(crate) struct $name {
            $(pub(crate) $field: $type,)*
        }
    )*};
}

messages! {
    Args { a: i64, b: i64 }
    Product { c: i64 }
    Text { s: String }
    Sleep { millis: i64 }
    Slept { slept: i64 }
    Stats { running: i64, completed: i64, cancelled: i64 }
    Fail { message: String }
    Size { bytes: i64 }
    Big { data: String }
    Start { count: i64 }
    Started { started: i64 }
    Tick { n: i64 }
}

#[service]
pub(crate) trait Arith {
    #[idempotent]
    async fn mul(&self, args: Args) -> Result<Product>;
    #[idempotent]
    async fn add(&self, args: Args) -> Result<Product>;
    async fn div(&self, args: Args) -> Result<Product>;
}

#[service]
pub(crate) trait Echo {
    async fn echo(&self, body: Bytes) -> Result<Bytes>;
    async fn owned(&self, body: Bytes) -> Result<Bytes>;
}

#[service]
pub(crate) trait Slow {
    async fn sleep(&self, time: Sleep) -> Result<Slept>;
    async fn stats(&self) -> Result<Stats>;
}

#[service]
pub(crate) trait Fault {
    async fn fail(&self, what: Fail) -> Result<()>;
    async fn panic(&self) -> Result<()>;
    async fn big(&self, size: Size) -> Result<Big>;
}

#[service]
pub(crate) trait Meta {
    async fn echo(&self) -> Result<Annotated<()>>;
}

#[service]
pub(crate) trait Push {
    async fn start(&self, start: Start) -> Result<Started>;
}
