//! What `#[service]` makes, without a network: server, client and mock of one trait, through every codec.
#![allow(clippy::unwrap_used, reason = "what is not there fails the test")]

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use trunkline::client::Outgoing;
use trunkline::layer::{DeadlineLayer, Layer};
use trunkline::{
    Annotated, Bytes, Call, Code, Context, Message, Metadata, NamedService, ReplyBuf, Result, Serialization,
    Server, Service, Status,
};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Message)]
#[serde(rename_all = "PascalCase")]
struct Args {
    a: i64,
    b: i64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Message)]
#[serde(rename_all = "PascalCase")]
struct Product {
    c: i64,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum MathError {
    DivideByZero,
    Overflow { bits: u8 },
}

impl fmt::Display for MathError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DivideByZero => f.write_str("divide by zero"),
            Self::Overflow { bits } => write!(f, "more than {bits} bits"),
        }
    }
}

impl From<MathError> for Status {
    fn from(error: MathError) -> Self {
        Self::from_error(&error)
    }
}

/// Arithmetic.
///
/// On 64 bits.
#[trunkline::service]
trait Arith {
    /// Product of the two.
    #[idempotent]
    async fn mul(&self, args: Args) -> Result<Product>;
    /// Sum of the two, on the spot.
    fn add(&self, args: Args) -> Result<Product, MathError>;
    async fn div(&self, args: Args) -> Result<Product, MathError>;
    fn echo(&self, body: &[u8], reply: &mut ReplyBuf<'_>) -> Result<()>;
    async fn owned(&self, body: Bytes) -> Result<Bytes>;
    #[spawn]
    #[rename = "WhoAmI"]
    async fn identity(&self, cx: &Context) -> Result<Annotated<()>>;
    async fn later(&self, cx: Context, args: Args) -> Result<Product>;
    fn ping(&self) -> Result<()>;
}

struct Calculator;

impl Arith for Calculator {
    async fn mul(&self, args: Args) -> Result<Product> {
        let c = args.a.checked_mul(args.b).ok_or_else(|| Status::failed("overflow"))?;
        Ok(Product { c })
    }

    fn add(&self, args: Args) -> Result<Product, MathError> {
        let c = args.a.checked_add(args.b).ok_or(MathError::Overflow { bits: 64 })?;
        Ok(Product { c })
    }

    async fn div(&self, args: Args) -> Result<Product, MathError> {
        let c = args.a.checked_div(args.b).ok_or(MathError::DivideByZero)?;
        Ok(Product { c })
    }

    fn echo(&self, body: &[u8], reply: &mut ReplyBuf<'_>) -> Result<()> {
        reply.extend_from_slice(body);
        Ok(())
    }

    async fn owned(&self, body: Bytes) -> Result<Bytes> {
        Ok(body)
    }

    async fn identity(&self, cx: &Context) -> Result<Annotated<()>> {
        Ok(Annotated::new((), cx.metadata().clone()))
    }

    async fn later(&self, cx: Context, args: Args) -> Result<Product> {
        tokio::time::sleep(Duration::from_millis(args.a.unsigned_abs())).await;
        Ok(Product { c: cx.time_left().map_or(-1, |left| left.as_millis().try_into().unwrap_or(-1)) })
    }

    fn ping(&self) -> Result<()> {
        Ok(())
    }
}

fn arith() -> ArithClient<ArithServer<Calculator>> {
    ArithClient::new(ArithServer::new(Calculator))
}

const CODECS: [Serialization; 4] =
    [Serialization::Json, Serialization::MessagePack, Serialization::Protobuf, Serialization::Thrift];

#[tokio::test]
async fn a_call_goes_through_in_every_codec() {
    let arith = arith();
    for how in CODECS {
        let args = Args { a: 6, b: 7 };
        assert_eq!(arith.mul(args.clone()).serialization(how).await.unwrap().c, 42, "{how:?}");
        assert_eq!(arith.add(args.clone()).serialization(how).send().await.unwrap().c, 13, "{how:?}");
        assert_eq!(arith.div(args).serialization(how).await.unwrap().c, 0, "{how:?}");
        arith.ping().serialization(how).await.unwrap();
        let body = Bytes::from_static(b"\x00any");
        assert_eq!(arith.owned(body.clone()).serialization(how).await.unwrap(), body);
        assert_eq!(arith.echo(&b"static"[..]).serialization(how).await.unwrap(), "static");
    }
}

/// Keeps what is called, to look at it, and fails.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<Vec<Call>>>);

impl Service for Seen {
    async fn call(&self, call: Call) -> Result<trunkline::Reply> {
        self.0.lock().unwrap().push(call);
        Err(Status::failed("seen"))
    }
}

impl Seen {
    fn take(&self) -> Call {
        self.0.lock().unwrap().pop().unwrap()
    }
}

#[tokio::test(start_paused = true)]
async fn the_settings_of_a_call_travel_with_it() {
    let seen = Seen::default();
    let arith = ArithClient::new(seen.clone());
    let args = Args { a: 1, b: 2 };
    let start = Instant::now();

    arith.mul(args.clone()).await.unwrap_err();
    let call = seen.take();
    assert_eq!((call.service(), call.method()), ("Arith", "Mul"));
    assert_eq!(call.serialization(), Serialization::MessagePack);
    assert!(call.is_idempotent() && !call.is_one_way() && call.metadata().is_empty());
    assert_eq!(call.context().deadline(), None);

    let metadata = Metadata::builder().with("a", "1").build();
    let call =
        arith.add(args.clone()).timeout(Duration::from_secs(2)).deadline(start + Duration::from_secs(1));
    call.metadata(metadata)
        .metadata_pair("b", "2")
        .serialization(Serialization::Json)
        .one_way()
        .await
        .unwrap_err();
    let call = seen.take();
    assert!(call.is_one_way() && !call.is_idempotent());
    assert_eq!(call.context().deadline(), Some(start + Duration::from_secs(1)), "the soonest counts");
    assert_eq!((call.metadata().get("a"), call.metadata().get("b")), (Some("1"), Some("2")));
    assert_eq!(call.serialization(), Serialization::Json);

    let outer = Context::local(Some(start + Duration::from_secs(5)));
    arith.div(args.clone()).timeout(Duration::from_secs(9)).within(&outer).await.unwrap_err();
    assert_eq!(seen.take().context().deadline(), outer.deadline());
    arith.div(args.clone()).within(&outer).timeout(Duration::from_secs(1)).await.unwrap_err();
    assert_eq!(seen.take().context().deadline(), Some(start + Duration::from_secs(1)));
    arith.div(args).timeout(Duration::MAX).within(&Context::local(None)).await.unwrap_err();
    assert!(seen.take().context().deadline().is_some());

    arith.owned(Bytes::new()).await.unwrap_err();
    assert_eq!(seen.take().serialization(), Serialization::Raw);
    let nothing: Outgoing<'_, _, (), Bytes> = Outgoing::new(&seen, "X", "Y", ());
    nothing.await.unwrap_err();
    assert_eq!(seen.take().serialization(), Serialization::Raw, "the empty message follows the reply");
    arith.clone().named("Mathematics").ping().await.unwrap_err();
    assert_eq!(seen.take().service(), "Mathematics");
}

#[tokio::test(start_paused = true)]
async fn a_handler_sees_its_context_and_its_deadline_is_kept() {
    let arith = ArithClient::new(DeadlineLayer::default().layer(ArithServer::new(Calculator)));
    let args = |millis| Args { a: millis, b: 0 };
    let left = arith.later(args(300)).timeout(Duration::from_secs(1)).await.unwrap();
    assert_eq!(left.c, 700);
    assert_eq!(arith.later(args(0)).await.unwrap().c, -1, "no deadline was given");
    let status = arith.later(args(1001)).timeout(Duration::from_secs(1)).await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded);
}

#[tokio::test]
async fn metadata_travels_both_ways() {
    let arith = arith();
    let reply = arith.identity().metadata_pair("tenant", "blue").annotated().await.unwrap();
    assert_eq!(reply.metadata.get("tenant"), Some("blue"));
    arith.identity().metadata_pair("tenant", "blue").await.unwrap();
    assert!(arith.mul(Args { a: 1, b: 1 }).annotated().await.unwrap().metadata.is_empty());
}

#[tokio::test]
async fn an_error_of_the_services_own_comes_back_as_a_value() {
    let arith = arith();
    let status = arith.div(Args { a: 1, b: 0 }).await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::Failed, "divide by zero"));
    assert_eq!(status.details(), Some(MathError::DivideByZero));
    let status = arith.add(Args { a: i64::MAX, b: 1 }).await.unwrap_err();
    assert_eq!(status.details(), Some(MathError::Overflow { bits: 64 }));
    let status = arith.mul(Args { a: i64::MAX, b: 2 }).await.unwrap_err();
    assert_eq!((status.message(), status.details::<MathError>()), ("overflow", None));
}

async fn ask(method: &'static str, how: Serialization, body: impl Into<Bytes>) -> Result<Bytes> {
    let reply = ArithServer::new(Calculator).call(Call::new("Arith", method, how, body.into())).await?;
    reply.into_body().whole(1 << 20).await
}

#[tokio::test]
async fn names_match_exactly_or_without_case() {
    for name in ["Mul", "mul", "MUL"] {
        assert_eq!(ask(name, Serialization::Json, r#"{"A":2,"B":3}"#).await.unwrap(), r#"{"C":6}"#);
    }
    ask("whoami", Serialization::Json, "").await.unwrap();
    for name in ["", "Identity", "Mull", "M\u{fc}l", "Arith.Mul"] {
        let status = ask(name, Serialization::Json, "").await.unwrap_err();
        assert_eq!(status.code(), Code::NotFound);
        assert_eq!(status.message(), format!("rpcx: can't find method {name}"));
        assert!(status.may_retry());
    }
}

#[tokio::test]
async fn a_bad_body_fails_its_call_and_says_where() {
    for method in ["Mul", "Add"] {
        let status = ask(method, Serialization::Json, r#"{"A":1,"B":"x"}"#).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidInput);
        assert!(status.message().starts_with("json: field B: "), "{status}");
        let status = ask(method, Serialization::Raw, "x").await.unwrap_err();
        assert_eq!(status.code(), Code::Unsupported);
        let status = ask(method, Serialization::Other(77), "x").await.unwrap_err();
        assert_eq!((status.code(), status.message()), (Code::Unsupported, "can not find codec for 77"));
    }
    let status = ask("Ping", Serialization::Json, "[").await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidInput);
}

#[tokio::test]
async fn a_reply_that_cannot_be_read_says_so() {
    let liar = trunkline::service_fn(|_| async { Ok(trunkline::Reply::new(Bytes::from(r#"{"C":[]}"#))) });
    let arith = ArithClient::new(liar);
    let call = arith.mul(Args { a: 1, b: 1 }).serialization(Serialization::Json);
    let status = call.await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidInput);
    assert!(status.message().starts_with("the reply of Arith.Mul: json: field C: "), "{status}");
    let call = arith.mul(Args { a: 1, b: 1 }).serialization(Serialization::Raw);
    let status = call.await.unwrap_err();
    assert_eq!(status.code(), Code::Unsupported);
    assert!(status.message().starts_with("the argument of Arith.Mul: raw: "), "{status}");
}

#[tokio::test]
async fn a_streamed_body_is_taken_whole() {
    let (mut sender, stream) = trunkline::BodyStream::channel();
    sender.send("{\"A\":4,").await.unwrap();
    sender.send("\"B\":5}").await.unwrap();
    sender.finish();
    for (method, body) in
        [("Mul", trunkline::Body::from(stream)), ("Add", Bytes::from(r#"{"A":15,"B":5}"#).into())]
    {
        let call = Call::new("Arith", method, Serialization::Json, body);
        let reply = ArithServer::new(Calculator).call(call).await.unwrap();
        assert_eq!(reply.into_body().whole(100).await.unwrap(), r#"{"C":20}"#);
    }
    let (_, cut) = trunkline::BodyStream::channel();
    let call = Call::new("Arith", "Mul", Serialization::Json, cut);
    assert_eq!(ArithServer::new(Calculator).call(call).await.unwrap_err().code(), Code::Cancelled);
}

proptest::proptest! {
    /// Whatever the bytes are, the call ends, and nothing panics.
    #[test]
    fn no_body_panics(body in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200), valid in 0..40_usize) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        for how in CODECS.into_iter().chain([Serialization::Raw, Serialization::Gob, Serialization::Other(200)]) {
            // Behind the beginning of a good message more of the decoder is reached.
            let mut bytes = Vec::new();
            let good = Args { a: -7, b: 1 << 40 };
            if trunkline::codec::Payload::encode(&good, how, &mut bytes).is_ok() {
                bytes.truncate(valid);
            }
            bytes.extend_from_slice(&body);
            for method in ["Mul", "Add", "Div", "Echo", "Owned", "Ping", "WhoAmI"] {
                let result = runtime.block_on(ask(method, how, bytes.clone()));
                if let Err(status) = result {
                    let expected = [Code::InvalidInput, Code::Unsupported, Code::Failed];
                    proptest::prop_assert!(expected.contains(&status.code()), "{}", status);
                }
            }
        }
    }
}

#[test]
fn a_service_describes_itself() {
    let info = ArithServer::new(Calculator).describe();
    assert_eq!((&*info.name, info.doc), ("Arith", "Arithmetic.\n\nOn 64 bits."));
    let names: Vec<_> = info.methods.iter().map(|method| method.name).collect();
    assert_eq!(names, ["Mul", "Add", "Div", "Echo", "Owned", "WhoAmI", "Later", "Ping"]);
    let find = |name| info.methods.iter().find(|method| method.name == name).unwrap();
    assert_eq!(find("Mul").doc, "Product of the two.");
    assert!(find("Mul").idempotent && !find("Add").idempotent);
    assert!(find("Add").in_place && !find("Mul").in_place);
    assert!(find("WhoAmI").spawned && !find("Mul").spawned);
    let fields = |schema: &Option<trunkline::message::Schema>| {
        let schema = schema.as_ref().unwrap();
        schema.message().unwrap().fields.iter().map(|field| field.name.clone()).collect::<Vec<_>>()
    };
    assert_eq!(fields(&find("Mul").request), ["A", "B"]);
    assert_eq!(fields(&find("Mul").reply), ["C"]);
    assert!(fields(&find("WhoAmI").reply).is_empty());
    for name in ["Echo", "Owned"] {
        assert!(find(name).request.is_none() && find(name).reply.is_none(), "{name} takes any body");
    }
}

#[tokio::test]
async fn a_mock_answers_by_closures_and_counts() {
    let mock = ArithMock::new()
        .mul(|args| Ok(Product { c: args.a * 1000 }))
        .div(|_| Err(MathError::Overflow { bits: 1 }))
        .identity(|cx| Ok(Annotated::new((), cx.metadata().clone())))
        .echo(|body, reply| {
            reply.extend_from_slice(&[body, b"!"].concat());
            Ok(())
        });
    let client = mock.clone().client();
    assert_eq!(client.mul(Args { a: 2, b: 0 }).await.unwrap().c, 2000);
    assert_eq!(client.mul(Args { a: 3, b: 0 }).await.unwrap().c, 3000);
    let status = client.div(Args { a: 3, b: 0 }).await.unwrap_err();
    assert_eq!(status.details(), Some(MathError::Overflow { bits: 1 }));
    assert_eq!(client.echo("a").await.unwrap(), "a!");
    let reply = client.identity().metadata_pair("k", "v").annotated().await.unwrap();
    assert_eq!(reply.metadata.get("k"), Some("v"));
    assert_eq!((mock.mul_calls(), mock.div_calls(), mock.echo_calls(), mock.ping_calls()), (2, 1, 1, 0));
}

#[tokio::test]
async fn a_mock_without_a_closure_names_the_method() {
    let client = ArithMock::new().client();
    for status in [
        client.mul(Args { a: 1, b: 1 }).await.unwrap_err(),
        client.ping().await.map(|()| Product { c: 0 }).unwrap_err(),
    ] {
        assert_eq!(status.code(), Code::Unsupported);
        assert!(status.message().starts_with("Arith."), "{status}");
    }
    // An error type of one's own cannot be made of a status: the test that forgot the closure panics.
    let text = tokio::spawn(async move { client.div(Args { a: 1, b: 1 }).await }).await.unwrap_err();
    let text = text.into_panic().downcast::<String>().unwrap();
    assert!(text.contains("Arith.Div: the mock has no closure"), "{text}");
}

#[tokio::test]
async fn an_arc_of_a_service_is_one() {
    let shared = Arc::new(Calculator);
    let arith = ArithClient::new(ArithServer::new(Arc::clone(&shared)));
    assert_eq!(arith.mul(Args { a: 2, b: 2 }).await.unwrap().c, 4);
    assert_eq!(arith.add(Args { a: 2, b: 2 }).await.unwrap().c, 4);
}

#[tokio::test(start_paused = true)]
async fn the_same_over_a_connection() {
    let builder = Server::builder().serve(ArithServer::new(Calculator)).listen("mem://service-macro");
    let server = builder.serve_as("Other", ArithServer::new(Calculator)).bind().await.unwrap();
    tokio::spawn(server.run());
    let arith = ArithClient::connect("mem://service-macro?wire=rpcx").await.unwrap();
    for how in CODECS {
        assert_eq!(arith.mul(Args { a: 6, b: 7 }).serialization(how).await.unwrap().c, 42);
        assert_eq!(arith.add(Args { a: 6, b: 7 }).serialization(how).await.unwrap().c, 13);
        assert_eq!(arith.add(Args { a: 6, b: 7 }).serialization(how).compressed().await.unwrap().c, 13);
    }
    assert_eq!(arith.clone().named("Other").mul(Args { a: 6, b: 7 }).await.unwrap().c, 42);
    let body = Bytes::from((0..20_000_u32).flat_map(u32::to_be_bytes).collect::<Vec<_>>());
    assert_eq!(arith.echo(body.clone()).await.unwrap(), body);
    assert_eq!(arith.echo(body.clone()).compressed().await.unwrap(), body);
    assert_eq!(arith.owned(body.clone()).await.unwrap(), body);
    assert_eq!(
        arith.add(Args { a: 1, b: 1 }).timeout(Duration::from_secs(1)).await.unwrap().c,
        2,
        "not in place"
    );
    let reply = arith.identity().metadata_pair("tenant", "blue").annotated().await.unwrap();
    assert_eq!(reply.metadata.get("tenant"), Some("blue"));
    let status = arith.div(Args { a: 1, b: 0 }).await.unwrap_err();
    assert_eq!((status.message(), status.details()), ("divide by zero", Some(MathError::DivideByZero)));
    let status = arith.add(Args { a: i64::MAX, b: 1 }).await.unwrap_err();
    assert_eq!(status.details(), Some(MathError::Overflow { bits: 64 }));
    let status = arith.later(Args { a: 5000, b: 0 }).timeout(Duration::from_millis(100)).await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded);
    arith.mul(Args { a: 1, b: 1 }).one_way().await.unwrap();
}
