//! `#[derive(Message)]`: reads the struct and its attributes, writes one line a field.

use proc_macro2::TokenStream;
use quote::{format_ident, quote};
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::{Data, DeriveInput, Error, Fields, Result, parse_quote};

mod attributes;

use attributes::{FieldAttributes, StructAttributes};

/// What the reader of JSON and MessagePack keeps track of.
const MOST_FIELDS: usize = 256;

/// Protobuf's largest field number.
const LARGEST_NUMBER: u32 = (1 << 29) - 1;

/// The generated code hands each field to the crate by one line; fields are written in the order of their
/// numbers, as other implementations of protobuf and Thrift do.
pub(crate) fn derive(input: TokenStream) -> Result<TokenStream> {
    let mut input: DeriveInput = syn::parse2(input)?;
    bound_parameters(&mut input)?;
    let fields = numbered_fields(&input)?;
    let name = input.ident.unraw().to_string();
    let unit = matches!(&input.data, Data::Struct(data) if matches!(data.fields, Fields::Unit));

    let ident = &input.ident;
    let (generics, arguments, bounds) = input.generics.split_for_impl();
    let live: Vec<&NumberedField<'_>> = fields.iter().filter(|field| !field.skip).collect();
    let (empty_of, all): (Vec<_>, Vec<_>) = fields.iter().map(|f| (f.empty(), f.ident)).unzip();
    let specs: Vec<_> = live.iter().map(|f| f.spec()).collect();
    let idents: Vec<_> = live.iter().map(|f| f.ident).collect();
    let types: Vec<_> = live.iter().map(|f| f.ty).collect();
    let numbers: Vec<_> = live.iter().map(|f| f.number).collect();
    let mut sorted = live.clone();
    sorted.sort_by_key(|field| field.number);
    let writes = sorted.iter().map(|field| {
        let (ident, spec) = (field.ident, field.spec());
        quote!(__t::Field::write(&self.#ident, #spec, to)?;)
    });

    let value = standing_alone(&input);
    Ok(quote! {
        const _: () = {
            use ::trunkline::__private as __t;

            #[automatically_derived]
            impl #generics __t::Message for #ident #arguments #bounds {
                const NAME: &'static str = #name;
                const UNIT: bool = #unit;
                fn empty() -> Self {
                    Self { #(#all: #empty_of),* }
                }
                fn describe(fields: &mut __t::Fields<'_>) {
                    #(fields.field::<#types>(#specs);)*
                    let _ = fields;
                }
                fn write_fields<__W: __t::Writer>(&self, to: &mut __W) -> __t::Result<()> {
                    #(#writes)*
                    let _ = to;
                    __t::Ok(())
                }
                fn read_field<__R: __t::Reader>(&mut self, number: u32, from: &mut __R) -> __t::Result<bool> {
                    match number {
                        #(#numbers => __t::Field::read(&mut self.#idents, #specs, from)?,)*
                        _ => { let _ = from; return __t::Ok(false) }
                    }
                    #[allow(unreachable_code)]
                    __t::Ok(true)
                }
            }

            #value
        };
    })
}

/// A message as a value within another.
fn standing_alone(input: &DeriveInput) -> TokenStream {
    let ident = &input.ident;
    let (generics, arguments, bounds) = input.generics.split_for_impl();
    quote! {
        #[automatically_derived]
        impl #generics __t::Value for #ident #arguments #bounds {
            const KIND: __t::Kind = __t::Kind::Message;
            fn empty() -> Self {
                __t::Message::empty()
            }
            fn is_zero(&self) -> bool {
                true
            }
            fn put<__W: __t::Writer>(&self, _: __t::Form, to: &mut __W) -> __t::Result<()> {
                to.message(|to| __t::Message::write_fields(self, to))
            }
            fn take<__R: __t::Reader>(&mut self, _: __t::Form, from: &mut __R) -> __t::Result<()> {
                from.message(|number, from| __t::Message::read_field(self, number, from))
            }
            fn describe(_: __t::Form, registry: &mut __t::Registry) -> __t::Type {
                registry.message::<Self>()
            }
        }
    }
}

struct NumberedField<'a> {
    ident: &'a syn::Ident,
    ty: &'a syn::Type,
    name: String,
    number: u32,
    form: &'static str,
    skip: bool,
}

impl NumberedField<'_> {
    fn empty(&self) -> TokenStream {
        if self.skip { quote!(::core::default::Default::default()) } else { quote!(__t::Field::empty()) }
    }

    fn spec(&self) -> TokenStream {
        let Self { name, number, .. } = self;
        let form = format_ident!("{}", self.form);
        quote!(const { &__t::Spec::new(#name, #number, __t::Form::#form) })
    }
}

/// The fields with names and numbers; every mistake that can be seen here is an error that says what to do.
fn numbered_fields(input: &DeriveInput) -> Result<Vec<NumberedField<'_>>> {
    let own = StructAttributes::read(&input.attrs)?;
    let fields = match &input.data {
        Data::Struct(data) => match &data.fields {
            Fields::Named(named) => &named.named,
            Fields::Unit => return Ok(Vec::new()),
            Fields::Unnamed(unnamed) => {
                return Err(Error::new(
                    unnamed.span(),
                    "#[derive(Message)] needs fields with names, which JSON and MessagePack send: \
                     write `struct NAME { field: TYPE }`",
                ));
            }
        },
        Data::Enum(data) => {
            return Err(Error::new(
                data.enum_token.span(),
                "#[derive(Message)] is for structs: not every codec has enums. Send an integer or a `String`, \
                 or a struct with an `Option` for each variant",
            ));
        }
        Data::Union(data) => {
            return Err(Error::new(data.union_token.span(), "#[derive(Message)] is for structs"));
        }
    };
    let mut numbered: Vec<NumberedField<'_>> = Vec::new();
    let mut last = 0;
    for field in fields {
        let Some(ident) = &field.ident else { continue };
        let attributes = FieldAttributes::read(&field.attrs)?;
        let number = attributes.number.unwrap_or(last + 1);
        let new = NumberedField {
            ident,
            ty: &field.ty,
            name: attributes.rename.unwrap_or_else(|| own.rename_all.apply(&ident.unraw().to_string())),
            number,
            form: attributes.form,
            skip: attributes.skip,
        };
        if !new.skip {
            check(&new, &numbered)?;
            last = number;
        }
        numbered.push(new);
    }
    if numbered.len() > MOST_FIELDS {
        return Err(Error::new(input.ident.span(), format!("a message has at most {MOST_FIELDS} fields")));
    }
    Ok(numbered)
}

fn check(field: &NumberedField<'_>, earlier: &[NumberedField<'_>]) -> Result<()> {
    let at = |text: String| Err(Error::new(field.ident.span(), text));
    let number = field.number;
    if number == 0 || number > LARGEST_NUMBER || (19_000..20_000).contains(&number) {
        return at(format!(
            "field number {number} is not allowed: use 1 to {LARGEST_NUMBER}, but not 19000 to 19999, which \
             protobuf keeps for itself"
        ));
    }
    let mut live = earlier.iter().filter(|other| !other.skip);
    if let Some(other) = live.clone().find(|other| other.number == number) {
        return at(format!(
            "fields `{}` and `{}` both have number {number}: give one of them another with \
             `#[message(number = …)]`",
            other.ident, field.ident
        ));
    }
    if let Some(other) = live.find(|other| other.name == field.name) {
        return at(format!(
            "fields `{}` and `{}` are both named `{}` in JSON and MessagePack",
            other.ident, field.ident, field.name
        ));
    }
    if is_byte_vector(field.ty) {
        return Err(Error::new(
            field.ty.span(),
            "`Vec<u8>` would travel as a list of numbers: use `trunkline::Blob` for bytes",
        ));
    }
    Ok(())
}

fn is_byte_vector(ty: &syn::Type) -> bool {
    let syn::Type::Path(path) = ty else { return false };
    let Some(last) = path.path.segments.last() else { return false };
    let syn::PathArguments::AngleBracketed(arguments) = &last.arguments else { return false };
    let Some(syn::GenericArgument::Type(inner)) = arguments.args.first() else { return false };
    match last.ident.to_string().as_str() {
        "Vec" => matches!(inner, syn::Type::Path(inner) if inner.path.is_ident("u8")),
        "Option" => is_byte_vector(inner),
        _ => false,
    }
}

/// A type parameter stands for something that stands alone on a wire.
fn bound_parameters(input: &mut DeriveInput) -> Result<()> {
    if let Some(lifetime) = input.generics.lifetimes().next() {
        return Err(Error::new(
            lifetime.span(),
            "a message owns its fields: use `String`, `trunkline::Blob` or `Vec` in place of references",
        ));
    }
    for parameter in input.generics.type_params_mut() {
        parameter.bounds.push(parse_quote!(__t::Value));
        parameter.bounds.push(parse_quote!(__t::Serialize));
        parameter.bounds.push(parse_quote!(__t::DeserializeOwned));
        parameter.bounds.push(parse_quote!('static));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::attributes::Rename;
    use super::*;

    fn refuses(input: TokenStream) -> String {
        derive(input).unwrap_err().to_string()
    }

    #[test]
    fn mistakes_are_named() {
        assert!(
            refuses(quote!(
                struct A(i64);
            ))
            .contains("fields with names")
        );
        assert!(
            refuses(quote!(
                enum A {
                    B,
                }
            ))
            .contains("Option")
        );
        assert!(
            refuses(quote!(
                struct A {
                    a: Vec<u8>,
                }
            ))
            .contains("Blob")
        );
        assert!(
            refuses(quote!(
                struct A<'a> {
                    a: &'a str,
                }
            ))
            .contains("owns")
        );
        assert!(
            refuses(quote!(
                struct A {
                    #[message(number = 19_000)]
                    a: i64,
                }
            ))
            .contains("19000")
        );
        assert!(
            refuses(quote!(
                struct A {
                    a: i64,
                    #[message(number = 1)]
                    b: i64,
                }
            ))
            .contains("`a` and `b`")
        );
        assert!(
            refuses(quote!(
                struct A {
                    a: i64,
                    #[serde(rename = "a")]
                    b: i64,
                }
            ))
            .contains("named `a`")
        );
        assert!(
            refuses(quote!(
                struct A {
                    #[serde(flatten)]
                    a: i64,
                }
            ))
            .contains("flatten")
        );
    }

    #[test]
    fn a_rename_rule_is_serdes() {
        let rules = [
            ("lowercase", "user_name", "user_name"),
            ("UPPERCASE", "user_name", "USER_NAME"),
            ("PascalCase", "user_name", "UserName"),
            ("camelCase", "user_name", "userName"),
            ("snake_case", "user_name", "user_name"),
            ("SCREAMING_SNAKE_CASE", "user_name", "USER_NAME"),
            ("kebab-case", "user_name", "user-name"),
            ("SCREAMING-KEBAB-CASE", "user_name", "USER-NAME"),
        ];
        for (rule, field, name) in rules {
            assert_eq!(Rename::parse(rule).unwrap().apply(field), name, "{rule}");
        }
    }
}
