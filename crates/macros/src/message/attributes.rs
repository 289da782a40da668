//! The attributes of a message and of its fields: ours, and those of serde that change what is sent.

use syn::meta::ParseNestedMeta;
use syn::{Attribute, Expr, Lit, LitInt, LitStr, Result, Token};

/// serde's `rename_all`, for fields (which are written `like_this` in Rust).
#[derive(Clone, Copy, Default)]
pub(super) enum Rename {
    #[default]
    None,
    Upper,
    Pascal,
    Camel,
    Kebab,
    UpperKebab,
}

impl Rename {
    pub(super) fn parse(rule: &str) -> Option<Self> {
        Some(match rule {
            "lowercase" | "snake_case" => Self::None,
            "UPPERCASE" | "SCREAMING_SNAKE_CASE" => Self::Upper,
            "PascalCase" => Self::Pascal,
            "camelCase" => Self::Camel,
            "kebab-case" => Self::Kebab,
            "SCREAMING-KEBAB-CASE" => Self::UpperKebab,
            _ => return None,
        })
    }

    pub(super) fn apply(self, field: &str) -> String {
        match self {
            Self::None => field.to_owned(),
            Self::Upper => field.to_ascii_uppercase(),
            Self::Kebab => field.replace('_', "-"),
            Self::UpperKebab => field.to_ascii_uppercase().replace('_', "-"),
            Self::Pascal => pascal(field),
            Self::Camel => camel(field),
        }
    }
}

fn pascal(field: &str) -> String {
    let mut name = String::new();
    let mut capital = true;
    for letter in field.chars() {
        if letter == '_' {
            capital = true;
        } else if capital {
            name.push(letter.to_ascii_uppercase());
            capital = false;
        } else {
            name.push(letter);
        }
    }
    name
}

fn camel(field: &str) -> String {
    let pascal = pascal(field);
    let mut letters = pascal.chars();
    letters.next().into_iter().map(|first| first.to_ascii_lowercase()).chain(letters).collect()
}

/// What stands on the struct.
#[derive(Default)]
pub(super) struct StructAttributes {
    pub(super) rename_all: Rename,
}

impl StructAttributes {
    pub(super) fn read(attributes: &[Attribute]) -> Result<Self> {
        let mut read = Self::default();
        for attribute in attributes {
            if attribute.path().is_ident("message") {
                attribute.parse_nested_meta(|meta| {
                    Err(meta.error("the struct itself takes no #[message(…)]; it belongs on a field"))
                })?;
            } else if attribute.path().is_ident("serde") {
                attribute.parse_nested_meta(|meta| read.serde(&meta))?;
            }
        }
        Ok(read)
    }

    fn serde(&mut self, meta: &ParseNestedMeta<'_>) -> Result<()> {
        let key = name_of(meta);
        match key.as_str() {
            "rename_all" => {
                let rule = text(meta)?;
                self.rename_all =
                    Rename::parse(&rule.value()).ok_or_else(|| meta.error("unknown rename_all rule"))?;
                Ok(())
            }
            "from" | "try_from" | "into" | "remote" | "tag" | "untagged" | "transparent" => {
                Err(disagrees(meta))
            }
            _ => pass_over(meta),
        }
    }
}

/// What stands on a field.
pub(super) struct FieldAttributes {
    pub(super) rename: Option<String>,
    pub(super) number: Option<u32>,
    /// The name of a variant of `Form`.
    pub(super) form: &'static str,
    pub(super) skip: bool,
}

impl FieldAttributes {
    pub(super) fn read(attributes: &[Attribute]) -> Result<Self> {
        let mut read = Self { rename: None, number: None, form: "Plain", skip: false };
        for attribute in attributes {
            if attribute.path().is_ident("message") {
                attribute.parse_nested_meta(|meta| read.message(&meta))?;
            } else if attribute.path().is_ident("serde") {
                attribute.parse_nested_meta(|meta| read.serde(&meta))?;
            }
        }
        Ok(read)
    }

    fn message(&mut self, meta: &ParseNestedMeta<'_>) -> Result<()> {
        match name_of(meta).as_str() {
            "number" => {
                let number: LitInt = meta.value()?.parse()?;
                self.number = Some(number.base10_parse()?);
                Ok(())
            }
            "kind" => {
                let kind: LitStr = meta.value()?.parse()?;
                self.form = match kind.value().as_str() {
                    "sint" => "Signed",
                    "fixed" => "Fixed",
                    "varint" => "Plain",
                    _ => {
                        let text = "unknown kind: use \"sint\" (zigzag), \"fixed\" (4 or 8 bytes), or none";
                        return Err(syn::Error::new(kind.span(), text));
                    }
                };
                Ok(())
            }
            _ => Err(meta.error("unknown: use `number = N` or `kind = \"sint\"` or `kind = \"fixed\"`")),
        }
    }

    fn serde(&mut self, meta: &ParseNestedMeta<'_>) -> Result<()> {
        match name_of(meta).as_str() {
            "rename" => {
                self.rename = Some(text(meta)?.value());
                Ok(())
            }
            "skip" => {
                self.skip = true;
                Ok(())
            }
            // A default of one's own would hold in JSON only: elsewhere what is absent is empty.
            "default" if meta.input.peek(Token![=]) => Err(disagrees(meta)),
            "alias" | "flatten" | "with" | "serialize_with" | "deserialize_with" | "skip_serializing"
            | "skip_deserializing" | "getter" | "borrow" => Err(disagrees(meta)),
            _ => pass_over(meta),
        }
    }
}

fn name_of(meta: &ParseNestedMeta<'_>) -> String {
    meta.path.get_ident().map(ToString::to_string).unwrap_or_default()
}

fn disagrees(meta: &ParseNestedMeta<'_>) -> syn::Error {
    meta.error(format!(
        "a message cannot have #[serde({})]: JSON and MessagePack would differ from the schema and from the \
         other codecs",
        name_of(meta)
    ))
}

fn text(meta: &ParseNestedMeta<'_>) -> Result<LitStr> {
    if meta.input.peek(syn::token::Paren) {
        return Err(meta.error("a message has one name for reading and writing: use `rename = \"…\"`"));
    }
    meta.value()?.parse()
}

/// What changes nothing that is sent is left to serde.
fn pass_over(meta: &ParseNestedMeta<'_>) -> Result<()> {
    if meta.input.peek(Token![=]) {
        let _: Expr = meta.value()?.parse()?;
    } else if meta.input.peek(syn::token::Paren) {
        meta.parse_nested_meta(|inner| pass_over(&inner))?;
    } else if meta.input.peek(Lit) {
        let _: Lit = meta.input.parse()?;
    }
    Ok(())
}
