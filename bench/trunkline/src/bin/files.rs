//! Our file service and client over IIP, which speak the Go examples' protocol with each other, or their own.
//!
//! ```text
//! peer-trunkline-files server --listen ADDR --files DIR
//! peer-trunkline-files get|put ADDR NAME FILE [--own]
//! ```
//!
//! The server has a runtime for each of two cores, as `trunkline demo` has one for each, and the client's has one thread,
//! as that of `trunkline get` and `put`. The server's first line is `ready ADDR`; as in the Go examples, nothing is written through to the disk. The others
//! print one line, `{"seconds":…}`. All of them end with their standard input, so that what they took of the processor
//! can be looked at.

use std::process::ExitCode;
use std::time::Instant;

use bench_harness::Error;
use trunkline::client::Channel;
use trunkline::file::{FileClient, FileService};
use trunkline::{Call, Code, Reply, Serialization, Server, Service, Status};

/// A server that does not know the protocol of our own.
struct Go(Channel);

impl Service for Go {
    async fn call(&self, call: Call) -> trunkline::Result<Reply> {
        if call.method().starts_with("/trunkline/") {
            return Err(Status::new(Code::NotFound, "no handler"));
        }
        self.0.call(call).await
    }

    fn serialization(&self) -> Serialization {
        self.0.serialization()
    }
}

async fn serve(listen: &str, directory: &str) -> Result<(), Error> {
    let files = FileService::builder(directory).durable(false).open()?;
    let server = Server::builder().serve(files).threads(2).listen(listen).start().await?;
    println!("ready {}", server.addresses().join(" "));
    std::thread::spawn(|| {
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        std::process::exit(0);
    });
    Ok(server.wait().await?)
}

async fn transfer<S: Service>(service: S, what: &str, name: &str, file: &str) -> Result<(), Error> {
    let client = FileClient::new(service, "bench");
    match what {
        "get" => client.get(name, file).await?,
        _ => client.put(file, name).await?,
    };
    Ok(())
}

async fn run(args: &[&str]) -> Result<(), Error> {
    match args {
        ["server", "--listen", listen, "--files", directory] => serve(listen, directory).await,
        [what @ ("get" | "put"), address, name, file, own @ ..] => {
            let begun = Instant::now();
            let channel = Channel::connect(&format!("iip://{address}")).await?;
            if own == ["--own"] {
                transfer(channel, what, name, file).await?;
            } else {
                transfer(Go(channel), what, name, file).await?;
            }
            println!("{{\"seconds\":{:.6}}}", begun.elapsed().as_secs_f64());
            let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
            Ok(())
        }
        _ => Err("server --listen ADDR --files DIR, or get|put ADDR NAME FILE [--own]".into()),
    }
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime.map_err(Error::from).and_then(|runtime| runtime.block_on(run(&args))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(2)
        }
    }
}
