//! One accepted connection: which wire it speaks, and the session that fits.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use bytes::Bytes;
use trunkline_wire::detect::{self, Detected, Detection};
#[cfg(feature = "netrpc")]
use trunkline_wire::netrpc;
use trunkline_wire::{Session, iip, rpcx};

use super::Core;
use super::connection::ServerRole;
use crate::context::ConnectionInfo;
use crate::net::buffers::Inbound;
use crate::net::driver::{Close, Connection};
use crate::net::transport::{Io, Stream};
use crate::push::PushQueue;
use crate::{Peer, Service};

/// How long the first bytes may take, once the first of them is there. Before it there is no limit: clients may
/// connect early.
const FIRST_BYTES: Duration = Duration::from_secs(10);

/// Serves one connection to its end.
// Written so that a future does not hold its arguments twice: an idle connection has to be small.
#[expect(clippy::manual_async_fn, reason = "an async fn keeps a copy of its arguments")]
pub(crate) fn serve<S: Service>(
    core: Arc<Core<S>>,
    mut stream: Stream,
    peer: Peer,
) -> impl Future<Output = ()> + Send {
    async move {
        let Some((wire, first)) = first_bytes(&core, &mut stream, &peer).await else {
            return;
        };
        #[cfg(feature = "gateway")]
        if core.front.is_some() && wire != Detected::Http {
            tracing::warn!(%peer, ?wire, "closed: only HTTP is served here");
            return;
        }
        match wire {
            Detected::Rpcx => serve_wire::<rpcx::Rpcx, S>(core, stream, peer, first).await,
            Detected::Iip => serve_wire::<iip::Iip, S>(core, stream, peer, first).await,
            #[cfg(feature = "netrpc")]
            // Its session is larger than the others', and they need not have room for it.
            Detected::Gob => Box::pin(serve_wire::<netrpc::NetRpc, S>(core, stream, peer, first)).await,
            #[cfg(feature = "http")]
            Detected::Http => Box::pin(super::http::serve(core, stream, peer, first)).await,
            #[cfg(feature = "node")]
            Detected::Saber if core.saber.is_some() => {
                if let Some(saber) = core.saber.clone() {
                    super::saber::serve(saber, core, stream, peer, first).await;
                }
            }
            other => {
                tracing::warn!(%peer, wire = ?other, "closed: this wire is not served here");
            }
        }
    }
}

/// Serves a connection that speaks the wire `W`; `first` was read from it already.
pub(crate) fn serve_wire<W: Session, S: Service>(
    core: Arc<Core<S>>,
    stream: impl Io + Send,
    peer: Peer,
    first: Bytes,
) -> impl Future<Output = ()> + Send {
    let info = Arc::new(ConnectionInfo {
        peer,
        wire: W::NAME,
        can_push: W::PUSHES,
        can_resume: W::STREAMS,
        leaving: AtomicBool::new(false),
        pushes: PushQueue::open(),
    });
    async move {
        let role = ServerRole::<W, S>::new(&core, Arc::clone(&info));
        let close = Connection::new(stream, role, &core.patience, first).run().await;
        log_close(&info, &close);
    }
}

pub(crate) fn log_close(info: &ConnectionInfo, close: &Close) {
    let (peer, wire) = (&info.peer, info.wire);
    match close {
        Close::Done | Close::Io(_) => tracing::debug!(%peer, wire, reason = %close, "closed"),
        _ => tracing::warn!(%peer, wire, reason = %close, "closed"),
    }
}

/// Reads until it is clear which wire is spoken.
async fn first_bytes<S: Service>(
    core: &Core<S>,
    stream: &mut Stream,
    peer: &Peer,
) -> Option<(Detected, Bytes)> {
    let mut watch = core.drain.watch();
    let mut inbound = Inbound::default();
    let read = tokio::select! {
        biased;
        read = read_more(&mut inbound, stream) => read,
        () = watch.begun() => return None,
    };
    let mut bytes = read?;
    let more = async {
        loop {
            match detect::detect(&bytes, &core.limits) {
                Detection::Wire(wire) => return Some((wire, bytes)),
                Detection::NeedMore => {
                    inbound.keep(&bytes, 0);
                    bytes = read_more(&mut inbound, stream).await?;
                }
                Detection::Unknown => {
                    let first = bytes.get(..16).unwrap_or(&bytes).escape_ascii();
                    tracing::warn!(%peer, %first, "closed: no wire begins like this");
                    return None;
                }
            }
        }
    };
    let decided = tokio::select! {
        biased;
        decided = tokio::time::timeout(FIRST_BYTES, more) => decided,
        () = watch.begun() => return None,
    };
    let Ok(decided) = decided else {
        tracing::warn!(%peer, "closed: the first bytes do not say which wire is spoken, and no more came in 10 s");
        return None;
    };
    decided
}

/// One read through the thread's buffer; `None` at the end of the stream or where it fails.
async fn read_more(inbound: &mut Inbound, stream: &mut Stream) -> Option<Bytes> {
    std::future::poll_fn(|cx| inbound.poll_read(stream, cx)).await.ok().flatten()
}
