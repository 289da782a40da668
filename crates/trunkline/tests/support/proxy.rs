//! A proxy that spoils what passes through it: between any client and any server over TCP.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// What happens to the bytes of one direction.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Fault {
    /// Writes have 1 to 7 bytes.
    pub(crate) slices: bool,
    /// Each write waits so long at most, at random.
    pub(crate) delay: Duration,
    /// The connection ends after so many bytes.
    pub(crate) cut: Option<Cut>,
    /// This bit (0 to 7) of the byte at this place is turned over.
    pub(crate) flip: Option<(u64, u8)>,
    /// So many bytes pass in a second; 0: as many as come.
    pub(crate) rate: u32,
}

/// How a connection ends.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Cut {
    /// In order, after so many bytes.
    Fin(u64),
    /// Abruptly, after so many bytes.
    Reset(u64),
}

/// The proxy; it ends with this.
pub(crate) struct Proxy {
    pub(crate) address: String,
    /// Nothing passes any more, and nobody is told.
    pub(crate) black_hole: Arc<AtomicBool>,
    /// Connections that were made.
    pub(crate) connections: Arc<AtomicU64>,
    _tasks: JoinSet<()>,
}

impl Proxy {
    /// Between whoever dials [`Proxy::address`] and `server`. `faults` says what happens to the n-th connection:
    /// on the way to the server, and back.
    pub(crate) async fn start(
        server: String,
        faults: impl Fn(u64) -> (Fault, Fault) + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let black_hole = Arc::<AtomicBool>::default();
        let connections = Arc::<AtomicU64>::default();
        let mut tasks = JoinSet::new();
        let (hole, count) = (Arc::clone(&black_hole), Arc::clone(&connections));
        tasks.spawn(async move {
            let mut passing = JoinSet::new();
            while let Ok((near, _)) = listener.accept().await {
                let (there, back) = faults(count.fetch_add(1, Ordering::SeqCst));
                let (server, hole) = (server.clone(), Arc::clone(&hole));
                passing.spawn(async move {
                    if let Ok(far) = TcpStream::connect(server).await {
                        pass(near, far, there, back, &hole).await;
                    }
                });
                while passing.try_join_next().is_some() {}
            }
        });
        Self { address, black_hole, connections, _tasks: tasks }
    }
}

async fn pass(near: TcpStream, far: TcpStream, there: Fault, back: Fault, hole: &AtomicBool) {
    for stream in [&near, &far] {
        stream.set_nodelay(true).unwrap();
    }
    let ((near_read, near_write), (far_read, far_write)) = (near.into_split(), far.into_split());
    let (there, back) =
        (one_way(near_read, far_write, there, hole), one_way(far_read, near_write, back, hole));
    let (mut there, mut back) = (std::pin::pin!(there), std::pin::pin!(back));
    // Each direction ends by itself, as a half-closed connection does; a cut ends both.
    tokio::select! {
        ended = &mut there => wait_for_the_other(ended, back).await,
        ended = &mut back => wait_for_the_other(ended, there).await,
    }
}

async fn wait_for_the_other(
    ended: Option<Cut>,
    other: std::pin::Pin<&mut impl Future<Output = Option<Cut>>>,
) {
    let time = match ended {
        None => Duration::MAX,
        // What was sent before the end must get there.
        Some(Cut::Fin(_)) => Duration::from_millis(50),
        Some(Cut::Reset(_)) => return,
    };
    let _ = tokio::time::timeout(time, other).await;
}

/// Turns over the bit that is to be turned over, if it is among these bytes; `seen` came before them.
fn flip(bytes: &mut [u8], fault: Fault, seen: &mut u64) {
    if let Some((at, bit)) = fault.flip
        && let Some(here) = at.checked_sub(*seen)
        && let Some(byte) = bytes.get_mut(usize::try_from(here).unwrap())
    {
        *byte ^= 1 << bit;
    }
    *seen += bytes.len() as u64;
}

/// One direction, to its end; how it was cut, if it was.
async fn one_way(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    fault: Fault,
    hole: &AtomicBool,
) -> Option<Cut> {
    let mut left = match fault.cut {
        Some(Cut::Fin(after) | Cut::Reset(after)) => after,
        None => u64::MAX,
    };
    let mut buffer = vec![0; 64 << 10];
    let mut seen = 0;
    loop {
        let n = if left == 0 { 0 } else { from.read(&mut buffer).await.unwrap_or(0) };
        let passes = n.min(usize::try_from(left).unwrap_or(usize::MAX));
        left -= passes as u64;
        flip(&mut buffer[..passes], fault, &mut seen);
        let mut rest = &buffer[..passes];
        if n == 0 {
            break;
        }
        while !rest.is_empty() {
            let most = match fault {
                Fault { slices: true, .. } => fastrand::usize(1..=7),
                Fault { rate: rate @ 1.., .. } => usize::try_from(rate.div_ceil(50)).unwrap(),
                _ => usize::MAX,
            };
            let size = most.min(rest.len());
            if !fault.delay.is_zero() {
                tokio::time::sleep(fault.delay.mul_f64(fastrand::f64())).await;
            }
            if hole.load(Ordering::SeqCst) {
                return std::future::pending().await;
            }
            if to.write_all(&rest[..size]).await.is_err() {
                return None;
            }
            rest = &rest[size..];
            if fault.rate > 0 {
                let took = Duration::from_secs(1).mul_f64(size as f64 / f64::from(fault.rate));
                tokio::time::sleep(took).await;
            }
            if fault.slices {
                // Every piece a segment of its own, as far as the other side is awake.
                tokio::task::yield_now().await;
            }
        }
    }
    let cut = fault.cut.filter(|_| left == 0);
    if let Some(Cut::Reset(_)) = cut {
        let _ = socket2::SockRef::from(to.as_ref()).set_linger(Some(Duration::ZERO));
        to.forget();
    } else {
        let _ = to.shutdown().await;
    }
    cut
}
