//! Services of nodes: by value and through the codec, with a context, without methods, without a prelude.
#![deny(warnings)]

#[no_implicit_prelude]
mod bare {
    #[::trunkline::service(mailbox, name = "desk")]
    pub(crate) trait Desk {
        /// Documented.
        async fn put(&self, body: ::trunkline::Bytes) -> ::trunkline::Result<()>;
        fn plain(&self, r#type: ::std::string::String) -> ::trunkline::Result<::std::string::String>;
        #[idempotent]
        #[rename = "where"]
        async fn place(&self, cx: &::trunkline::Context) -> ::trunkline::Result<::std::string::String>;
        async fn owned(
            &self,
            cx: ::trunkline::Context,
            body: ::trunkline::Bytes,
        ) -> ::trunkline::Result<::trunkline::Bytes>;
        #[deprecated]
        async fn old(&self) -> ::trunkline::Result<()>;
    }

    #[::trunkline::service(mailbox)]
    pub(crate) trait Nothing {}
}

use bare::{Desk, DeskHandle, DeskServer, Nothing, NothingHandle, NothingServer};
use trunkline::node::{Mailbox, Node};
use trunkline::{Bytes, Context, Result};

struct Clerk;

impl Desk for Clerk {
    async fn put(&self, _: Bytes) -> Result<()> {
        Ok(())
    }
    fn plain(&self, text: String) -> Result<String> {
        Ok(text)
    }
    async fn place(&self, cx: &Context) -> Result<String> {
        Ok(format!("{}.{} {}", cx.service(), cx.method(), cx.deadline().is_some()))
    }
    async fn owned(&self, _: Context, body: Bytes) -> Result<Bytes> {
        Ok(body)
    }
    async fn old(&self) -> Result<()> {
        Ok(())
    }
}

impl Nothing for Clerk {}

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        let node = Node::builder("here").serve(1, NothingServer::new(Clerk)).start().unwrap();
        let desk: DeskHandle = node.serve(1, Mailbox::new(DeskServer::new(Clerk)).serial()).unwrap();
        desk.put(Bytes::new()).await.unwrap();
        desk.notify().put(Bytes::new()).now().unwrap();
        assert_eq!(desk.plain("text".into()).await.unwrap(), "text");
        assert_eq!(desk.place().await.unwrap(), "desk.where true");
        assert_eq!(desk.owned(Bytes::from_static(b"x")).await.unwrap(), "x");
        assert!(node.find::<NothingHandle>(1).is_some());
        node.stop().await;
    });
}
