//! The stack of layers that every call passes, spelled once, from top to bottom.

use std::sync::Arc;

use super::router::Router;
use crate::Service;
use crate::layer::{Admission, Counters, Deadline, DeadlineLayer, Guarded, Layer, Token};

/// The settings of what every call passes.
#[derive(Debug, Default)]
pub(crate) struct Policies {
    pub(crate) admission: Admission,
    pub(crate) token: Token,
    pub(crate) deadline: DeadlineLayer,
}

/// The default policies and layers around a service.
pub(crate) type Stack<S> = Guarded<Deadline<S>, (Arc<Counters>, (Admission, Token))>;

/// Wraps the router, and what the user put around it, in the default policies and layers.
pub(crate) fn stack<U>(
    router: Arc<Router>,
    user: U,
    policies: Policies,
    counters: Arc<Counters>,
) -> Stack<U::Service>
where
    U: Layer<Arc<Router>>,
{
    let Policies { admission, token, deadline } = policies;
    // The user's own layers see calls that are admitted, known and in time.
    let service = user.layer(router);
    // The deadline is nearest to the handler, so that it ends the handler alone and every policy sees how.
    let service = deadline.layer(service);
    // The counters stand above all that can refuse, so that refusals are counted; admission above the token, so that
    // not even its check is paid for under overload. On top a panic in anything below is caught.
    Guarded::new(service, (counters, (admission, token)))
}

/// Says at compile time that a stack is a service.
const _: fn() = || {
    fn is_service<S: Service>() {}
    is_service::<Stack<Arc<Router>>>();
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layer::NoLayer;
    use crate::{Asked, Call, Serialization};

    /// What every call moves around; a field more shows here before it shows in a benchmark.
    #[test]
    fn a_call_and_what_comes_of_it_stay_small() {
        let router = Arc::new(Router::default());
        let stack = stack(router, NoLayer, Policies::default(), Arc::new(Counters::new(0)));
        let mut asked = Asked::new(Call::new("Echo", "Owned", Serialization::Raw, ""), None);
        stack.start(&mut asked);
        let (call_size, started_size) = (size_of_val(&asked.call), size_of_val(&asked.outcome));
        println!("a call: {call_size} bytes, what comes of it: {started_size} bytes");
        assert!(call_size <= 128, "{call_size}");
        assert!(started_size <= 64, "{started_size}");
    }
}
