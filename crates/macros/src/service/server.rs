//! The server: from calls to methods, and the description.

use proc_macro2::TokenStream;
use quote::{ToTokens, quote};
use syn::Index;

use super::method::{ContextArgument, Kind, Method};
use super::{Service, literal};

pub(super) fn emit(service: &Service) -> TokenStream {
    let (vis, contract, server) = (service.vis(), service.ident(), service.ident_of("Server"));
    let names = service.methods.iter().map(|method| literal(&method.name));
    let calls = service.methods.iter().enumerate().map(|(index, method)| call_arm(service, index, method));
    let answer = answer(service);
    let describe = describe(service);
    let doc = format!("Serves an implementation of [`{contract}`] as `{}`.", service.name);
    let conditions: Vec<_> = service.conditions().collect();
    let streams = service.methods.iter().enumerate().filter(|(_, method)| method.takes.is_some());
    let streams: Vec<_> = streams.map(|(index, _)| Index::from(index)).collect();
    let whole = match &*streams {
        [] => quote!(method < Self::METHODS.len()),
        streams => quote!(method < Self::METHODS.len() && !::core::matches!(method, #(#streams)|*)),
    };
    quote! {
        #(#conditions)*
        #[doc = #doc]
        #[derive(::core::clone::Clone, ::core::fmt::Debug)]
        #vis struct #server<T> {
            inner: T,
        }

        #(#conditions)*
        impl<T: #contract> #server<T> {
            const METHODS: &'static [&'static str] = &[#(#names),*];

            /// Serves this implementation.
            pub fn new(inner: T) -> Self {
                Self { inner }
            }

            /// The implementation.
            pub fn inner(&self) -> &T {
                &self.inner
            }
        }

        #(#conditions)*
        #[allow(deprecated)]
        impl<T: #contract> ::trunkline::Service for #server<T> {
            fn call(
                &self,
                call: ::trunkline::Call,
            ) -> impl ::core::future::Future<Output = ::trunkline::Result<::trunkline::Reply>> + ::core::marker::Send
            {
                ::trunkline::__private::service::call(self, call)
            }

            fn start<'asked>(&'asked self, asked: &mut ::trunkline::Asked<'_, 'asked>) {
                let method = ::trunkline::__private::service::method(asked.call(), Self::METHODS);
                if ::trunkline::__private::service::is_arriving(asked.call()) && #whole {
                    return ::trunkline::__private::service::arrive(self, asked);
                }
                match method {
                    #(#calls)*
                    _ => ::trunkline::__private::service::unknown(asked),
                }
            }

            #answer
        }

        #(#conditions)*
        impl<T: #contract> ::trunkline::NamedService for #server<T> {
            #describe
        }
    }
}

/// Begins one method from owned bytes.
fn call_arm(service: &Service, index: usize, method: &Method) -> TokenStream {
    let (contract, ident, index) = (service.ident(), &method.ident, Index::from(index));
    let helpers = quote!(::trunkline::__private::service);
    if method.kind == Kind::Borrowed {
        return quote! {
            #index => #helpers::borrow(asked, |body, reply| {
                <T as #contract>::#ident(&self.inner, body, reply)
            }),
        };
    }
    let ty = method.argument_type();
    let take_context = method.context.map(|_| quote!(let context = #helpers::take_context(asked);));
    let context = method.context.map(|context| match context {
        ContextArgument::Borrowed => quote!(&context,),
        ContextArgument::Owned => quote!(context,),
    });
    // The type is checked even where it is `()`: a body that does not fit fails the call.
    let (binding, argument) = match method.argument {
        Some(_) => (quote!(argument), quote!(argument)),
        None => (quote!(()), quote!()),
    };
    let call = quote!(<T as #contract>::#ident(&self.inner, #context #argument));
    let run = match method.kind {
        Kind::Async if method.context.is_none() => quote!(#helpers::ask(asked, #call)),
        // What is captured is what the method needs, and nothing else.
        Kind::Async => quote!(#helpers::ask(asked, async move { #call.await })),
        _ => quote!(#helpers::reply(asked, #call)),
    };
    if let Some(item) = &method.takes {
        return quote! {
            #index => {
                let #binding = #helpers::stream::<#item>(asked);
                #take_context
                #run
            }
        };
    }
    quote! {
        #index => {
            if let ::core::option::Option::Some(#binding) = #helpers::argument::<#ty>(asked) {
                #take_context
                #run
            }
        }
    }
}

/// Answers the plain methods where their bytes lie.
fn answer(service: &Service) -> TokenStream {
    let contract = service.ident();
    let plain = service.methods.iter().enumerate().filter(|(_, method)| method.kind != Kind::Async);
    let arms: Vec<_> = plain
        .map(|(index, method)| {
            let (ident, index, ty) = (&method.ident, Index::from(index), method.argument_type());
            match (method.kind, &method.argument) {
                (Kind::Borrowed, _) => quote! {
                    #index => ::trunkline::__private::service::answer_borrowed(request, reply, |body, reply| {
                        <T as #contract>::#ident(&self.inner, body, reply)
                    }),
                },
                (_, Some(_)) => quote! {
                    #index => ::trunkline::__private::service::answer(request, reply, |argument: #ty| {
                        <T as #contract>::#ident(&self.inner, argument)
                    }),
                },
                (_, None) => quote! {
                    #index => ::trunkline::__private::service::answer(request, reply, |()| {
                        <T as #contract>::#ident(&self.inner)
                    }),
                },
            }
        })
        .collect();
    if arms.is_empty() {
        return quote!();
    }
    quote! {
        fn answer(
            &self,
            request: &::trunkline::Request<'_>,
            reply: &mut ::trunkline::ReplyBuf<'_>,
        ) -> ::trunkline::Answer {
            match request.method_id().index() {
                #(#arms)*
                _ => ::trunkline::Answer::Declined,
            }
        }
    }
}

fn describe(service: &Service) -> TokenStream {
    let (name, doc) = (literal(&service.name), literal(&service.doc));
    let methods = service.methods.iter().map(|method| {
        let (name, doc) = (literal(&method.name), literal(&method.doc));
        let (idempotent, spawned) = (method.idempotent, method.spawn);
        let in_place = method.kind != Kind::Async;
        let context = method.context.is_some();
        let whole = (method.argument_type(), method.reply_type());
        let request = method.takes.as_ref().map_or(whole.0, ToTokens::to_token_stream);
        let reply = method.gives.as_ref().map_or(whole.1, ToTokens::to_token_stream);
        let (takes_stream, gives_stream) = (method.takes.is_some(), method.gives.is_some());
        quote! {
            ::trunkline::describe::MethodInfo {
                doc: #doc,
                idempotent: #idempotent,
                in_place: #in_place,
                spawned: #spawned,
                context: #context,
                request: ::trunkline::__private::service::schema::<#request>(),
                reply: ::trunkline::__private::service::schema::<#reply>(),
                takes_stream: #takes_stream,
                gives_stream: #gives_stream,
                ..::trunkline::describe::MethodInfo::new(#name)
            }
        }
    });
    quote! {
        fn describe(&self) -> ::trunkline::describe::ServiceInfo {
            ::trunkline::describe::ServiceInfo {
                name: ::trunkline::Name::from_static(#name),
                doc: #doc,
                methods: ::std::vec![#(#methods),*],
            }
        }
    }
}
