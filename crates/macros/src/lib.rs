//! The macros of Trunkline. Use them through the `trunkline` crate.

mod message;
mod service;

/// Gives a struct field numbers and a schema, so that it travels in every codec. See the trait of the same name
/// in the `trunkline` crate.
#[proc_macro_derive(Message, attributes(message))]
pub fn derive_message(input: proc_macro::TokenStream) -> proc_macro::TokenStream {
    message::derive(input.into()).unwrap_or_else(syn::Error::into_compile_error).into()
}

/// placeholder
#[proc_macro_attribute]
pub fn service(arguments: proc_macro::TokenStream, item: proc_macro::TokenStream) -> proc_macro::TokenStream {
    service::expand(arguments.into(), item.into()).unwrap_or_else(syn::Error::into_compile_error).into()
}
