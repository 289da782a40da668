//! Streams as arguments and results, with and without a context, and in a mock.
#![deny(warnings)]

#[no_implicit_prelude]
mod bare {
    #[::trunkline::service]
    pub(crate) trait Files {
        async fn put(&self, body: ::trunkline::Streaming<::trunkline::Bytes>) -> ::trunkline::Result<()>;
        async fn get(&self) -> ::trunkline::Result<::trunkline::Streaming<::std::vec::Vec<u8>>>;
        #[spawn]
        async fn both(
            &self,
            cx: ::trunkline::Context,
            body: ::trunkline::Streaming<::std::string::String>,
        ) -> ::trunkline::Result<::trunkline::Annotated<::trunkline::Streaming<::std::string::String>>>;
        async fn neither(&self) -> ::trunkline::Result<()>;
    }
}

use bare::{Files, FilesMock, FilesServer};
use trunkline::{Annotated, Bytes, Context, Metadata, NamedService, Result, Streaming};

struct Nothing;

impl Files for Nothing {
    async fn put(&self, mut body: Streaming<Bytes>) -> Result<()> {
        while let Some(part) = body.next().await {
            drop(part?);
        }
        Ok(())
    }
    async fn get(&self) -> Result<Streaming<Vec<u8>>> {
        Ok(Streaming::iter([vec![1], vec![2]]))
    }
    async fn both(&self, _: Context, body: Streaming<String>) -> Result<Annotated<Streaming<String>>> {
        Ok(Annotated::new(body, Metadata::builder().with("a", "b").build()))
    }
    async fn neither(&self) -> Result<()> {
        Ok(())
    }
}

fn main() {
    let info = FilesServer::new(Nothing).describe();
    let streams: Vec<_> = info.methods.iter().map(|method| (method.takes_stream, method.gives_stream)).collect();
    assert_eq!(streams, [(true, false), (false, true), (true, true), (false, false)]);

    let mock = FilesMock::new()
        .put(|_body| Ok(()))
        .get(|| Ok(Streaming::iter([vec![3]])))
        .both(|_cx, body| Ok(Annotated::new(body, Metadata::new())));
    let client = mock.clone().client();
    trunkline_test(async {
        client.put(Streaming::iter([Bytes::from_static(b"x")])).await?;
        assert_eq!(client.get().await?.all(10).await?, [vec![3]]);
        let reply = client.both(Streaming::iter(["a".to_owned(), "b".to_owned()])).annotated().await?;
        assert_eq!(reply.value.all(10).await?, ["a", "b"]);
        Ok(())
    });
    assert_eq!((mock.put_calls(), mock.get_calls(), mock.both_calls()), (1, 1, 1));
}

fn trunkline_test(test: impl Future<Output = Result<()>>) {
    let mut test = std::pin::pin!(test);
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    // Nothing waits for anything outside.
    for _ in 0..1000 {
        if let std::task::Poll::Ready(result) = test.as_mut().poll(&mut cx) {
            return result.unwrap();
        }
    }
    panic!("it waits");
}
