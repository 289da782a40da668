//! A server that asks every caller for a token. Run it: `cargo run --example auth`

use trunkline::client::Channel;
use trunkline::{Bytes, Code, Result, Server};

#[trunkline::service]
trait Secrets {
    async fn tell(&self) -> Result<Bytes>;
}

struct Diary;

impl Secrets for Diary {
    async fn tell(&self) -> Result<Bytes> {
        Ok("I like tea".into())
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let server = Server::builder().serve(SecretsServer::new(Diary)).token("sesame").listen("127.0.0.1:0");
    let server = server.start().await?;
    let url = server.url().to_owned();

    // Without the token, or with a wrong one, no call reaches the service.
    let stranger = SecretsClient::connect(&url).await?;
    let status = stranger.tell().await.err().ok_or("a stranger got in")?;
    println!("a stranger: {status}");
    assert_eq!(status.code(), Code::Unauthenticated);

    let guesser = SecretsClient::new(Channel::builder(&url).token("open").connect().await?);
    let status = guesser.tell().await.err().ok_or("a guess got in")?;
    assert_eq!(status.code(), Code::Unauthenticated);

    // The channel shows the token with every call. Over HTTP it is `Authorization: Bearer sesame`.
    for url in [url.replace("rpcx:", "http:"), url] {
        let friend = SecretsClient::new(Channel::builder(&url).token("sesame").connect().await?);
        let secret = friend.tell().await?;
        println!("a friend: {}", String::from_utf8_lossy(&secret));
        assert_eq!(secret, "I like tea");
    }
    Ok(())
}
