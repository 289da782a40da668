//! The trait as it is implemented, and its implementation for `Arc`.

use proc_macro2::TokenStream;
use quote::{format_ident, quote};

use super::Service;
use super::method::{Kind, Method};

pub(super) fn emit(service: &Service) -> TokenStream {
    let (attributes, vis, ident) = (&service.item.attrs, service.vis(), service.ident());
    let supertraits = service.item.supertraits.iter();
    let signatures = service.methods.iter().map(|method| {
        let attributes = &method.attributes;
        let signature = signature(method);
        quote!(#(#attributes)* #signature;)
    });
    let conditions = service.conditions();
    let forwards = service.methods.iter().map(forward);
    quote! {
        #(#attributes)*
        #vis trait #ident: #(#supertraits +)* ::core::marker::Send + ::core::marker::Sync + 'static {
            #(#signatures)*
        }

        #(#conditions)*
        #[allow(deprecated)]
        impl<T: #ident> #ident for ::std::sync::Arc<T> {
            #(#forwards)*
        }
    }
}

/// What an implementor sees: an `async fn` whose future may move between threads.
fn signature(method: &Method) -> TokenStream {
    let (ident, parameters, output) = (&method.ident, &method.parameters, output(method));
    quote!(fn #ident(&self, #(#parameters),*) -> #output)
}

fn output(method: &Method) -> TokenStream {
    let output = &method.output;
    match method.kind {
        Kind::Async => quote!(impl ::core::future::Future<Output = #output> + ::core::marker::Send),
        Kind::InPlace | Kind::Borrowed => quote!(#output),
    }
}

fn forward(method: &Method) -> TokenStream {
    let ident = &method.ident;
    let types = method.parameters.iter().map(|parameter| &parameter.ty);
    let names: Vec<_> = (0..method.parameters.len()).map(|index| format_ident!("argument{index}")).collect();
    let output = output(method);
    quote! {
        fn #ident(&self, #(#names: #types),*) -> #output {
            T::#ident(&**self, #(#names),*)
        }
    }
}
