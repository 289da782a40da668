//! The macros of Trunkline. Use them through the `trunkline` crate.

mod message;
mod service;

/// Gives a struct field numbers and a schema, so that it travels in every codec. See the trait of the same name
/// in the `trunkline` crate.
#[proc_macro_derive(Message, attributes(message))]
pub fn derive_message(input: proc_macro::TokenStream) -> proc_macro::TokenStream {
    message::derive(input.into()).unwrap_or_else(syn::Error::into_compile_error).into()
}

/// Makes a client, a server and a mock out of a trait: the one place where a service says what it can be asked
/// for.
///
/// ```
/// use serde::{Deserialize, Serialize};
/// use trunkline::{Message, Result, Status};
///
/// #[derive(Serialize, Deserialize, Message)]
/// #[serde(rename_all = "PascalCase")]
/// struct Args {
///     a: i64,
///     b: i64,
/// }
///
/// #[derive(Serialize, Deserialize, Message)]
/// #[serde(rename_all = "PascalCase")]
/// struct Reply {
///     c: i64,
/// }
///
/// /// Arithmetic on 64 bits.
/// #[trunkline::service]
/// trait Arith {
///     /// Product of the two.
///     #[idempotent]
///     async fn mul(&self, args: Args) -> Result<Reply>;
/// }
///
/// struct Calculator;
///
/// impl Arith for Calculator {
///     async fn mul(&self, args: Args) -> Result<Reply> {
///         let c = args.a.checked_mul(args.b).ok_or_else(|| Status::failed("overflow"))?;
///         Ok(Reply { c })
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<()> {
/// // A client calls any service: a channel to somewhere else, or, as here, a server in the same process.
/// let arith = ArithClient::new(ArithServer::new(Calculator));
/// let reply = arith.mul(Args { a: 6, b: 7 }).await?;
/// assert_eq!(reply.c, 42);
/// # Ok(()) }
/// ```
///
/// # What comes out
/// For a trait `Arith`:
///
/// - The trait itself. It asks for `Send + Sync + 'static`; implement its methods as `async fn`. An `Arc` of an
///   implementation is one, too.
/// - `ArithServer<T>` serves an implementation: `Server::builder().serve(ArithServer::new(Calculator))`.
/// - `ArithClient<S>` calls through `S`: `ArithClient::connect("rpcx://127.0.0.1:8972").await?` through a
///   channel (with several endpoints, `rpcx://a:1,b:2`, through a balanced client), `ArithClient::new(service)` through
///   any service. A method gives an `Outgoing` call, which takes
///   its own timeout, metadata and codec before it is awaited:
///   `arith.mul(args).timeout(Duration::from_millis(200)).await?`.
/// - `ArithMock` implements the trait by closures, for tests of what calls it.
///
/// # Methods
/// - `async fn name(&self, argument: T) -> Result<R>`. `T` and `R` are structs with `#[derive(Message)]`,
///   `trunkline::Bytes` for the body as it is, or types of prost's. Without an argument it takes the empty
///   message, and `Result<()>` gives it. The codec is the caller's choice; the reply comes in the same.
/// - `Result<R, E>` with an error type of one's own, where `Status` implements `From<E>`. With
///   `Status::from_error` a Trunkline caller gets the value back from `Status::details`; every other caller gets
///   its text.
/// - `Streaming<T>` as the argument is read as it arrives, and `Result<Streaming<T>>` answers as it goes; the client
///   takes and gives the same. See `trunkline::Streaming` for what each wire makes of it.
/// - `&Context` or `Context` right after `&self`: who calls, the time left, the caller's metadata.
/// - `Result<Annotated<R>>` sends metadata with the reply.
/// - A plain `fn` is answered on the spot, between reading a request and writing its reply: for what neither
///   waits nor computes for long. It is decoded from the connection's buffer and encoded into it.
/// - `fn name(&self, body: &[u8], reply: &mut ReplyBuf<'_>) -> Result<()>` is the fastest: it reads the body where
///   it lies, in whatever codec, and writes its reply where it leaves from.
///
/// ```
/// use trunkline::{Annotated, Bytes, Context, Metadata, ReplyBuf, Result};
///
/// #[trunkline::service(name = "Text.Tools")]
/// trait Tools {
///     /// The same bytes.
///     fn echo(&self, body: &[u8], reply: &mut ReplyBuf<'_>) -> Result<()>;
///     #[rename = "len"]
///     async fn length(&self, cx: &Context, text: Bytes) -> Result<Annotated<Bytes>>;
/// }
///
/// struct Plain;
///
/// impl Tools for Plain {
///     fn echo(&self, body: &[u8], reply: &mut ReplyBuf<'_>) -> Result<()> {
///         reply.extend_from_slice(body);
///         Ok(())
///     }
///
///     async fn length(&self, cx: &Context, text: Bytes) -> Result<Annotated<Bytes>> {
///         let metadata = Metadata::builder().with("wire", cx.wire()).build();
///         Ok(Annotated::new(text.len().to_string().into(), metadata))
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<()> {
/// let tools = ToolsClient::new(ToolsServer::new(Plain));
/// assert_eq!(tools.echo("abc").await?, "abc");
/// let reply = tools.length("abc".into()).metadata_pair("tenant", "a").annotated().await?;
/// assert_eq!((&reply.value[..], reply.metadata.get("wire")), (&b"3"[..], Some("local")));
/// # Ok(()) }
/// ```
///
/// # Names
/// As in Go: a service is called by its trait's name, a method by its own in `UpperCamelCase`, so that
/// `Arith::get_all` is `Arith.GetAll`. `#[service(name = "…")]` gives the trait another name, `#[rename = "…"]` a
/// method. A server finds a method by its exact name or else by the name in ASCII letters of any case.
///
/// # Attributes of methods
/// - `#[idempotent]`: it may run twice without harm, so a client may try it again.
/// - `#[spawn]`: each call gets a task of its own, so that a method that computes for long holds up nobody else
///   on its connection. For an `async fn` only.
/// - `#[rename = "…"]`: the name that calls carry.
/// - Documentation goes to the client's methods and to what the server says of itself.
///
/// # Mailbox services
/// `#[service(mailbox)]`, with the feature `node` of `trunkline`, also makes what a node needs: `ArithMessage`, whose
/// variants are the methods with their values, and `ArithHandle`, by which other services call (`handle.mul(args).await`),
/// notify (`handle.notify().mul(args).await`) and set timers. See `trunkline::node`. Its methods take and give values:
/// no borrowed bytes, no streams, no reply metadata, no `#[spawn]`.
///
/// # The mock
/// ```
/// # use trunkline::{Bytes, Result};
/// #[trunkline::service]
/// trait Store {
///     async fn get(&self, key: Bytes) -> Result<Bytes>;
///     async fn remove(&self, key: Bytes) -> Result<()>;
/// }
///
/// /// What is to be tested; in production `S` is a channel.
/// async fn greeting<S: trunkline::Service>(store: &StoreClient<S>) -> Result<String> {
///     let name = store.get("name".into()).await?;
///     Ok(format!("hello {}", String::from_utf8_lossy(&name)))
/// }
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<()> {
/// let mock = StoreMock::new().get(|_key| Ok("Ada".into()));
/// let store = mock.clone().client();
/// assert_eq!(greeting(&store).await?, "hello Ada");
/// assert_eq!((mock.get_calls(), mock.remove_calls()), (1, 0));
/// // A method without a closure fails, and its status names it.
/// assert!(store.remove("name".into()).await.unwrap_err().message().starts_with("Store.Remove: "));
/// # Ok(()) }
/// ```
/// A method whose error type cannot be made of a `Status` panics instead, in the test that forgot its closure.
#[proc_macro_attribute]
pub fn service(arguments: proc_macro::TokenStream, item: proc_macro::TokenStream) -> proc_macro::TokenStream {
    service::expand(arguments.into(), item.into()).unwrap_or_else(syn::Error::into_compile_error).into()
}
