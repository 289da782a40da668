//! Sends a file over IIP; the first attempt is broken off, and the second goes on where it was. Then what the server refuses.
//! Run it: `cargo run --features file --example upload`

use std::fs;
use std::sync::Arc;

use tokio::sync::Notify;
use trunkline::Server;
use trunkline::client::Channel;
use trunkline::file::{FileClient, FileService};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = std::env::temp_dir().join(format!("trunkline-upload-{}", std::process::id()));
    fs::create_dir_all(folder.join("served"))?;
    let content: Vec<u8> = (0..40_000_000_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let source = folder.join("film.bin");
    fs::write(&source, &content)?;

    let files = FileService::builder(folder.join("served")).file_limit(100 << 20).total_limit(100 << 20);
    let server = Server::builder().serve(files.open()?).listen("127.0.0.1:0").start().await?;
    let url = server.url().replace("rpcx://", "iip://");
    let shown = folder.join("served/film.bin");

    let half = Arc::new(Notify::new());
    let reached = Arc::clone(&half);
    let client = FileClient::new(Channel::connect(&url).await?, &url);
    let client = client.on_progress(move |progress| {
        if Some(progress.done * 2) > progress.total {
            reached.notify_one();
        }
    });
    tokio::select! {
        done = client.put(&source, "film.bin") => drop(done?),
        // To drop the attempt is to break it off, as a killed program is.
        () = half.notified() => println!("broken off; the file shows: {}", shown.exists()),
    }

    let client = FileClient::new(Channel::connect(&url).await?, &url);
    let done = client.put(&source, "film.bin").await?;
    println!("{} bytes, of which more than a third were there: {}", done.size, done.resumed * 3 > done.size);
    println!("the same: {}", fs::read(&shown)? == content);

    for name in ["../film.bin", "films/film.bin"] {
        println!(
            "{name}: {}",
            client.put(&source, name).await.map_or_else(|e| e.to_string(), |_| "taken".into())
        );
    }
    fs::remove_dir_all(&folder)?;
    Ok(())
}
