//! `#[service]`: from a trait to the trait as it is implemented, a server, a client and a mock; for nodes a handle, too.

use proc_macro2::TokenStream;
use quote::{format_ident, quote};
use syn::ext::IdentExt;
use syn::{Attribute, Error, Ident, Item, ItemTrait, LitStr, Result, TraitItem, Visibility};

mod attributes;
mod client;
mod contract;
mod mailbox;
mod method;
mod mock;
mod server;

use attributes::Arguments;
use method::Method;

/// What the attribute makes its four parts from.
struct Service {
    /// The trait, with `async fn` still in it.
    item: ItemTrait,
    /// The name that calls carry.
    name: String,
    /// The text of its documentation.
    doc: String,
    /// Whether nodes run it, too.
    mailbox: bool,
    methods: Vec<Method>,
}

pub(crate) fn expand(arguments: TokenStream, item: TokenStream) -> Result<TokenStream> {
    let service = Service::parse(arguments, item)?;
    let contract = contract::emit(&service);
    let server = server::emit(&service);
    let client = client::emit(&service);
    let mock = mock::emit(&service);
    let mailbox = service.mailbox.then(|| mailbox::emit(&service));
    Ok(quote! { #contract #server #client #mock #mailbox })
}

impl Service {
    fn parse(arguments: TokenStream, item: TokenStream) -> Result<Self> {
        let item = match syn::parse2::<Item>(item)? {
            Item::Trait(item) => item,
            other => {
                let text = "#[service] goes on a trait: its methods are what the service can be asked for; \
                            the struct that answers implements the trait";
                return Err(Error::new_spanned(first_line(&other), text));
            }
        };
        let mut errors = Errors::default();
        if let Some(problem) = unfit(&item) {
            errors.push(problem);
        }
        let Arguments { name, mailbox } = Arguments::parse(arguments).unwrap_or_else(|error| {
            errors.push(error);
            Arguments::default()
        });
        let mut methods: Vec<Method> = Vec::new();
        for member in &item.items {
            let parsed = match member {
                TraitItem::Fn(function) => Method::parse(function),
                other => {
                    Err(Error::new_spanned(other, "a service has methods only; move this out of the trait"))
                }
            };
            match parsed {
                Ok(method) => {
                    if mailbox && let Err(error) = mailbox::check(&method) {
                        errors.push(error);
                    }
                    methods.push(method);
                }
                Err(error) => errors.push(error),
            }
        }
        for (index, method) in methods.iter().enumerate() {
            if let Some(other) = methods.iter().take(index).find(|other| other.name == method.name) {
                let text = format!(
                    "`{}` and `{}` are both called `{}`; give one of them another name with #[rename = \"…\"]",
                    other.ident, method.ident, method.name
                );
                errors.push(Error::new(method.ident.span(), text));
            }
        }
        errors.finish()?;
        let name = name.unwrap_or_else(|| item.ident.unraw().to_string());
        let doc = attributes::doc_text(&item.attrs);
        if mailbox && let Err(error) = mailbox::check_name(&item.ident, &name) {
            return Err(error);
        }
        Ok(Self { item, name, doc, mailbox, methods })
    }

    fn ident(&self) -> &Ident {
        &self.item.ident
    }

    fn vis(&self) -> &Visibility {
        &self.item.vis
    }

    /// `Arith` and `Client` make `ArithClient`.
    fn ident_of(&self, part: &str) -> Ident {
        format_ident!("{}{part}", self.item.ident.unraw(), span = self.item.ident.span())
    }

    /// Attributes of the trait that must stand on everything that is made of it.
    fn conditions(&self) -> impl Iterator<Item = &Attribute> {
        self.item.attrs.iter().filter(|attribute| attribute.path().is_ident("cfg"))
    }
}

/// Why no service can be made of the trait as a whole.
fn unfit(item: &ItemTrait) -> Option<Error> {
    let trait_name = &item.ident;
    if !item.generics.params.is_empty() || item.generics.where_clause.is_some() {
        let text = format!(
            "the service `{trait_name}` cannot be generic: a caller names it by text; write the types out"
        );
        return Some(Error::new(trait_name.span(), text));
    }
    if let Some(token) = &item.unsafety {
        return Some(Error::new_spanned(token, format!("the service `{trait_name}` cannot be unsafe")));
    }
    let token = item.modifiers.auto_token.as_ref()?;
    Some(Error::new_spanned(token, format!("the service `{trait_name}` cannot be an auto trait")))
}

/// Where to point at for a whole item: not at its body.
fn first_line(item: &Item) -> TokenStream {
    quote!(#item).into_iter().take(2).collect()
}

/// All that is wrong at once.
#[derive(Default)]
struct Errors(Option<Error>);

impl Errors {
    fn push(&mut self, error: Error) {
        match &mut self.0 {
            Some(first) => first.combine(error),
            None => self.0 = Some(error),
        }
    }

    fn finish(self) -> Result<()> {
        self.0.map_or(Ok(()), Err)
    }
}

/// A text as a literal.
fn literal(text: &str) -> LitStr {
    LitStr::new(text, proc_macro2::Span::call_site())
}
