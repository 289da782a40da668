//! Files: a service that gives and takes those of one directory, and a client that fetches and sends them, resumes
//! after a break and checks the whole in the end. Both speak the protocol of the file examples of truexf/iip, too.
//!
//! They work over any wire that carries paths as the names of methods of a service without a name: IIP, where they
//! are plain paths, and rpcx. For Linux.
//!
//! ```
//! use trunkline::Server;
//! use trunkline::client::Channel;
//! use trunkline::file::{FileClient, FileService};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = std::env::temp_dir().join(format!("trunkline-doc-{}", std::process::id()));
//! # std::fs::create_dir_all(&folder)?;
//! let server = Server::builder().serve(FileService::open(&folder)?).listen("127.0.0.1:0").start().await?;
//! let files = FileClient::new(Channel::connect(server.url()).await?, server.url());
//!
//! let note = folder.join("my note");
//! std::fs::write(&note, "hello")?;
//! files.put(&note, "note.txt").await?;
//! let fetched = files.get("note.txt", folder.join("copy")).await?;
//! assert_eq!((fetched.size, std::fs::read_to_string(folder.join("copy"))?), (5, "hello".into()));
//! # std::fs::remove_dir_all(&folder)?;
//! # Ok(()) }
//! ```

mod client;
mod go;
mod hash;
mod message;
mod name;
mod part;
mod service;
mod store;
#[cfg(test)]
mod tests;
mod uploads;

pub use client::{FileClient, FileError, Progress, Transferred};
pub use service::{FileService, FileServiceBuilder};
