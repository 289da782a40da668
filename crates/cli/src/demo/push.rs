//! `Push`: messages of the server's own on the caller's connection.

use serde::{Deserialize, Serialize};
use trunkline::{
    Code, Context, Message, Metadata, Name, Push as Pushed, Result, Serialization, Status, service,
};

/// How many messages to send.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Message)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Start {
    count: i64,
}

/// How many messages were sent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Message)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Started {
    started: i64,
}

/// Messages that nobody asked for one by one.
#[service]
pub(crate) trait Push {
    /// Sends Count messages `Push.Tick` with the body `{"N":1}`, `{"N":2}` … on the same connection.
    async fn start(&self, context: &Context, start: Start) -> Result<Started>;
}

/// Ticks.
pub(crate) struct Ticker;

impl Push for Ticker {
    async fn start(&self, context: &Context, start: Start) -> Result<Started> {
        if start.count < 0 {
            return Err(Status::new(Code::InvalidInput, "Count must not be negative"));
        }
        let Some(pusher) = context.pusher() else {
            let text = format!("the {} wire carries no messages of the server's own", context.wire());
            return Err(Status::new(Code::Unsupported, text));
        };
        // After the answer, which is written as soon as this returns.
        tokio::spawn(async move {
            tokio::task::yield_now().await;
            for n in 1..=start.count {
                if pusher.push(tick(n)).await.is_err() {
                    return; // The caller is gone.
                }
            }
        });
        Ok(Started { started: start.count })
    }
}

fn tick(n: i64) -> Pushed {
    Pushed {
        service: Name::from_static("Push"),
        method: Name::from_static("Tick"),
        metadata: Metadata::new(),
        serialization: Serialization::Json,
        body: format!("{{\"N\":{n}}}").into(),
    }
}
