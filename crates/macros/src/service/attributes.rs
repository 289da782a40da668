//! The attributes of a service and of its methods.

use proc_macro2::TokenStream;
use syn::parse::Parser;
use syn::{Attribute, Error, Expr, ExprLit, Ident, Lit, LitStr, Meta, Result};

/// What stands in `#[service(…)]`.
#[derive(Default)]
pub(super) struct Arguments {
    /// `name = "…"`.
    pub(super) name: Option<String>,
    /// `mailbox`: nodes run it, too.
    pub(super) mailbox: bool,
}

impl Arguments {
    pub(super) fn parse(arguments: TokenStream) -> Result<Self> {
        let mut all = Self::default();
        let parser = syn::meta::parser(|meta| {
            if meta.path.is_ident("mailbox") {
                all.mailbox = true;
            } else if meta.path.is_ident("name") {
                all.name = Some(checked_name("", &meta.value()?.parse()?)?);
            } else {
                let text = "#[service] takes two settings: #[service(name = \"…\", mailbox)]";
                return Err(meta.error(text));
            }
            Ok(())
        });
        parser.parse2(arguments)?;
        Ok(all)
    }
}

/// What the attributes of a method say.
#[derive(Default)]
pub(super) struct MethodAttributes {
    pub(super) idempotent: bool,
    pub(super) spawn: bool,
    pub(super) rename: Option<String>,
    /// Those that are the compiler's.
    pub(super) others: Vec<Attribute>,
}

/// Attributes of the compiler that may stand on a method of a trait.
const COMPILER: [&str; 8] = ["doc", "allow", "expect", "warn", "deny", "forbid", "deprecated", "must_use"];

impl MethodAttributes {
    pub(super) fn parse(method: &Ident, attributes: &[Attribute]) -> Result<Self> {
        let mut all = Self::default();
        for attribute in attributes {
            let path = attribute.path();
            if path.is_ident("idempotent") {
                all.idempotent = bare(method, attribute)?;
            } else if path.is_ident("spawn") {
                all.spawn = bare(method, attribute)?;
            } else if path.is_ident("rename") {
                all.rename = Some(rename(method, attribute)?);
            } else if COMPILER.iter().any(|known| path.is_ident(known)) {
                all.others.push(attribute.clone());
            } else {
                let text = format!(
                    "`{method}`: unknown attribute; a method of a service may have #[idempotent], #[spawn], \
                     #[rename = \"…\"], documentation and lint levels"
                );
                return Err(Error::new_spanned(attribute, text));
            }
        }
        Ok(all)
    }
}

/// An attribute that is there or not.
fn bare(method: &Ident, attribute: &Attribute) -> Result<bool> {
    if matches!(attribute.meta, Meta::Path(_)) {
        return Ok(true);
    }
    Err(Error::new_spanned(attribute, format!("`{method}`: this attribute stands alone, without a value")))
}

fn rename(method: &Ident, attribute: &Attribute) -> Result<String> {
    match text(attribute) {
        Some(text) => checked_name(&format!("`{method}`: "), text),
        None => {
            let text = format!("`{method}`: write it as #[rename = \"NewName\"]");
            Err(Error::new_spanned(attribute, text))
        }
    }
}

/// A name that every wire can carry.
fn checked_name(whose: &str, name: &LitStr) -> Result<String> {
    let text = name.value();
    let fits = |letter: char| letter.is_ascii_alphanumeric() || "_-./".contains(letter);
    if text.is_empty() || text.len() > 255 || !text.chars().all(fits) {
        let problem = format!("{whose}a name has 1 to 255 ASCII letters, digits, `_`, `-`, `.` and `/`");
        return Err(Error::new_spanned(name, problem));
    }
    Ok(text)
}

/// The text of the documentation, line by line; what is not a literal is left out.
pub(super) fn doc_text(attributes: &[Attribute]) -> String {
    let docs = attributes.iter().filter(|attribute| attribute.path().is_ident("doc"));
    let values = docs.filter_map(text).map(LitStr::value);
    let lines = values.map(|line| line.strip_prefix(' ').unwrap_or(&line).trim_end().to_owned());
    lines.collect::<Vec<_>>().join("\n").trim_matches('\n').to_owned()
}

/// The value of `#[name = "value"]`.
fn text(attribute: &Attribute) -> Option<&LitStr> {
    match &attribute.meta {
        Meta::NameValue(pair) => match &pair.value {
            Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) => Some(text),
            _ => None,
        },
        _ => None,
    }
}
