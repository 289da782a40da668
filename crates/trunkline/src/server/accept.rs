//! Accepting connections under limits, and dealing them to the threads that serve them.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::Core;
use super::serve::serve;
use crate::net::transport::{Listener, Unwatched};
use crate::{Peer, Service};

/// How many connections a server has at most.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ConnectionLimits {
    pub(crate) total: usize,
    pub(crate) per_address: usize,
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        Self { total: 65_536, per_address: 4_096 }
    }
}

/// A connection's place under the limits; free again when it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    _total: OwnedSemaphorePermit,
    _address: Option<AddressPlace>,
}

#[derive(Debug)]
struct AddressPlace {
    address: IpAddr,
    counts: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

impl Drop for AddressPlace {
    fn drop(&mut self) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.address) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                counts.remove(&self.address);
            }
        }
    }
}

/// Where accepted connections are served: on the runtime that accepts, or on threads of the server's own.
pub(crate) enum Workers<S> {
    Here(Arc<Core<S>>),
    Threads { inboxes: Vec<mpsc::Sender<Dealt>>, next: usize },
}

/// A connection on its way to another thread's runtime.
pub(crate) struct Dealt {
    stream: Unwatched,
    peer: Peer,
    place: Place,
}

/// How many accepted connections wait for a thread.
const INBOX: usize = 1024;

impl<S: Service> Workers<S> {
    /// Starts so many threads; none of its own for 0.
    pub(crate) fn start(core: &Arc<Core<S>>, threads: usize) -> io::Result<Self> {
        if threads == 0 {
            return Ok(Self::Here(Arc::clone(core)));
        }
        let mut inboxes = Vec::with_capacity(threads);
        for number in 0..threads {
            let (inbox, mut dealt) = mpsc::channel::<Dealt>(INBOX);
            let core = Arc::clone(core);
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            std::thread::Builder::new().name(format!("trunkline-{number}")).spawn(move || {
                runtime.block_on(async move {
                    let mut tasks = JoinSet::new();
                    loop {
                        tokio::select! {
                            biased;
                            Some(_) = tasks.join_next() => {}
                            next = dealt.recv() => match next {
                                Some(dealt) => serve_dealt(&mut tasks, &core, dealt),
                                None => break,
                            },
                        }
                    }
                    // The server has stopped; what is left over its limit is cut off here.
                });
            })?;
            inboxes.push(inbox);
        }
        Ok(Self::Threads { inboxes, next: 0 })
    }
}

fn serve_dealt<S: Service>(tasks: &mut JoinSet<()>, core: &Arc<Core<S>>, dealt: Dealt) {
    match dealt.stream.into_stream() {
        Ok(stream) => {
            let core = Arc::clone(core);
            tasks.spawn(async move {
                let _place = dealt.place;
                serve(core, stream, dealt.peer).await;
            });
        }
        Err(error) => tracing::warn!(peer = %dealt.peer, %error, "an accepted connection was lost"),
    }
}

/// Accepts on all listeners of a server.
pub(crate) struct Acceptor<S> {
    core: Arc<Core<S>>,
    workers: Workers<S>,
    limits: ConnectionLimits,
    total: Arc<Semaphore>,
    addresses: Arc<Mutex<HashMap<IpAddr, usize>>>,
    tasks: JoinSet<()>,
}

impl<S: Service> Acceptor<S> {
    pub(crate) fn new(core: Arc<Core<S>>, workers: Workers<S>, limits: ConnectionLimits) -> Self {
        let total = Arc::new(Semaphore::new(limits.total.min(Semaphore::MAX_PERMITS)));
        Self { core, workers, limits, total, addresses: Arc::default(), tasks: JoinSet::new() }
    }

    /// Accepts until a stop has begun, then waits for the connections, at most until the stop's limit.
    pub(crate) async fn accept_until_stopped(
        &mut self,
        listeners: Vec<Listener>,
        mut stopped: watch::Receiver<Option<Instant>>,
    ) {
        let (accepted, mut connections) = mpsc::channel(1);
        let mut accepting = JoinSet::new();
        for listener in listeners {
            accepting.spawn(accept_from(listener, Arc::clone(&self.total), accepted.clone()));
        }
        drop(accepted);
        while stopped.borrow().is_none() {
            tokio::select! {
                biased;
                changed = stopped.changed() => if changed.is_err() {
                    // Every handle is gone: nobody can stop the server any more.
                    std::future::pending::<()>().await;
                },
                Some(_) = self.tasks.join_next() => {}
                Some((stream, peer, permit)) = connections.recv() => self.admit(stream, peer, permit).await,
            }
        }
        accepting.shutdown().await;
        // Whoever is told dials again at once: by now nobody listens here, and the dial is not lost on the way.
        self.core.drain.begin();
        self.wait_for_connections(&mut stopped).await;
    }

    async fn admit(&mut self, stream: Unwatched, peer: Peer, permit: OwnedSemaphorePermit) {
        let address = match &peer {
            Peer::Tcp(address) => match self.address_place(address.ip()) {
                Ok(place) => place,
                Err(TooMany) => {
                    let limit = self.limits.per_address;
                    tracing::warn!(%peer, limit, "closed: too many connections from one address");
                    return;
                }
            },
            _ => None,
        };
        let place = Place { _total: permit, _address: address };
        match &mut self.workers {
            Workers::Here(core) => {
                let core = Arc::clone(core);
                let Ok(stream) = stream.into_stream() else { return };
                self.tasks.spawn(async move {
                    let _place = place;
                    serve(core, stream, peer).await;
                });
            }
            Workers::Threads { inboxes, next } => {
                *next = (*next + 1) % inboxes.len().max(1);
                if let Some(inbox) = inboxes.get(*next) {
                    // A thread that has 1,024 connections to begin makes the others wait in the backlog.
                    let _ = inbox.send(Dealt { stream, peer, place }).await;
                }
            }
        }
    }

    /// A place for one more connection of this address; none is needed for the own machine.
    fn address_place(&self, address: IpAddr) -> Result<Option<AddressPlace>, TooMany> {
        // On a listener for both protocols an IPv4 address comes as an IPv6 one.
        let address = address.to_canonical();
        if address.is_loopback() {
            return Ok(None);
        }
        let mut counts = self.addresses.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(address).or_default();
        if *count >= self.limits.per_address {
            return Err(TooMany);
        }
        *count += 1;
        Ok(Some(AddressPlace { address, counts: Arc::clone(&self.addresses) }))
    }

    async fn wait_for_connections(&mut self, stopped: &mut watch::Receiver<Option<Instant>>) {
        loop {
            let limit = stopped.borrow_and_update().unwrap_or_else(Instant::now);
            let drain = Arc::clone(&self.core.drain);
            tokio::select! {
                biased;
                () = std::future::poll_fn(|cx| drain.poll_idle(cx)) => return,
                () = tokio::time::sleep_until(limit) => {
                    let connections = drain.connections();
                    tracing::warn!(connections, "the limit of the stop has passed: cut off");
                    self.tasks.shutdown().await;
                    return;
                }
                changed = stopped.changed() => if changed.is_err() {
                    tokio::time::sleep_until(limit).await;
                },
                Some(_) = self.tasks.join_next() => {}
            }
        }
    }
}

/// An address has as many connections as it may have.
#[derive(Debug)]
struct TooMany;

type Accepted = (Unwatched, Peer, OwnedSemaphorePermit);

/// Accepts from one listener. What cannot be accepted (no descriptors left) is tried again after a while.
async fn accept_from(mut listener: Listener, total: Arc<Semaphore>, accepted: mpsc::Sender<Accepted>) {
    const FIRST_PAUSE: Duration = Duration::from_millis(5);
    const LAST_PAUSE: Duration = Duration::from_secs(1);
    let mut pause = FIRST_PAUSE;
    loop {
        // Room is waited for, but not taken before a connection is there: another listener may need it sooner.
        if total.acquire().await.is_err() {
            return;
        }
        match listener.accept_unwatched().await {
            Ok((stream, peer)) => {
                pause = FIRST_PAUSE;
                let Ok(permit) = Arc::clone(&total).acquire_owned().await else { return };
                if accepted.send((stream, peer, permit)).await.is_err() {
                    return;
                }
            }
            Err(error) => {
                if pause == FIRST_PAUSE || pause == LAST_PAUSE {
                    tracing::warn!(%error, "cannot accept; trying again");
                }
                tokio::time::sleep(pause).await;
                pause = pause.saturating_mul(2).min(LAST_PAUSE);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
    use trunkline_wire::Limits;

    use super::*;
    use crate::server::Router;

    fn acceptor(total: usize, per_address: usize) -> Acceptor<Arc<Router>> {
        let router = Arc::new(Router::default());
        let core = Arc::new(Core::new(Arc::clone(&router), router, Limits::default()));
        Acceptor::new(Arc::clone(&core), Workers::Here(core), ConnectionLimits { total, per_address })
    }

    fn place(acceptor: &Acceptor<Arc<Router>>, address: &str) -> Result<Option<AddressPlace>, TooMany> {
        acceptor.address_place(address.parse().unwrap())
    }

    #[test]
    fn an_address_has_so_many_places_and_no_more() {
        let acceptor = acceptor(100, 3);
        let mut places: Vec<_> =
            (0..3).map(|_| place(&acceptor, "192.0.2.1").unwrap().expect("it is counted")).collect();
        assert!(place(&acceptor, "192.0.2.1").is_err());
        assert!(place(&acceptor, "::ffff:192.0.2.1").is_err(), "the same address, written another way");
        assert!(place(&acceptor, "192.0.2.2").is_ok() && place(&acceptor, "2001:db8::1").is_ok());
        places.pop();
        let again = place(&acceptor, "::ffff:192.0.2.1").unwrap();
        assert!(again.is_some() && place(&acceptor, "192.0.2.1").is_err());
        drop((again, places));
        assert!(acceptor.addresses.lock().unwrap().is_empty(), "an address without connections is forgotten");
    }

    #[test]
    fn the_own_machine_is_not_counted() {
        let acceptor = acceptor(100, 1);
        for address in ["127.0.0.1", "127.1.2.3", "::1", "::ffff:127.0.0.1"] {
            for _ in 0..3 {
                assert!(place(&acceptor, address).unwrap().is_none(), "{address}");
            }
        }
    }

    async fn connect(acceptor: &mut Acceptor<Arc<Router>>, address: &str) -> DuplexStream {
        let (near, far) = tokio::io::duplex(4096);
        let peer = Peer::Tcp(address.parse::<SocketAddr>().unwrap());
        let permit = Arc::clone(&acceptor.total).try_acquire_owned().unwrap();
        acceptor.admit(Unwatched::Memory(far), peer, permit).await;
        near
    }

    /// Whether a call is answered, if only by saying that there is no such service.
    async fn is_served(stream: &mut DuplexStream) -> bool {
        let call = [&[8, 0, 0, 0][..], &[0; 8], &[0, 0, 0, 16], &[0; 16]].concat();
        let _ = stream.write_all(&call).await;
        stream.read_u8().await.is_ok()
    }

    /// From the listener on: over the limit a connection is closed, the others go on, and its end makes room.
    #[tokio::test(start_paused = true)]
    async fn a_connection_too_many_of_one_address_is_closed() {
        let mut acceptor = acceptor(4, 2);
        let mut first = connect(&mut acceptor, "192.0.2.1:1").await;
        let mut second = connect(&mut acceptor, "192.0.2.1:2").await;
        let mut third = connect(&mut acceptor, "192.0.2.1:3").await;
        let mut other = connect(&mut acceptor, "192.0.2.2:1").await;
        assert!(!is_served(&mut third).await, "it is closed");
        assert!(is_served(&mut first).await && is_served(&mut second).await && is_served(&mut other).await);
        assert_eq!(acceptor.total.available_permits(), 1, "what is refused takes no place");
        drop(second);
        acceptor.tasks.join_next().await.unwrap().unwrap();
        let mut again = connect(&mut acceptor, "192.0.2.1:4").await;
        assert!(is_served(&mut again).await && is_served(&mut first).await);
    }
}
