//! Nothing of the prelude and no import is needed, and names of the user's own do not get in the way.
#![deny(warnings)]
#![allow(dead_code)]

#[no_implicit_prelude]
mod bare {
    type Result<T> = ::trunkline::Result<T>;

    #[::trunkline::service(name = "Bare.Service")]
    pub(crate) trait Bare {
        async fn call(&self, call: ::trunkline::Bytes) -> Result<::trunkline::Bytes>;
        async fn r#type(&self, service: ::trunkline::Bytes) -> Result<::trunkline::Bytes>;
        async fn owned(&self, cx: ::trunkline::Context) -> Result<()>;
        async fn lent(&self, _: &::trunkline::Context, _: ::trunkline::Bytes) -> Result<()>;
        fn answer(&self, request: ::trunkline::Bytes) -> Result<::trunkline::Bytes>;
        fn echo(&self, incoming: &[u8], result: &mut ::trunkline::ReplyBuf<'_>) -> Result<()>;
        async fn annotated(&self) -> Result<::trunkline::Annotated<::trunkline::Bytes>>;
        async fn describe(&self) -> Result<()>;
    }

    #[::trunkline::service]
    trait Empty {}
}

mod shadows {
    struct Option;
    struct Ok;
    struct String;
    trait Send {}
    trait Service {}
    struct Reply;
    struct Call;
    mod core {}
    mod std {}
    mod trunkline {}

    #[::trunkline::service]
    trait Shadowed: ::core::fmt::Debug {
        #[deprecated]
        async fn mul(&self, args: ::trunkline::Bytes) -> ::trunkline::Result<::trunkline::Bytes>;
    }
}

fn main() {
    use trunkline::NamedService;

    struct Nothing;
    impl bare::Bare for Nothing {
        async fn call(&self, call: trunkline::Bytes) -> trunkline::Result<trunkline::Bytes> {
            Ok(call)
        }
        async fn r#type(&self, service: trunkline::Bytes) -> trunkline::Result<trunkline::Bytes> {
            Ok(service)
        }
        async fn owned(&self, _: trunkline::Context) -> trunkline::Result<()> {
            Ok(())
        }
        async fn lent(&self, _: &trunkline::Context, _: trunkline::Bytes) -> trunkline::Result<()> {
            Ok(())
        }
        fn answer(&self, request: trunkline::Bytes) -> trunkline::Result<trunkline::Bytes> {
            Ok(request)
        }
        fn echo(&self, _: &[u8], _: &mut trunkline::ReplyBuf<'_>) -> trunkline::Result<()> {
            Ok(())
        }
        async fn annotated(&self) -> trunkline::Result<trunkline::Annotated<trunkline::Bytes>> {
            Ok(trunkline::Annotated::default())
        }
        async fn describe(&self) -> trunkline::Result<()> {
            Ok(())
        }
    }
    let info = bare::BareServer::new(Nothing).describe();
    assert_eq!(&*info.name, "Bare.Service");
    let names: Vec<_> = info.methods.iter().map(|method| method.name).collect();
    assert_eq!(names, ["Call", "Type", "Owned", "Lent", "Answer", "Echo", "Annotated", "Describe"]);
}
