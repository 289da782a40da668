//! What the demo answers on IIP beside `/Service/Method`: paths that stream.

use trunkline::codec::Payload;
use trunkline::describe::{MethodInfo, ServiceInfo};
use trunkline::{
    Body, Bytes, Call, Code, IntoReply, NamedService, Reply, Result, Serialization, Service, Status,
    Streaming, metadata,
};

/// The most frames that `/count` answers in.
const MOST: u32 = 100_000;

const COUNT: &str = "/count";
const UPPER: &str = "/upper";

/// `/count?n=5` and `/upper`.
pub(super) struct Paths;

impl NamedService for Paths {
    fn describe(&self) -> ServiceInfo {
        let methods = vec![MethodInfo::new(COUNT), MethodInfo::new(UPPER)];
        ServiceInfo { name: "".into(), doc: "", methods }
    }
}

impl Service for Paths {
    async fn call(&self, call: Call) -> Result<Reply> {
        if call.method() == UPPER { upper(call.into_parts().1) } else { count(&call) }
    }
}

/// Answers in n frames, `1` to n.
fn count(call: &Call) -> Result<Reply> {
    let uri = call.metadata().get(metadata::URI).unwrap_or_default();
    let query = uri.split_once('?').map_or("", |(_, query)| query);
    let n = query.split('&').find_map(|pair| pair.strip_prefix("n=")).and_then(|n| n.parse().ok());
    let Some(n) = n.filter(|n| (1..=MOST).contains(n)) else {
        let text = format!("{COUNT} wants n from 1 to {MOST}, as in {COUNT}?n=5");
        return Err(Status::new(Code::InvalidInput, text));
    };
    framed(Streaming::iter((1..=n).map(|number| number.to_string())))
}

/// Answers each frame in capitals as it comes.
fn upper(body: Body) -> Result<Reply> {
    let mut frames = match body {
        Body::Full(bytes) => return Ok(Reply::new(capitals(&bytes))),
        Body::Stream(frames) => frames,
    };
    framed(Streaming::produce(|answer| async move {
        while let Some(frame) = frames.next().await {
            answer.send(capitals(&frame?)).await?;
        }
        Ok(())
    }))
}

/// Each item as it is in a frame of its own.
fn framed<T: Payload + Send + 'static>(items: Streaming<T>) -> Result<Reply> {
    Ok(items.into_reply(Serialization::Raw)?)
}

fn capitals(bytes: &[u8]) -> Bytes {
    bytes.to_ascii_uppercase().into()
}
