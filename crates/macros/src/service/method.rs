//! One method: what its signature says, and why it may not do.

use proc_macro2::{Span, TokenStream, TokenTree};
use quote::{ToTokens, quote};
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::{
    Attribute, Error, FnArg, GenericArgument, Ident, Pat, PatType, PathArguments, ReceiverKind, Result,
    ReturnType, Safety, Signature, TraitItemFn, Type,
};

use super::attributes::{MethodAttributes, doc_text};

/// One method of a service.
pub(super) struct Method {
    pub(super) ident: Ident,
    /// The name that calls carry.
    pub(super) name: String,
    pub(super) doc: String,
    /// The compiler's attributes.
    pub(super) attributes: Vec<Attribute>,
    pub(super) idempotent: bool,
    pub(super) spawn: bool,
    pub(super) kind: Kind,
    pub(super) context: Option<ContextArgument>,
    /// The argument's name and type; none for a method without one and for a borrowed one.
    pub(super) argument: Option<(Ident, Type)>,
    /// The parameters after `&self` as they were written.
    pub(super) parameters: Vec<PatType>,
    /// The whole return type.
    pub(super) output: Type,
    /// What is in its `Result`, without `Annotated`.
    pub(super) reply: Type,
    /// `T` of an argument `Streaming<T>`.
    pub(super) takes: Option<Type>,
    /// `T` of a result `Streaming<T>`.
    pub(super) gives: Option<Type>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// `async fn`.
    Async,
    /// `fn` with typed argument and reply: answered on the spot.
    InPlace,
    /// `fn(&self, &[u8], &mut ReplyBuf<'_>)`.
    Borrowed,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum ContextArgument {
    Borrowed,
    Owned,
}

/// Names that the generated client or mock has for itself.
const TAKEN: [&str; 4] = ["new", "connect", "named", "client"];

impl Method {
    pub(super) fn parse(function: &TraitItemFn) -> Result<Self> {
        let signature = &function.sig;
        let ident = signature.ident.clone();
        let attributes = MethodAttributes::parse(&ident, &function.attrs)?;
        if let Some(body) = &function.default {
            let text = format!("`{ident}`: a service's method has no default body; move it to the impl");
            return Err(Error::new_spanned(body, text));
        }
        check_head(signature)?;
        let parameters = parameters(signature)?;
        let (output, reply) = output(signature)?;
        let (context, rest) = split_context(&ident, &parameters)?;
        let is_async = signature.asyncness.is_some();
        let (kind, argument) = body(&ident, is_async, rest)?;
        if kind != Kind::Async {
            check_in_place(&ident, &parameters, context, &attributes, &reply)?;
        }
        let reply = generic_argument(&reply, "Annotated").unwrap_or(reply);
        let gives = generic_argument(&reply, "Streaming");
        let takes = argument.as_ref().and_then(|(_, ty)| generic_argument(ty, "Streaming"));
        check_streams(&ident, &parameters, &output, [takes.as_ref(), gives.as_ref()], kind)?;
        if let (true, Some(_), Some((argument, _))) = (attributes.idempotent, &takes, &argument) {
            let text = "a stream is sent once, so its call cannot be made again: take #[idempotent] away";
            return fail(&ident, argument, text);
        }
        Ok(Self {
            name: attributes.rename.unwrap_or_else(|| upper_camel(&ident.unraw().to_string())),
            doc: doc_text(&function.attrs),
            idempotent: attributes.idempotent,
            spawn: attributes.spawn,
            attributes: attributes.others,
            kind,
            context,
            argument,
            parameters,
            output,
            reply,
            takes,
            gives,
            ident,
        })
    }

    /// Its documentation for the client's method of that name.
    pub(super) fn docs(&self, service: &str) -> TokenStream {
        let docs: Vec<_> = self.attributes.iter().filter(|other| other.path().is_ident("doc")).collect();
        if docs.is_empty() {
            let text = format!("Calls `{service}.{}`.", self.name);
            quote!(#[doc = #text])
        } else {
            quote!(#(#docs)*)
        }
    }

    /// The type of the argument as it travels.
    pub(super) fn argument_type(&self) -> TokenStream {
        match (&self.argument, self.kind) {
            (_, Kind::Borrowed) => quote!(::trunkline::Bytes),
            (Some((_, ty)), _) => quote!(#ty),
            (None, _) => quote!(()),
        }
    }

    /// The type of the reply as it travels.
    pub(super) fn reply_type(&self) -> TokenStream {
        if self.kind == Kind::Borrowed { quote!(::trunkline::Bytes) } else { self.reply.to_token_stream() }
    }
}

/// A failure that names the method.
pub(super) fn fail<T>(ident: &Ident, tokens: &dyn ToTokens, text: &str) -> Result<T> {
    Err(Error::new_spanned(tokens.to_token_stream(), format!("`{ident}`: {text}")))
}

/// What stands before the parameters, and the receiver.
fn check_head(signature: &Signature) -> Result<()> {
    let ident = &signature.ident;
    if TAKEN.iter().any(|taken| ident == taken) {
        let text = "the client has a method of this name itself; take another one, and keep the name that \
                    calls carry with #[rename = \"…\"]";
        return fail(ident, ident, text);
    }
    if let Some(token) = &signature.constness {
        return fail(ident, token, "a service's method cannot be const");
    }
    if let Safety::Unsafe(token) = &signature.safety {
        return fail(ident, token, "a service's method cannot be unsafe");
    }
    if let Some(abi) = &signature.abi {
        return fail(ident, abi, "a service's method cannot have an ABI");
    }
    let generics = &signature.generics;
    if !generics.params.is_empty() {
        let text = "a service's method cannot be generic: bytes do not say a type; write the types out";
        return fail(ident, &generics.params, text);
    }
    if let Some(clause) = &generics.where_clause {
        return fail(ident, clause, "a service's method cannot have a where clause");
    }
    match signature.inputs.first() {
        Some(FnArg::Receiver(receiver)) => match receiver.kind {
            ReceiverKind::Reference(_, None, None) => Ok(()),
            ReceiverKind::Reference(_, _, Some(_)) => {
                let text =
                    "calls run side by side, so it takes `&self`; keep what changes in a Mutex or an atomic";
                fail(ident, receiver, text)
            }
            _ => fail(ident, receiver, "a service's method takes `&self`"),
        },
        _ => fail(ident, ident, "the first parameter must be `&self`"),
    }
}

/// The parameters after `&self`.
fn parameters(signature: &Signature) -> Result<Vec<PatType>> {
    let ident = &signature.ident;
    let mut all = Vec::new();
    for input in signature.inputs.iter().skip(1) {
        let FnArg::Typed(parameter) = input else { continue };
        if let Some(attribute) = parameter.attrs.first() {
            return fail(ident, attribute, "a parameter has no attributes");
        }
        if matches!(*parameter.ty, Type::ImplTrait(_)) {
            return fail(ident, &parameter.ty, "a service's method cannot be generic: write the type out");
        }
        all.push(parameter.clone());
    }
    Ok(all)
}

/// A stream is all of an argument or of a result, and its method is async.
fn check_streams(
    ident: &Ident,
    parameters: &[PatType],
    output: &Type,
    items: [Option<&Type>; 2],
    kind: Kind,
) -> Result<()> {
    let streams = |ty: &Type| mentions(ty.to_token_stream(), "Streaming");
    let [takes, gives] = items;
    let types = parameters.iter().map(|parameter| (&*parameter.ty, takes)).chain([(output, gives)]);
    for (ty, item) in types.filter(|(ty, _)| streams(ty)) {
        match item {
            None => {
                let text = "a stream is all of an argument, `Streaming<T>`, or of a result, `Result<Streaming<T>>` or \
                            `Result<Annotated<Streaming<T>>>`";
                return fail(ident, ty, text);
            }
            Some(item) if streams(item) => return fail(ident, ty, "the items of a stream are values"),
            Some(_) if kind != Kind::Async => {
                let text = "a plain `fn` is answered on the spot, so it cannot stream; make it `async fn`";
                return fail(ident, ty, text);
            }
            Some(_) => {}
        }
    }
    Ok(())
}

/// The return type, and the first type in its `Result`.
fn output(signature: &Signature) -> Result<(Type, Type)> {
    let ident = &signature.ident;
    let ReturnType::Type(_, output) = &signature.output else {
        return fail(ident, ident, "every call may fail; return `Result<()>`");
    };
    let Some(reply) = generic_argument(output, "Result") else {
        let text = format!("every call may fail; return `Result<{}>`", one_line(output));
        return fail(ident, output, &text);
    };
    if let Type::Reference(_) = reply {
        return fail(ident, &reply, "a reply is a value of its own, not a reference");
    }
    Ok(((**output).clone(), reply))
}

/// The context comes first, if at all.
fn split_context<'a>(
    ident: &Ident,
    parameters: &'a [PatType],
) -> Result<(Option<ContextArgument>, &'a [PatType])> {
    let first = parameters.first().and_then(|first| context_type(&first.ty));
    let rest = parameters.get(usize::from(first.is_some())..).unwrap_or_default();
    match rest.iter().find(|parameter| context_type(&parameter.ty).is_some()) {
        Some(late) => fail(ident, late, "the context comes once, right after `&self`"),
        None => Ok((first, rest)),
    }
}

fn context_type(ty: &Type) -> Option<ContextArgument> {
    match ty {
        Type::Reference(reference) if reference.mutability.is_none() => {
            context_type(&reference.elem).map(|_| ContextArgument::Borrowed)
        }
        Type::Path(path) => {
            let last = path.path.segments.last()?;
            (last.ident == "Context" && last.arguments.is_none()).then_some(ContextArgument::Owned)
        }
        _ => None,
    }
}

/// What the method takes, and so what kind it is of.
fn body(ident: &Ident, is_async: bool, rest: &[PatType]) -> Result<(Kind, Option<(Ident, Type)>)> {
    let kind = if is_async { Kind::Async } else { Kind::InPlace };
    match rest {
        [] => Ok((kind, None)),
        [body, reply] if !is_async && is_bytes(&body.ty) && is_reply_buf(&reply.ty) => {
            Ok((Kind::Borrowed, None))
        }
        [one] => match &*one.ty {
            Type::Reference(reference) if is_async => {
                let hint = if is_bytes(&one.ty) { ": `Bytes`" } else { "" };
                let text = format!(
                    "an async method outlives the bytes of its call, so it takes an owned value{hint}"
                );
                fail(ident, reference, &text)
            }
            Type::Reference(reference) => {
                let text = "a borrowed method is `fn(&self, body: &[u8], reply: &mut ReplyBuf<'_>) -> Result<()>`; \
                            any other takes an owned value";
                fail(ident, reference, text)
            }
            ty => Ok((kind, Some((parameter_ident(&one.pat), ty.clone())))),
        },
        [body, ..] if is_async && is_bytes(&body.ty) => {
            fail(ident, body, "a method that borrows its body is a plain `fn`; an async one takes `Bytes`")
        }
        [_, second, ..] => fail(ident, second, "a call has one body; put the arguments into one struct"),
    }
}

/// What a plain `fn` may not have.
fn check_in_place(
    ident: &Ident,
    parameters: &[PatType],
    context: Option<ContextArgument>,
    attributes: &MethodAttributes,
    reply: &Type,
) -> Result<()> {
    if context.is_some() {
        let text = "a plain `fn` is answered on the spot, before there is a context; make it `async fn`";
        return fail(ident, &parameters.first(), text);
    }
    if attributes.spawn {
        let text = "a plain `fn` is answered on the spot, so it cannot be spawned; make it `async fn`";
        return fail(ident, ident, text);
    }
    if generic_argument(reply, "Annotated").is_some() {
        return fail(ident, reply, "a plain `fn` has no reply metadata; make it `async fn`");
    }
    Ok(())
}

/// `&[u8]`.
fn is_bytes(ty: &Type) -> bool {
    match ty {
        Type::Reference(reference) if reference.mutability.is_none() => match &*reference.elem {
            Type::Slice(slice) => matches!(&*slice.elem, Type::Path(path) if path.path.is_ident("u8")),
            _ => false,
        },
        _ => false,
    }
}

/// `&mut ReplyBuf<'_>`.
fn is_reply_buf(ty: &Type) -> bool {
    match ty {
        Type::Reference(reference) if reference.mutability.is_some() => match &*reference.elem {
            Type::Path(path) => path.path.segments.last().is_some_and(|last| last.ident == "ReplyBuf"),
            _ => false,
        },
        _ => false,
    }
}

/// `T` of `Name<T>` and of `Name<T, …>`, whatever path leads to `Name`.
fn generic_argument(ty: &Type, name: &str) -> Option<Type> {
    let Type::Path(path) = ty else { return None };
    let last = path.path.segments.last().filter(|last| last.ident == name)?;
    let PathArguments::AngleBracketed(arguments) = &last.arguments else { return None };
    match arguments.args.first()? {
        GenericArgument::Type(ty) => Some(ty.clone()),
        _ => None,
    }
}

fn parameter_ident(pattern: &Pat) -> Ident {
    match pattern {
        Pat::Ident(ident) => ident.ident.clone(),
        other => Ident::new("argument", other.span().resolved_at(Span::call_site())),
    }
}

/// Whether an identifier stands anywhere in a type.
pub(super) fn mentions(tokens: TokenStream, name: &str) -> bool {
    tokens.into_iter().any(|token| match token {
        TokenTree::Ident(ident) => ident == name,
        TokenTree::Group(group) => mentions(group.stream(), name),
        _ => false,
    })
}

fn one_line(ty: &Type) -> String {
    ty.to_token_stream().to_string().replace(" < ", "<").replace(" >", ">")
}

/// `get_index` is `GetIndex` to callers, as Go names methods.
pub(super) fn upper_camel(ident: &str) -> String {
    let mut name = String::new();
    for word in ident.split('_') {
        let mut letters = word.chars();
        name.extend(letters.next().map(|first| first.to_ascii_uppercase()));
        name.push_str(letters.as_str());
    }
    if name.is_empty() { ident.to_owned() } else { name }
}
