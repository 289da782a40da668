//! A service's own error enum crosses the wire and comes back as the same value.
//! Run it: `cargo run --example error`

use serde::{Deserialize, Serialize};
use trunkline::{Code, Message, Result, Server, Status};

#[derive(Serialize, Deserialize, Message)]
struct Withdrawal {
    account: String,
    cents: u64,
}

#[derive(Debug, PartialEq, Serialize, Deserialize, thiserror::Error)]
enum BankError {
    #[error("no account {0}")]
    UnknownAccount(String),
    #[error("{missing} cents are missing")]
    NotEnough { missing: u64 },
}

/// Says how the error travels: its text for every caller, its value for those who can read it.
impl From<BankError> for Status {
    fn from(error: BankError) -> Self {
        Status::from_error(&error)
    }
}

#[trunkline::service]
trait Bank {
    async fn withdraw(&self, withdrawal: Withdrawal) -> Result<(), BankError>;
}

/// Has one account, `alice`, with this many cents.
struct Vault(u64);

impl Bank for Vault {
    async fn withdraw(&self, Withdrawal { account, cents }: Withdrawal) -> Result<(), BankError> {
        match (account.as_str(), cents.saturating_sub(self.0)) {
            ("alice", 0) => Ok(()),
            ("alice", missing) => Err(BankError::NotEnough { missing }),
            _ => Err(BankError::UnknownAccount(account)),
        }
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let server = Server::builder().serve(BankServer::new(Vault(500))).listen("127.0.0.1:0").start().await?;
    let bank = BankClient::connect(server.url()).await?;

    let withdrawal = Withdrawal { account: "alice".into(), cents: 700 };
    let status = bank.withdraw(withdrawal).await.err().ok_or("alice had enough")?;
    println!("the text for everybody: {}", status.message());
    assert_eq!((status.code(), status.message()), (Code::Failed, "200 cents are missing"));
    let error = status.details::<BankError>().ok_or("the value was lost")?;
    println!("the value for Rust: {error:?}");
    assert_eq!(error, BankError::NotEnough { missing: 200 });
    Ok(())
}
