//! A proxy on loopback that counts the bytes of each direction.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;

use crate::suite::{Check, Told};

/// Passes connections on to a server, and counts. It ends when it is dropped.
pub(crate) struct Meter {
    pub(crate) address: String,
    counts: Arc<[AtomicUsize; 2]>,
    task: AbortHandle,
}

impl Meter {
    pub(crate) async fn start(server: &str) -> Check<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.told("proxy")?;
        let address = listener.local_addr().told("proxy")?.to_string();
        let counts = Arc::<[AtomicUsize; 2]>::default();
        let (server, counted) = (server.to_owned(), Arc::clone(&counts));
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let Ok(server) = TcpStream::connect(&server).await else { continue };
                let counts = Arc::clone(&counted);
                tokio::spawn(async move {
                    let (mut client, mut server) = (client, server);
                    let (client_in, client_out) = client.split();
                    let (server_in, server_out) = server.split();
                    let [up, down] = &*counts;
                    // Whichever direction ends ends the other.
                    tokio::select! {
                        () = pass(client_in, server_out, up) => {}
                        () = pass(server_in, client_out, down) => {}
                    }
                });
            }
        });
        Ok(Self { address, counts, task: task.abort_handle() })
    }

    /// How many bytes went to the server and came back so far.
    pub(crate) fn counts(&self) -> (usize, usize) {
        let [up, down] = &*self.counts;
        (up.load(Ordering::Relaxed), down.load(Ordering::Relaxed))
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn pass(mut from: impl AsyncReadExt + Unpin, mut to: impl AsyncWriteExt + Unpin, count: &AtomicUsize) {
    let mut buffer = vec![0; 16 << 10];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        count.fetch_add(read, Ordering::Relaxed);
        if to.write_all(buffer.get(..read).unwrap_or_default()).await.is_err() {
            return;
        }
    }
}
