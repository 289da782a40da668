//! IIP's system paths: what the server says of itself, in the Go program's own shapes. Who may ask, and what differs, is
//! said in the documentation of [`server`](crate::server).

mod connections;
mod measure;
mod render;
#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::task::Waker;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior};
use trunkline_wire::{MethodNumbers, Session, Traffic, iip};

use self::connections::{Connections, Place};
use self::measure::{Measure, Seen};
use self::render::{Count, Statis};
use super::router::Router;
use crate::describe::{MethodInfo, ServiceInfo};
use crate::layer::Counters;
use crate::service::reply_over_limit;
use crate::{Call, Code, Context, NamedService, Peer, Reply, Result, Service, Status};

const SERVER_COUNT: &str = "/sys/server_count";
const PATH_COUNT: &str = "/sys/path_count";
const SERVER_MEASURE: &str = "/sys/server_measure";
const PATH_MEASURE: &str = "/sys/path_measure";
const STATIS: &str = "/sys/statis";
const CONNECTION_STATIS: &str = "/sys/connection_statis";

const PATHS: [&str; 6] = [SERVER_COUNT, PATH_COUNT, SERVER_MEASURE, PATH_MEASURE, STATIS, CONNECTION_STATIS];

/// The most data that a system path takes in bytes.
const MOST_DATA: usize = 4096;

/// What a server knows of itself.
#[derive(Debug, Default)]
pub(crate) struct Sys {
    /// Set when the server is whole.
    parts: OnceLock<Parts>,
    connections: Connections,
    ring: Mutex<Ring>,
    ticks: AtomicBool,
}

#[derive(Debug)]
struct Parts {
    /// Weak, since the router holds the service that looks at this.
    router: Weak<Router>,
    numbers: MethodNumbers,
    counters: Arc<Counters>,
    /// Every caller has shown a token before it comes here.
    token: bool,
    /// The largest body of a reply in bytes.
    body: usize,
}

/// What came in each second.
#[derive(Debug, Default)]
struct Ring {
    begun: Option<Instant>,
    /// When it was looked at last, in seconds since `begun`: what came since belongs to this second.
    second: u64,
    /// By the methods' numbers.
    measures: Vec<Measure>,
}

/// An IIP connection's part in it.
pub(crate) struct Joined {
    sys: Arc<Sys>,
    place: Place,
}

impl Joined {
    /// At each poll of the connection's task, whose waker this is.
    #[inline]
    pub(crate) fn answer<W: Session>(&self, session: &mut W, waker: &Waker) {
        self.sys.connections.answer(&self.place, session, waker);
    }

    /// The connection has ended.
    pub(crate) fn leave<W: Session>(&self, session: &mut W) {
        self.sys.connections.leave(&self.place, session);
    }
}

impl Sys {
    /// The server is whole.
    pub(super) fn set(&self, router: &Arc<Router>, counters: &Arc<Counters>, token: bool, body: usize) {
        let (router, counters) = (Arc::downgrade(router), Arc::clone(counters));
        let table = Weak::clone(&router);
        let numbers = MethodNumbers::new(move |service, method| {
            table.upgrade()?.find_route(service, method).map(|route| route.id.flat)
        });
        // It is set once, where the server is built.
        let _ = self.parts.set(Parts { router, numbers, counters, token, body });
    }

    /// Whether every caller has to show a token.
    #[cfg(feature = "node")]
    pub(crate) fn asks_for_token(&self) -> bool {
        self.parts.get().is_some_and(|parts| parts.token)
    }

    /// A connection has begun whose session counts.
    pub(super) fn join<W: Session>(self: &Arc<Self>, session: &mut W, peer: &Peer) -> Box<Joined> {
        if let Some(parts) = self.parts.get() {
            session.count_methods(parts.numbers.clone());
        }
        if !self.ticks.swap(true, Ordering::Relaxed) {
            drop(self.update());
            tokio::spawn(tick(Arc::downgrade(self)));
        }
        Box::new(Joined { sys: Arc::clone(self), place: self.connections.join(peer.clone()) })
    }

    /// Puts what came since the last time to its second.
    fn update(&self) -> Option<std::sync::MutexGuard<'_, Ring>> {
        let parts = self.parts.get()?;
        let methods = parts.router.upgrade()?.method_count();
        let mut ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        let first = ring.begun.is_none();
        let begun = *ring.begun.get_or_insert_with(Instant::now);
        let last = ring.second;
        ring.measures.resize_with(methods, Measure::default);
        for (index, measure) in ring.measures.iter_mut().enumerate() {
            // In this order: a call is timed before it counts as ended.
            let ended = parts.counters.method(index).calls;
            let seen = Seen { ended, times: parts.counters.times(index) };
            if first { measure.begin(&seen) } else { measure.update(&seen, last) }
        }
        ring.second = begun.elapsed().as_secs();
        Some(ring)
    }

    /// The number of the method that a path calls.
    fn number(&self, path: &[u8]) -> Option<usize> {
        let (service, method) = iip::names(path);
        let place = self.parts.get()?.router.upgrade()?.find_route(service, method)?.id.flat;
        usize::try_from(place).ok()
    }

    async fn server_count(&self) -> Vec<u8> {
        render::json(&Count::of_sent(&total(&self.connections.sent().await)))
    }

    async fn path_count(&self, path: &[u8]) -> Result<Vec<u8>> {
        let number = self.number(path).ok_or_else(|| not_supported(PATH_COUNT))?;
        let sent = self.connections.sent().await;
        Ok(render::json(&Count::of_sent(&sent.get(number).copied().unwrap_or_default())))
    }

    fn server_measure(&self) -> Result<Vec<u8>> {
        let ring = self.update().ok_or_else(stopping)?;
        let mut all = Measure::default();
        ring.measures.iter().for_each(|measure| all.add(measure));
        Ok(render::measure_json(&all, ring.second))
    }

    fn path_measure(&self, path: &[u8]) -> Result<Vec<u8>> {
        let number = self.number(path).ok_or_else(|| not_supported(PATH_MEASURE))?;
        let ring = self.update().ok_or_else(stopping)?;
        let measure = ring.measures.get(number).cloned().unwrap_or_default();
        Ok(render::measure_json(&measure, ring.second))
    }

    async fn statis(&self, data: &[u8]) -> Result<Vec<u8>> {
        let sent = self.connections.sent().await;
        let router = self.parts.get().and_then(|parts| parts.router.upgrade()).ok_or_else(stopping)?;
        let ring = self.update().ok_or_else(stopping)?;
        let mut all = Measure::default();
        ring.measures.iter().for_each(|measure| all.add(measure));
        let mut statis = Statis::new(render::unit(data), ring.second);
        statis.total(&Count::of_sent(&total(&sent)), &all);
        for (index, ((service, method), measure)) in router.methods().zip(&ring.measures).enumerate() {
            let count = Count::of_sent(&sent.get(index).copied().unwrap_or_default());
            let path = if service.is_paths() {
                method.name.to_owned()
            } else {
                format!("/{}/{}", service.name, method.name)
            };
            statis.path(&path, &count, measure);
        }
        Ok(statis.into_bytes())
    }

    async fn connection_statis(&self) -> Result<Vec<u8>> {
        let limit = self.parts.get().map_or(usize::MAX, |parts| parts.body);
        let (mut all, mut more) = (vec![b'{'], 0usize);
        self.connections
            .ask(true, |peer, report| {
                if all.len() > 1 {
                    all.push(b',');
                }
                more = more.saturating_add(1);
                // Callers on a Unix socket have no address that tells them apart.
                let name = if *peer == Peer::Unix { format!("{peer}#{more}") } else { peer.to_string() };
                all.extend(render::json(&name));
                all.push(b':');
                all.extend(render::json(&render::Connection::of(&report)));
                all.len() <= limit
            })
            .await;
        all.push(b'}');
        if all.len() > limit { Err(reply_over_limit(limit)) } else { Ok(all) }
    }
}

fn total(sent: &[Traffic]) -> Traffic {
    sent.iter().fold(Traffic::default(), |mut all, sent| {
        all.add(sent);
        all
    })
}

fn not_supported(path: &'static str) -> Status {
    Status::failed(format!("path [{path}] not support"))
}

fn stopping() -> Status {
    Status::new(Code::Unavailable, "the server stops")
}

/// Looks at the counters once a second, as long as the server is there.
async fn tick(sys: Weak<Sys>) {
    let mut seconds = tokio::time::interval(Duration::from_secs(1));
    seconds.set_missed_tick_behavior(MissedTickBehavior::Skip);
    seconds.tick().await;
    loop {
        seconds.tick().await;
        match sys.upgrade() {
            Some(sys) => drop(sys.update()),
            None => return,
        }
    }
}

/// Whether a method is one of these.
pub(super) fn is_own(service: &ServiceInfo, method: &MethodInfo) -> bool {
    service.is_paths() && PATHS.contains(&method.name)
}

/// The service that answers the system paths. It belongs to every server, and is not listed.
#[derive(Debug)]
pub(super) struct SysService(pub(super) Arc<Sys>);

impl NamedService for SysService {
    fn describe(&self) -> ServiceInfo {
        ServiceInfo { name: "".into(), doc: "", methods: PATHS.map(MethodInfo::new).into() }
    }
}

impl SysService {
    /// Whether the caller is answered; see the module's documentation.
    fn lets_in(&self, context: &Context) -> bool {
        let near = match context.peer() {
            Peer::Tcp(address) => address.ip().to_canonical().is_loopback(),
            Peer::Unix | Peer::Memory(_) => true,
            Peer::Local => false,
        };
        context.wire() == "iip" && (near || self.0.parts.get().is_some_and(|parts| parts.token))
    }
}

impl Service for SysService {
    async fn call(&self, call: Call) -> Result<Reply> {
        let index = call.method_id().map(|id| id.index());
        let (context, body) = call.into_parts();
        if !self.lets_in(&context) {
            return Err(Status::new(Code::NotFound, "rpcx: can't find service ").not_begun());
        }
        let data = body.whole(MOST_DATA).await?;
        let sys = &self.0;
        let path = index.and_then(|index| PATHS.get(index)).copied();
        let answer = match path {
            Some(SERVER_COUNT) => sys.server_count().await,
            Some(PATH_COUNT) => sys.path_count(&data).await?,
            Some(SERVER_MEASURE) => sys.server_measure()?,
            Some(PATH_MEASURE) => sys.path_measure(&data)?,
            Some(STATIS) => sys.statis(&data).await?,
            Some(CONNECTION_STATIS) => sys.connection_statis().await?,
            _ => return Err(Status::new(Code::NotFound, "no such path").not_begun()),
        };
        Ok(Reply::new(answer))
    }
}
