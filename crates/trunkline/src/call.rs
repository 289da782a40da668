//! The call model: a call and its reply.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use trunkline_wire::Serialization;

use crate::context::MaybeMetadata;
use crate::{Body, Context, Metadata};

/// A service's or a method's name: mostly a constant of the program, so that a clone costs nothing.
#[derive(Clone, Eq)]
pub struct Name(NameKind);

#[derive(Clone, Eq, PartialEq)]
enum NameKind {
    Static(&'static str),
    Shared(Arc<str>),
}

impl Deref for Name {
    type Target = str;

    fn deref(&self) -> &str {
        match &self.0 {
            NameKind::Static(text) => text,
            NameKind::Shared(text) => text,
        }
    }
}

impl Default for Name {
    fn default() -> Self {
        Self::from_static("")
    }
}

impl Name {
    /// A name that is a constant.
    #[must_use]
    pub const fn from_static(text: &'static str) -> Self {
        Self(NameKind::Static(text))
    }
}

impl From<&str> for Name {
    fn from(text: &str) -> Self {
        Self(NameKind::Shared(text.into()))
    }
}

impl From<String> for Name {
    fn from(text: String) -> Self {
        Self(NameKind::Shared(text.into()))
    }
}

impl PartialEq for Name {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

/// The names of a service and its method, small: a call is moved around.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Names {
    Static(&'static str, &'static str),
    Shared(Arc<(Name, Name)>),
}

impl Names {
    pub(crate) fn new(service: Name, method: Name) -> Self {
        match (&service.0, &method.0) {
            (NameKind::Static(service), NameKind::Static(method)) => Self::Static(service, method),
            _ => Self::Shared(Arc::new((service, method))),
        }
    }

    pub(crate) fn service(&self) -> &str {
        match self {
            Self::Static(service, _) => service,
            Self::Shared(names) => &names.0,
        }
    }

    pub(crate) fn method(&self) -> &str {
        match self {
            Self::Static(_, method) => method,
            Self::Shared(names) => &names.1,
        }
    }

    /// Whether both are the same constants of the program: told by where they lie, no byte is looked at.
    #[inline]
    pub(crate) fn same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Static(service, method), Self::Static(its_service, its_method)) => {
                std::ptr::eq(*service, *its_service) && std::ptr::eq(*method, *its_method)
            }
            _ => false,
        }
    }
}

impl fmt::Debug for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.service(), self.method())
    }
}

/// The number of a method in its server's table; what a server knows of a call before it looks at names again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct MethodId {
    /// Which service of the server.
    pub(crate) service: u16,
    /// Which method of the service, in the order of its description.
    pub(crate) method: u16,
    /// Which method of the server: the index for tables by method.
    pub(crate) flat: u32,
}

impl MethodId {
    /// The method's index in its service's description.
    #[must_use]
    pub fn index(self) -> usize {
        usize::from(self.method)
    }
}

/// One request: who is called, with what, and under which circumstances.
#[derive(Debug)]
pub struct Call {
    pub(crate) method: Option<MethodId>,
    pub(crate) serialization: Serialization,
    pub(crate) one_way: bool,
    pub(crate) idempotent: bool,
    pub(crate) compress: bool,
    /// The caller takes the reply frame by frame.
    pub(crate) streams: bool,
    pub(crate) body: Body,
    pub(crate) context: Context,
}

impl Call {
    /// A call of a method with a whole body, in the given serialisation.
    #[must_use]
    pub fn new(
        service: impl Into<Name>,
        method: impl Into<Name>,
        serialization: Serialization,
        body: impl Into<Body>,
    ) -> Self {
        let names = Names::new(service.into(), method.into());
        let context = Context { names, ..Context::local(None) };
        Self {
            method: None,
            serialization,
            one_way: false,
            idempotent: false,
            compress: false,
            streams: false,
            body: body.into(),
            context,
        }
    }

    /// The called service's name.
    #[must_use]
    pub fn service(&self) -> &str {
        self.context.service()
    }

    /// The called method's name.
    #[must_use]
    pub fn method(&self) -> &str {
        self.context.method()
    }

    /// The method's number, where a server has looked it up.
    #[must_use]
    pub fn method_id(&self) -> Option<MethodId> {
        self.method
    }

    /// How the body is serialised.
    #[must_use]
    pub fn serialization(&self) -> Serialization {
        self.serialization
    }

    /// Whether the caller wants no answer.
    #[must_use]
    pub fn is_one_way(&self) -> bool {
        self.one_way
    }

    /// Whether the method may run twice without harm.
    #[must_use]
    pub fn is_idempotent(&self) -> bool {
        self.idempotent
    }

    /// The metadata that came with the call.
    #[must_use]
    pub fn metadata(&self) -> &Metadata {
        self.context.metadata()
    }

    /// The circumstances of the call.
    #[must_use]
    pub fn context(&self) -> &Context {
        &self.context
    }

    /// The same call without an answer.
    #[must_use]
    pub fn one_way(mut self) -> Self {
        self.one_way = true;
        self
    }

    /// The same call with its body compressed on the way, where the wire can and it is worth it.
    #[must_use]
    pub fn compressed(mut self) -> Self {
        self.compress = true;
        self
    }

    /// The same call, whose reply is wanted frame by frame. On a wire that cannot do that it fails with
    /// [`Code::Unsupported`](crate::Code::Unsupported) before anything is sent.
    #[must_use]
    pub fn streamed(mut self) -> Self {
        self.streams = true;
        self
    }

    /// The same call, marked as one that may run twice without harm.
    #[must_use]
    pub fn idempotent(mut self) -> Self {
        self.idempotent = true;
        self
    }

    /// The same call with other metadata.
    #[must_use]
    pub fn with_metadata(mut self, metadata: Metadata) -> Self {
        self.context.metadata = MaybeMetadata::new(metadata);
        self
    }

    /// The same call with a deadline.
    #[must_use]
    pub fn with_deadline(mut self, deadline: tokio::time::Instant) -> Self {
        self.context.deadline = Some(deadline);
        self
    }

    /// The call as a value of its own; what is left in its place has its names and nothing else to say.
    pub(crate) fn take(&mut self) -> Self {
        let context = self.context.take();
        Self { body: std::mem::take(&mut self.body), context, ..*self }
    }

    /// The same call once more; a streamed body, which is there once, is left out.
    pub(crate) fn copy(&self) -> Self {
        let body = match &self.body {
            Body::Full(body) => body.clone().into(),
            Body::Stream(_) => Body::default(),
        };
        Self { body, context: self.context.clone(), ..*self }
    }

    /// Takes the call apart.
    #[must_use]
    pub fn into_parts(self) -> (Context, Body) {
        (self.context, self.body)
    }
}

/// The answer to a call that went well.
#[derive(Debug, Default)]
pub struct Reply {
    pub(crate) body: Body,
    pub(crate) metadata: MaybeMetadata,
}

impl Reply {
    /// An answer with a body, in the serialisation of the call.
    #[must_use]
    pub fn new(body: impl Into<Body>) -> Self {
        Self { body: body.into(), metadata: MaybeMetadata::default() }
    }

    /// The same answer with metadata.
    #[must_use]
    pub fn with_metadata(mut self, metadata: Metadata) -> Self {
        self.metadata = MaybeMetadata::new(metadata);
        self
    }

    /// The metadata that came with the answer.
    #[must_use]
    pub fn metadata(&self) -> &Metadata {
        self.metadata.get()
    }

    /// The body.
    #[must_use]
    pub fn into_body(self) -> Body {
        self.body
    }

    /// The body and the metadata.
    #[must_use]
    pub fn into_parts(self) -> (Body, Metadata) {
        (self.body, self.metadata.into_inner())
    }
}
