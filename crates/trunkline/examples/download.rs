//! Fetches a file over IIP; the first attempt is broken off, and the second goes on where it was.
//! Run it: `cargo run --features file --example download`

use std::fs;
use std::sync::Arc;

use tokio::sync::Notify;
use trunkline::Server;
use trunkline::client::Channel;
use trunkline::file::{FileClient, FileService};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = std::env::temp_dir().join(format!("trunkline-download-{}", std::process::id()));
    fs::create_dir_all(folder.join("served"))?;
    let content: Vec<u8> = (0..40_000_000_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    fs::write(folder.join("served/film.bin"), &content)?;

    let files = FileService::open(folder.join("served"))?;
    let server = Server::builder().serve(files).listen("127.0.0.1:0").start().await?;
    let url = server.url().replace("rpcx://", "iip://");
    let target = folder.join("film.bin");

    let half = Arc::new(Notify::new());
    let reached = Arc::clone(&half);
    let client = FileClient::new(Channel::connect(&url).await?, &url);
    let client = client.on_progress(move |progress| {
        if Some(progress.done * 2) > progress.total {
            reached.notify_one();
        }
    });
    tokio::select! {
        done = client.get("film.bin", &target) => drop(done?),
        // To drop the attempt is to break it off, as a killed program is.
        () = half.notified() => println!("broken off; the file shows: {}", target.exists()),
    }

    let client = FileClient::new(Channel::connect(&url).await?, &url);
    let done = client.get("film.bin", &target).await?;
    println!("{} bytes, of which more than a third were here: {}", done.size, done.resumed * 3 > done.size);
    println!("BLAKE3 {}", done.hash.unwrap_or_default());
    println!("the same: {}", fs::read(&target)? == content);
    fs::remove_dir_all(&folder)?;
    Ok(())
}
