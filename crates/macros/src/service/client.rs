//! The client: a method each that begins a call.

use proc_macro2::TokenStream;
use quote::quote;

use super::method::{Kind, Method};
use super::{Service, literal};

pub(super) fn emit(service: &Service) -> TokenStream {
    let (vis, client) = (service.vis(), service.ident_of("Client"));
    let name = literal(&service.name);
    let methods = service.methods.iter().map(|method| client_method(service, method));
    let doc = format!("Calls `{}` through `S`: a client, a channel, or any other service.", service.name);
    let conditions: Vec<_> = service.conditions().collect();
    quote! {
        #(#conditions)*
        #[doc = #doc]
        #[derive(::core::clone::Clone, ::core::fmt::Debug)]
        #vis struct #client<S = ::trunkline::client::Client> {
            service: S,
            name: ::trunkline::Name,
        }

        #(#conditions)*
        impl #client {
            /// Connects to one endpoint, for example `rpcx://127.0.0.1:8972`, by a channel; or to several, for example
            /// `rpcx://a:1#3,b:2#1`, by a balanced client that calls them in turn by weight.
            ///
            /// # Errors
            /// The address cannot be read, or nobody answers there.
            pub async fn connect(url: &str) -> ::trunkline::Result<Self> {
                ::core::result::Result::Ok(Self::new(::trunkline::client::Client::of_url(url).await?))
            }
        }

        #(#conditions)*
        impl<S: ::trunkline::Service> #client<S> {
            /// Calls through this channel or service.
            pub fn new(service: S) -> Self {
                Self { service, name: ::trunkline::Name::from_static(#name) }
            }

            /// The same client for a service that is served under another name.
            #[must_use]
            pub fn named(mut self, name: &str) -> Self {
                self.name = <::trunkline::Name as ::core::convert::From<&str>>::from(name);
                self
            }

            #(#methods)*
        }
    }
}

fn client_method(service: &Service, method: &Method) -> TokenStream {
    let (ident, name, docs) = (&method.ident, literal(&method.name), method.docs(&service.name));
    let lints = method.attributes.iter().filter(|other| other.path().is_ident("deprecated"));
    let (takes, gives) = (method.argument_type(), method.reply_type());
    let (parameter, argument) = match (&method.argument, method.kind) {
        (_, Kind::Borrowed) => (
            quote!(body: impl ::core::convert::Into<::trunkline::Bytes>),
            quote!(::core::convert::Into::into(body)),
        ),
        (Some((ident, ty)), _) => (quote!(#ident: #ty), quote!(#ident)),
        (None, _) => (quote!(), quote!(())),
    };
    let idempotent = method.idempotent.then(|| quote!(.idempotent()));
    quote! {
        #docs
        #(#lints)*
        pub fn #ident(&self, #parameter) -> ::trunkline::client::Outgoing<'_, S, #takes, #gives> {
            ::trunkline::client::Outgoing::new(
                &self.service,
                ::core::clone::Clone::clone(&self.name),
                ::trunkline::Name::from_static(#name),
                #argument,
            )
            #idempotent
        }
    }
}
