//! Several layers as one.

use crate::Service;
use crate::layer::Layer;

/// No layer at all.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoLayer;

impl<S: Service> Layer<S> for NoLayer {
    type Service = S;

    fn layer(self, inner: S) -> S {
        inner
    }
}

/// A layer around another one.
#[derive(Debug, Clone, Copy)]
pub struct Stacked<Inner, Outer> {
    pub(crate) inner: Inner,
    pub(crate) outer: Outer,
}

impl<S, Inner, Outer> Layer<S> for Stacked<Inner, Outer>
where
    S: Service,
    Inner: Layer<S>,
    Outer: Layer<Inner::Service>,
{
    type Service = Outer::Service;

    fn layer(self, inner: S) -> Outer::Service {
        self.outer.layer(self.inner.layer(inner))
    }
}
