//! The mock: the trait, implemented by closures.

use proc_macro2::TokenStream;
use quote::{format_ident, quote};
use syn::Ident;
use syn::ext::IdentExt;

use super::Service;
use super::method::{Kind, Method};

pub(super) fn emit(service: &Service) -> TokenStream {
    let (vis, contract, mock) = (service.vis(), service.ident(), service.ident_of("Mock"));
    let (server, client) = (service.ident_of("Server"), service.ident_of("Client"));
    let doc = format!(
        "Implements [`{contract}`] by closures, for tests of what calls it. A method without a closure fails and \
         says so. Clones share the counts of calls."
    );
    let closures: Vec<_> = service.methods.iter().map(|method| field(method, "closure")).collect();
    let counts: Vec<_> = service.methods.iter().map(|method| field(method, "calls")).collect();
    let signatures = service.methods.iter().map(closure_signature);
    let setters = service.methods.iter().map(|method| setter(service, method));
    let methods = service.methods.iter().map(|method| mocked(service, method));
    let conditions: Vec<_> = service.conditions().collect();
    quote! {
        #(#conditions)*
        #[doc = #doc]
        #[derive(::core::clone::Clone, ::core::default::Default)]
        #vis struct #mock {
            #(#closures: ::core::option::Option<
                ::std::sync::Arc<dyn #signatures + ::core::marker::Send + ::core::marker::Sync>,
            >,)*
            #(#counts: ::trunkline::__private::service::Calls,)*
        }

        #(#conditions)*
        impl ::core::fmt::Debug for #mock {
            fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
                f.debug_struct(::core::stringify!(#mock))
                    #(.field(::core::stringify!(#counts), &self.#counts))*
                    .finish_non_exhaustive()
            }
        }

        #(#conditions)*
        impl #mock {
            /// A mock of which every method fails.
            #[must_use]
            pub fn new() -> Self {
                ::core::default::Default::default()
            }

            /// A client that calls this mock without a server or a connection, but through the codecs.
            #[must_use]
            pub fn client(self) -> #client<#server<Self>> {
                #client::new(#server::new(self))
            }

            #(#setters)*
        }

        #(#conditions)*
        impl #contract for #mock {
            #(#methods)*
        }
    }
}

fn field(method: &Method, what: &str) -> Ident {
    format_ident!("{}_{what}", method.ident.unraw())
}

/// The closure's signature: the method's without `&self`, and never async.
fn closure_signature(method: &Method) -> TokenStream {
    let types = method.parameters.iter().map(|parameter| &parameter.ty);
    let output = &method.output;
    quote!(::core::ops::Fn(#(#types),*) -> #output)
}

fn setter(service: &Service, method: &Method) -> TokenStream {
    let (ident, closure, calls) = (&method.ident, field(method, "closure"), field(method, "calls"));
    let signature = closure_signature(method);
    let full = format!("{}.{}", service.name, method.name);
    let (answers, counts) = (format!("Answers `{full}` by this."), format!("How often `{full}` was called."));
    quote! {
        #[doc = #answers]
        #[must_use]
        pub fn #ident(
            mut self,
            answer: impl #signature + ::core::marker::Send + ::core::marker::Sync + 'static,
        ) -> Self {
            self.#closure = ::core::option::Option::Some(::std::sync::Arc::new(answer));
            self
        }

        #[doc = #counts]
        #[must_use]
        pub fn #calls(&self) -> usize {
            self.#calls.get()
        }
    }
}

fn mocked(service: &Service, method: &Method) -> TokenStream {
    let (ident, closure, calls) = (&method.ident, field(method, "closure"), field(method, "calls"));
    let types = method.parameters.iter().map(|parameter| &parameter.ty);
    let names: Vec<_> = (0..method.parameters.len()).map(|index| format_ident!("argument{index}")).collect();
    let output = &method.output;
    let mock = service.ident_of("Mock");
    let (service, name) = (&service.name, &method.name);
    let text = format!("{service}.{name}: the mock has no closure for it; call {mock}::new().{ident}(…)");
    let asyncness = (method.kind == Kind::Async).then(|| quote!(async));
    quote! {
        #asyncness fn #ident(&self, #(#names: #types),*) -> #output {
            use ::trunkline::__private::service::{MissingPanic as _, MissingStatus as _};
            self.#calls.add();
            match &self.#closure {
                ::core::option::Option::Some(closure) => closure(#(#names),*),
                ::core::option::Option::None => {
                    (&::trunkline::__private::service::Missing::<#output>::new()).fail(#text)
                }
            }
        }
    }
}
