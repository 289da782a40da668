//! What nodes need of a service: its messages, who works on them, and the handle that makes them.

use proc_macro2::TokenStream;
use quote::{ToTokens, format_ident, quote};
use syn::ext::IdentExt;
use syn::{Error, Ident, Result};

use super::method::{ContextArgument, Kind, Method, fail, mentions, upper_camel};
use super::{Service, literal};

/// Names that the handle has for itself.
const TAKEN: [&str; 2] = ["notify", "mailbox"];

/// The longest name of a method that saber's frames carry, in bytes.
const LONGEST: usize = 64;

/// Why a method cannot be one of a mailbox service.
pub(super) fn check(method: &Method) -> Result<()> {
    let ident = &method.ident;
    if TAKEN.iter().any(|taken| ident == taken) {
        let text = "the handle has a method of this name itself; take another one, and keep the name that calls carry \
                    with #[rename = \"…\"]";
        return fail(ident, ident, text);
    }
    if method.kind == Kind::Borrowed {
        let text = "a mailbox service's method takes and gives values: calls within a node have no bytes";
        return fail(ident, ident, text);
    }
    if method.takes.is_some() || method.gives.is_some() {
        return fail(ident, ident, "a mailbox service's method does not stream: a message is one value");
    }
    if mentions(method.output.to_token_stream(), "Annotated") {
        return fail(ident, &method.output, "the answer of a mailbox service has no metadata");
    }
    if method.spawn {
        let text =
            "a mailbox service's handlers run as its mode says; take #[spawn] away, and serve it in parallel";
        return fail(ident, ident, text);
    }
    if method.name.len() > LONGEST {
        return fail(ident, ident, "the name of a mailbox service's method has at most 64 bytes");
    }
    Ok(())
}

/// Why a name cannot be one of a mailbox service.
pub(super) fn check_name(ident: &Ident, name: &str) -> Result<()> {
    if name.contains('/') {
        let text = "the name of a mailbox service has no `/`: its number follows one";
        return Err(Error::new(ident.span(), text));
    }
    Ok(())
}

pub(super) fn emit(service: &Service) -> TokenStream {
    let (message, worker, handle) = (messages(service), worker(service), handle(service));
    quote! { #message #worker #handle }
}

fn variant(method: &Method) -> Ident {
    format_ident!("{}", upper_camel(&method.ident.unraw().to_string()), span = method.ident.span())
}

fn messages(service: &Service) -> TokenStream {
    let (vis, message) = (service.vis(), service.ident_of("Message"));
    let conditions: Vec<_> = service.conditions().collect();
    let doc = format!("The messages of `{}`. A handle makes them.", service.name);
    let variants = service.methods.iter().map(|method| {
        let (variant, doc) = (variant(method), format!("`{}`", method.name));
        let (takes, gives) = (method.argument_type(), method.reply_type());
        quote! {
            #[doc = #doc]
            #variant(#takes, ::core::option::Option<::trunkline::node::Ticket<#gives>>)
        }
    });
    let notifies = service.methods.iter().map(|method| {
        let variant = variant(method);
        quote!(Self::#variant(_, ref ticket) => ticket.is_none(),)
    });
    quote! {
        #(#conditions)*
        #[doc = #doc]
        #[allow(clippy::large_enum_variant)]
        #vis enum #message {
            #(#variants),*
        }

        #(#conditions)*
        impl ::trunkline::node::Message for #message {
            fn is_notify(&self) -> bool {
                match *self {
                    #(#notifies)*
                }
            }
        }
    }
}

fn worker(service: &Service) -> TokenStream {
    let (contract, server) = (service.ident(), service.ident_of("Server"));
    let (message, handle) = (service.ident_of("Message"), service.ident_of("Handle"));
    let conditions: Vec<_> = service.conditions().collect();
    let names = service.methods.iter().map(|method| literal(&method.name));
    let arms = service.methods.iter().map(|method| work(service, method));
    quote! {
        #(#conditions)*
        #[allow(deprecated)]
        impl<T: #contract> ::trunkline::node::MailboxService for #server<T> {
            type Message = #message;
            type Handle = #handle;

            const METHODS: &'static [&'static str] = &[#(#names),*];

            fn handle(
                &self,
                message: #message,
            ) -> impl ::core::future::Future<Output = ()> + ::core::marker::Send {
                async move {
                    match message {
                        #(#arms)*
                    }
                }
            }
        }
    }
}

/// Works on one message.
fn work(service: &Service, method: &Method) -> TokenStream {
    let (contract, message) = (service.ident(), service.ident_of("Message"));
    let (ident, variant) = (&method.ident, variant(method));
    let (binding, argument) = match method.argument {
        Some(_) => (quote!(argument), quote!(argument)),
        None => (quote!(()), quote!()),
    };
    let helpers = quote!(::trunkline::__private::node);
    let run = match (method.kind, method.context) {
        (Kind::Async, None) => quote! {
            #helpers::answering(ticket, <T as #contract>::#ident(&self.inner, #argument)).await
        },
        (Kind::Async, Some(context)) => {
            let (name, method) = (literal(&service.name), literal(&method.name));
            let context = match context {
                ContextArgument::Borrowed => quote!(&context,),
                ContextArgument::Owned => quote!(context,),
            };
            quote! {
                let context = #helpers::context(&ticket, #name, #method);
                #helpers::answering(ticket, <T as #contract>::#ident(&self.inner, #context #argument)).await
            }
        }
        _ => quote! {
            #helpers::answer(ticket, || <T as #contract>::#ident(&self.inner, #argument))
        },
    };
    quote!(#message::#variant(#binding, ticket) => { #run })
}

fn handle(service: &Service) -> TokenStream {
    let (vis, name) = (service.vis(), literal(&service.name));
    let (message, handle) = (service.ident_of("Message"), service.ident_of("Handle"));
    let notify = service.ident_of("Notify");
    let conditions: Vec<_> = service.conditions().collect();
    let doc =
        format!("Calls and notifies the mailbox service `{}`, in this node or in another one.", service.name);
    let notify_doc = format!("Notifies the mailbox service `{}`: nobody waits for an answer.", service.name);
    let calls =
        service.methods.iter().map(|method| made(service, method, &quote!(Calling), &quote!(&self.0)));
    let notifies =
        service.methods.iter().map(|method| made(service, method, &quote!(Notifying), &quote!(self.0)));
    quote! {
        #(#conditions)*
        #[doc = #doc]
        #[derive(::core::clone::Clone, ::core::fmt::Debug)]
        #vis struct #handle(::trunkline::node::Handle<#message>);

        #(#conditions)*
        #[allow(deprecated)]
        impl #handle {
            /// The same methods as notifies and timers.
            pub fn notify(&self) -> #notify<'_> {
                #notify(&self.0)
            }

            /// The mailbox: its name, its figures, its stop.
            pub fn mailbox(&self) -> &::trunkline::node::Handle<#message> {
                &self.0
            }

            #(#calls)*
        }

        #(#conditions)*
        impl ::core::convert::From<::trunkline::node::Handle<#message>> for #handle {
            fn from(handle: ::trunkline::node::Handle<#message>) -> Self {
                Self(handle)
            }
        }

        #(#conditions)*
        impl ::trunkline::node::TypedHandle for #handle {
            type Message = #message;
            const NAME: &'static str = #name;
        }

        #(#conditions)*
        #[doc = #notify_doc]
        #[derive(::core::clone::Clone, ::core::marker::Copy, ::core::fmt::Debug)]
        #vis struct #notify<'a>(&'a ::trunkline::node::Handle<#message>);

        #(#conditions)*
        #[allow(deprecated)]
        impl<'a> #notify<'a> {
            #(#notifies)*
        }
    }
}

/// The method of a handle that makes a message.
fn made(service: &Service, method: &Method, how: &TokenStream, target: &TokenStream) -> TokenStream {
    let (ident, name, docs) = (&method.ident, literal(&method.name), method.docs(&service.name));
    let message = service.ident_of("Message");
    let lints = method.attributes.iter().filter(|other| other.path().is_ident("deprecated"));
    let variant = variant(method);
    let (takes, gives) = (method.argument_type(), method.reply_type());
    let (parameter, argument) = match &method.argument {
        Some((ident, ty)) => (quote!(#ident: #ty), quote!(#ident)),
        None => (quote!(), quote!(())),
    };
    let lifetime = if how.to_string() == "Calling" { quote!('_) } else { quote!('a) };
    quote! {
        #docs
        #(#lints)*
        pub fn #ident(&self, #parameter) -> ::trunkline::node::#how<#lifetime, #message, #takes, #gives> {
            ::trunkline::node::#how::new(#target, #name, #message::#variant, #argument)
        }
    }
}
