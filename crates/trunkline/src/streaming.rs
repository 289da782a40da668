//! Streams of typed items: what a method takes or gives piece by piece.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::sync::mpsc;
use trunkline_wire::Serialization;

use crate::body::Frames;
use crate::codec::{self, Payload, Preferred};
use crate::{Body, BodyStream, Code, Result, Status};

/// Items that come one after the other: the argument of a method that reads its request as it arrives, or the
/// result of one that answers as it goes.
///
/// ```
/// use trunkline::{Result, Streaming};
///
/// #[trunkline::service]
/// trait Words {
///     /// Each word in capitals, as it comes.
///     async fn shout(&self, words: Streaming<String>) -> Result<Streaming<String>>;
/// }
///
/// struct Loud;
///
/// impl Words for Loud {
///     async fn shout(&self, mut words: Streaming<String>) -> Result<Streaming<String>> {
///         Ok(Streaming::produce(|answer| async move {
///             while let Some(word) = words.next().await {
///                 answer.send(word?.to_uppercase()).await?;
///             }
///             Ok(())
///         }))
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<()> {
/// let client = WordsClient::new(WordsServer::new(Loud));
/// let mut loud = client.shout(Streaming::iter(["one".to_owned(), "two".to_owned()])).await?;
/// assert_eq!(loud.next().await.unwrap()?, "ONE");
/// assert_eq!(loud.next().await.unwrap()?, "TWO");
/// assert!(loud.next().await.is_none());
/// # Ok(()) }
/// ```
///
/// # On the wire
/// Each item is one frame of the body, in the codec of the call. Items of bytes or text ([`Bytes`], `Vec<u8>`,
/// `String`) are their frames as they are; an empty one carries nothing and is not sent. A whole body is a stream of
/// one item, an empty body one of none. A frame may be as large as a body may be (`body_limit`); the stream together
/// may be of any length.
///
/// - Over HTTP a streamed result is answered with a line of JSON for each item (`application/x-ndjson`), or, where the
///   request says `Accept: text/event-stream`, with an event for each (`data: …`). A failure midway is the last line
///   `{"error":{"code":…,"message":…}}`, or an event of the type `error` with that as its data. Items of bytes or
///   text go as plain bytes (`application/octet-stream`), in which their borders are lost, or as events, where each is
///   text. A streamed argument is read as lines of JSON, or as bytes as they arrive; a line may be as long as a body.
/// - rpcx and easymicro have no streams: a call whose argument or result is streamed fails with [`Code::Unsupported`]
///   before anything is sent.
///
/// # Back-pressure
/// Nobody keeps what is not read: whoever makes the items waits. Between the two ends wait at most the items of the
/// [`channel`](Streaming::channel), one frame that is ready, [`BodyStream::CREDIT`] bytes at each end of the
/// connection, and what the sockets hold. A slow reader slows its own stream; what it shares with other calls is the
/// connection, which has to carry their bytes one after the other. A peer that takes nothing at all from a connection
/// for 10 s loses it, as with any answer.
///
/// # How it ends
/// With `None`, or with a failure as the last item. Dropping a stream ends it at the other end, too: sending fails
/// with [`Code::Cancelled`], and a service that makes the items is dropped. A sender that is dropped before it says
/// that all is sent ends the stream with a failure, so that a part is never taken for the whole.
///
/// When the connection is lost the stream fails at its reader with [`Code::Unavailable`], unless it is one that goes on over
/// the next connection: the layer `Resume` at the server, `Resuming` around the caller's channel.
///
/// # Time
/// A deadline that the call says itself (`Outgoing::timeout`, `within`, a caller's `X-Timeout`) covers the stream to
/// its end. The timeout that a channel gives to calls without one covers the time until the stream begins: on wires
/// that have no head of a reply apart from its first frame, until the first item is there.
///
/// It is a `Stream` of the futures crates as well.
pub struct Streaming<T>(Source<T>);

enum Source<T> {
    /// Frames of somebody else's.
    Arriving {
        frames: BodyStream,
        how: Serialization,
    },
    /// Made here. The lock lets the stream be shared; nobody waits for it.
    Made(Mutex<Box<dyn Items<T>>>),
    Over,
}

/// Makes items.
trait Items<T>: Send {
    /// The next one. It is not asked again after the end, nor after a failure.
    fn poll_item(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<T>>>;
}

/// The sending half of [`Streaming::channel`]. Dropping it without [`finish`](StreamSender::finish) or
/// [`fail`](StreamSender::fail) ends the stream with a failure ([`Code::Cancelled`]).
pub struct StreamSender<T> {
    items: mpsc::Sender<T>,
    end: Arc<Mutex<End>>,
}

/// How a stream ends when its items are read.
enum End {
    /// The sender was dropped, or is still there.
    Cut,
    Finished,
    Failed(Status),
}

impl End {
    fn into_item<T>(self) -> Option<Result<T>> {
        match self {
            Self::Finished => None,
            Self::Failed(status) => Some(Err(status)),
            Self::Cut => Some(Err(Status::new(Code::Cancelled, "the stream was cut before its end"))),
        }
    }
}

/// How many items of a [`Streaming::produce`] wait for their reader.
const PRODUCED: usize = 16;

impl<T: Send + 'static> Streaming<T> {
    /// A stream and the half that sends into it, of which `capacity` items may wait (at least one).
    #[must_use]
    pub fn channel(capacity: usize) -> (StreamSender<T>, Self) {
        let (sender, received) = Received::channel(capacity);
        (sender, Self::made(received))
    }

    /// The items of an iterator, each made when it is asked for. For what takes long, or waits, there is
    /// [`produce`](Streaming::produce).
    pub fn iter<I>(items: I) -> Self
    where
        I: IntoIterator<Item = T>,
        I::IntoIter: Send + 'static,
    {
        Self::made(Iterated(items.into_iter()))
    }

    /// The items that an async function sends. It runs when the stream is read and waits while 16 items are unread;
    /// it is dropped with the stream. Where it is the result of a method, it runs in the task of the caller's
    /// connection: what computes for long is to run in a task of its own and send into a
    /// [`channel`](Streaming::channel).
    ///
    /// The stream ends when the function returns `Ok`, and fails when it returns a failure.
    pub fn produce<F>(function: impl FnOnce(StreamSender<T>) -> F) -> Self
    where
        F: Future<Output = Result<()>> + Send + 'static,
    {
        let (sender, received) = Received::channel(PRODUCED);
        Self::made(Produced { work: Some(Box::pin(function(sender))), received })
    }

    fn made(items: impl Items<T> + 'static) -> Self {
        Self(Source::Made(Mutex::new(Box::new(items))))
    }
}

impl<T: Payload> Streaming<T> {
    /// The items in a body of this serialisation.
    pub(crate) fn of(body: Body, how: Serialization) -> Self {
        let frames = match body {
            Body::Stream(frames) => frames,
            Body::Full(bytes) => BodyStream::whole(bytes),
        };
        Self(Source::Arriving { frames, how })
    }

    /// The next item; `None` at the end. A failure is the last thing that comes.
    ///
    /// # Errors
    /// Whatever ended the stream at the other end or on the way. An item that cannot be read
    /// ([`Code::InvalidInput`]) ends it here.
    pub async fn next(&mut self) -> Option<Result<T>> {
        std::future::poll_fn(|cx| self.poll_next(cx)).await
    }

    /// As [`next`](Streaming::next), for hand-written futures.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<T>>> {
        let next = match &mut self.0 {
            Source::Over => None,
            Source::Made(items) => {
                ready!(items.get_mut().unwrap_or_else(PoisonError::into_inner).poll_item(cx))
            }
            Source::Arriving { frames, how } => ready!(frames.poll_next(cx))
                .map(|frame| frame.and_then(|frame| Ok(T::decode_bytes(*how, frame)?))),
        };
        if !matches!(next, Some(Ok(_))) {
            // What stands behind it is let go at once.
            self.0 = Source::Over;
        }
        Poll::Ready(next)
    }

    /// All items; for streams that are known to be short.
    ///
    /// # Errors
    /// The stream failed, or there are more than `limit` items ([`Code::TooLarge`]).
    pub async fn all(mut self, limit: usize) -> Result<Vec<T>> {
        let mut all = Vec::new();
        while let Some(item) = self.next().await {
            if all.len() >= limit {
                return Err(Status::new(Code::TooLarge, format!("the stream has more than {limit} items")));
            }
            all.push(item?);
        }
        Ok(all)
    }
}

impl<T: Payload + Send + 'static> Streaming<T> {
    /// The items as the frames of a body.
    pub(crate) fn into_frames(self, how: Serialization) -> BodyStream {
        let frames = BodyStream::pulled(Encoded { items: self, how });
        if T::DEFAULT == Preferred::Only(Serialization::Raw) { frames.raw() } else { frames }
    }
}

impl<T: Payload> futures_util::Stream for Streaming<T> {
    type Item = Result<T>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<T>>> {
        Self::poll_next(self.get_mut(), cx)
    }
}

impl<T> fmt::Debug for Streaming<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Streaming")
    }
}

impl<T> StreamSender<T> {
    /// Sends an item; waits while as many are unread as the stream may hold.
    ///
    /// # Errors
    /// Nobody reads the stream any more: [`Code::Cancelled`].
    pub async fn send(&self, item: T) -> Result<()> {
        let gone = |_| Status::new(Code::Cancelled, "nobody reads the stream any more");
        self.items.send(item).await.map_err(gone)
    }

    /// Waits until nobody reads the stream any more.
    pub async fn closed(&self) {
        self.items.closed().await;
    }

    /// Ends the stream: all was sent.
    pub fn finish(self) {
        self.end(End::Finished);
    }

    /// Ends the stream with a failure.
    pub fn fail(self, status: Status) {
        self.end(End::Failed(status));
    }

    fn end(&self, how: End) {
        *self.end.lock().unwrap_or_else(PoisonError::into_inner) = how;
    }
}

impl<T> fmt::Debug for StreamSender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StreamSender")
    }
}

/// The reading half of a channel.
struct Received<T> {
    items: mpsc::Receiver<T>,
    end: Arc<Mutex<End>>,
}

impl<T> Received<T> {
    fn channel(capacity: usize) -> (StreamSender<T>, Self) {
        let (sender, items) = mpsc::channel(capacity.clamp(1, tokio::sync::Semaphore::MAX_PERMITS));
        let end = Arc::new(Mutex::new(End::Cut));
        (StreamSender { items: sender, end: Arc::clone(&end) }, Self { items, end })
    }

    fn ended(&self) -> End {
        std::mem::replace(&mut *self.end.lock().unwrap_or_else(PoisonError::into_inner), End::Cut)
    }
}

impl<T: Send> Items<T> for Received<T> {
    fn poll_item(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<T>>> {
        match ready!(self.items.poll_recv(cx)) {
            Some(item) => Poll::Ready(Some(Ok(item))),
            None => Poll::Ready(self.ended().into_item()),
        }
    }
}

/// An async function that sends, and what it has sent.
struct Produced<T> {
    /// `None` when it has returned.
    work: Option<Pin<Box<dyn Future<Output = Result<()>> + Send>>>,
    received: Received<T>,
}

impl<T: Send> Items<T> for Produced<T> {
    fn poll_item(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<T>>> {
        if let Ok(item) = self.received.items.try_recv() {
            return Poll::Ready(Some(Ok(item)));
        }
        if let Some(work) = &mut self.work
            && let Poll::Ready(result) = work.as_mut().poll(cx)
        {
            self.work = None;
            let mut end = self.received.end.lock().unwrap_or_else(PoisonError::into_inner);
            match result {
                // It returns without a word, or has handed its sender on to somebody who will say how it ended.
                Ok(()) if matches!(*end, End::Cut) && self.received.items.sender_strong_count() == 0 => {
                    *end = End::Finished;
                }
                Ok(()) => {}
                Err(status) => {
                    *end = End::Failed(status);
                    drop(end);
                    self.received.items.close();
                }
            }
        }
        self.received.poll_item(cx)
    }
}

struct Iterated<I>(I);

impl<I: Iterator + Send> Items<I::Item> for Iterated<I> {
    fn poll_item(&mut self, _: &mut Context<'_>) -> Poll<Option<Result<I::Item>>> {
        Poll::Ready(self.0.next().map(Ok))
    }
}

/// Items on their way to a wire.
struct Encoded<T> {
    items: Streaming<T>,
    how: Serialization,
}

/// A message of protobuf without a field of a value: the field of the highest number, which nobody knows and
/// everybody passes over. A message of no bytes could not be told from none.
const EMPTY_PROTOBUF: &[u8] = &[0xf8, 0xff, 0xff, 0xff, 0x0f, 0];

impl<T: Payload + Send + 'static> Frames for Encoded<T> {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        // Of an item of no bytes nothing is sent: a bounded number of them is passed over in one go.
        for _ in 0..64 {
            let Some(item) = ready!(self.items.poll_next(cx)) else { return Poll::Ready(None) };
            let frame = item.and_then(|item| item.into_bytes(self.how).map_err(|error| unsaid(&error)));
            match frame {
                Ok(bytes) if bytes.is_empty() => {
                    if self.how == Serialization::Protobuf && !T::schema().is_raw() {
                        return Poll::Ready(Some(Ok(Bytes::from_static(EMPTY_PROTOBUF))));
                    }
                }
                frame => return Poll::Ready(Some(frame)),
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

/// An item that cannot be said in the call's serialisation.
#[cold]
fn unsaid(error: &codec::Error) -> Status {
    let text = format!("an item of the stream: {error}");
    let code = if error.is_unsupported() { Code::Unsupported } else { Code::Internal };
    Status::new(code, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn rest<T: Payload>(mut stream: Streaming<T>) -> (Vec<T>, Option<Status>) {
        let mut items = Vec::new();
        while let Some(item) = stream.next().await {
            match item {
                Ok(item) => items.push(item),
                Err(status) => {
                    assert!(stream.next().await.is_none(), "a failure is the last item");
                    return (items, Some(status));
                }
            }
        }
        assert!(stream.next().await.is_none());
        (items, None)
    }

    fn texts(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|&text| text.to_owned()).collect()
    }

    #[tokio::test]
    async fn a_channel_holds_as_many_items_as_it_says() {
        let (sender, mut stream) = Streaming::channel(2);
        for text in ["a", "b"] {
            sender.send(text.to_owned()).await.unwrap();
        }
        {
            let mut third = Box::pin(sender.send("c".to_owned()));
            assert!(futures_util::poll!(third.as_mut()).is_pending());
            assert_eq!(stream.next().await.unwrap().unwrap(), "a");
            third.await.unwrap();
        }
        sender.finish();
        assert_eq!(rest(stream).await.0, texts(&["b", "c"]));
    }

    #[tokio::test]
    async fn either_half_learns_of_the_others_end() {
        let (sender, stream) = Streaming::channel(1);
        sender.send("a".to_owned()).await.unwrap();
        drop(sender);
        let (items, status) = rest(stream).await;
        assert_eq!((items, status.unwrap().code()), (texts(&["a"]), Code::Cancelled));

        let (sender, stream) = Streaming::<String>::channel(1);
        sender.fail(Status::failed("no more"));
        assert_eq!(rest(stream).await.1.unwrap().message(), "no more");

        let (sender, stream) = Streaming::channel(1);
        drop(stream);
        sender.closed().await;
        assert_eq!(sender.send("a".to_owned()).await.unwrap_err().code(), Code::Cancelled);
    }

    #[tokio::test]
    async fn a_function_produces_to_its_end_or_its_failure() {
        for (fails, more) in [(false, 0), (true, 0), (false, 100), (true, 100)] {
            let stream = Streaming::produce(move |out| async move {
                for _ in 0..=more {
                    out.send("a".to_owned()).await?;
                    tokio::task::yield_now().await;
                }
                if fails { Err(Status::failed("midway")) } else { Ok(()) }
            });
            let (items, status) = rest(stream).await;
            assert_eq!(items.len(), more + 1);
            assert_eq!(status.map(|status| status.message().to_owned()), fails.then(|| "midway".to_owned()));
        }
        // Its sender goes on elsewhere.
        let stream = Streaming::produce(|out| async move {
            tokio::spawn(async move {
                tokio::task::yield_now().await;
                out.send("late".to_owned()).await.unwrap();
                out.finish();
            });
            Ok(())
        });
        assert_eq!(rest(stream).await.0, texts(&["late"]));
    }

    #[tokio::test]
    async fn frames_are_items_and_the_last_one_is_known() {
        let stream = Streaming::iter(texts(&["a", "", "b"]));
        let mut frames = stream.into_frames(Serialization::Raw);
        assert_eq!(frames.next().await.unwrap().unwrap(), "a");
        assert!(!frames.is_finished());
        assert_eq!(frames.next().await.unwrap().unwrap(), "b");
        assert!(frames.is_finished());

        let stream = Streaming::produce(|out| async move { out.send("only".to_owned()).await });
        let mut frames = stream.into_frames(Serialization::Raw);
        assert_eq!(frames.next().await.unwrap().unwrap(), "only");
        assert!(frames.is_finished());
    }

    #[derive(Debug, Default, PartialEq, serde::Serialize, serde::Deserialize, crate::Message)]
    struct Number {
        value: i64,
    }

    #[tokio::test]
    async fn an_item_of_zeros_is_an_item_in_every_codec() {
        let codecs = [
            Serialization::Json,
            Serialization::MessagePack,
            #[cfg(feature = "protobuf")]
            Serialization::Protobuf,
            #[cfg(feature = "thrift")]
            Serialization::Thrift,
        ];
        for how in codecs {
            let numbers = || [0, 7, 0].map(|value| Number { value });
            let frames = Streaming::iter(numbers()).into_frames(how);
            let (items, status) = rest(Streaming::<Number>::of(frames.into(), how)).await;
            assert!(status.is_none(), "{how:?}: {status:?}");
            assert_eq!(items, numbers(), "{how:?}");
        }
        let stream = Streaming::iter([Number::default()]).into_frames(Serialization::Raw);
        let status = rest(Streaming::<Number>::of(stream.into(), Serialization::Json)).await.1.unwrap();
        assert_eq!(status.code(), Code::Unsupported);
    }

    #[tokio::test]
    async fn what_is_no_item_ends_the_stream() {
        let (mut sender, frames) = BodyStream::channel();
        for frame in [r#"{"value":1}"#, r#"{"value":"x"}"#, r#"{"value":3}"#] {
            sender.send(frame).await.unwrap();
        }
        let (items, status) = rest(Streaming::<Number>::of(frames.into(), Serialization::Json)).await;
        assert_eq!((items.len(), status.unwrap().code()), (1, Code::InvalidInput));
        assert!(sender.send("x").await.is_err(), "the rest is not kept");
    }

    #[tokio::test]
    async fn a_whole_body_is_one_item() {
        let one = Streaming::<String>::of(Body::from("a"), Serialization::Raw);
        assert_eq!(one.all(1).await.unwrap(), texts(&["a"]));
        let none = Streaming::<String>::of(Body::default(), Serialization::Raw);
        assert!(none.all(0).await.unwrap().is_empty());
        let two = Streaming::iter(texts(&["a", "b"]));
        assert_eq!(two.all(1).await.unwrap_err().code(), Code::TooLarge);
    }
}
