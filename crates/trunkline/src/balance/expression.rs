//! What an expression says (CEL, the Common Expression Language).

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use cel::common::ast::{EntryExpr, Expr};
use cel::{Context, Env, Program, Value};

use super::uri::{self, Client};
use super::{Members, Picker};
use crate::{Call, Code, Result, Status};

/// The names that an expression may use.
const NAMES: [&str; 6] = ["path", "service", "method", "params", "client", "endpoints"];

/// The longest expression, in bytes.
const LONGEST: usize = 16 << 10;

/// The endpoint that an expression in CEL names: by its place (from 0, in the order in which they were added) or by its
/// alias. It may use these names and no others:
///
/// | name | type | what |
/// | --- | --- | --- |
/// | `path` | string | of the call's URI, without a query; else `/Service/Method` |
/// | `service`, `method` | string | what is called |
/// | `params` | map of strings | the parameters of the call's URI, decoded; of several with one name the first |
/// | `client` | string | the client's address or name as in [`Key::client`](super::Key::client), else empty |
/// | `endpoints` | int | how many endpoints there are |
///
/// Each call is looked at by itself: nothing is kept of the one before. A call that the expression has no answer for
/// (a parameter that is missing, a place or an alias that is not there) fails with [`Code::InvalidInput`] and is not
/// begun. Where the named endpoint is paused, an open one is called in turn.
///
/// ```
/// use trunkline::balance::Expression;
/// let shard = Expression::new("has(params.user) ? int(params.user) % endpoints : 0")?;
/// let canary = Expression::new(r#"path.startsWith("/beta/") ? "blue" : "green""#)?;
/// assert!(Expression::new("user + 1").is_err());
/// # let _ = (shard, canary);
/// # Ok::<(), trunkline::balance::InvalidExpression>(())
/// ```
pub struct Expression {
    text: String,
    program: Program,
    env: Arc<Env>,
    /// Which of the names it uses: the others are not worked out.
    uses: [bool; NAMES.len()],
}

/// Why a text is no expression that picks an endpoint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text} is no expression: {why}")]
pub struct InvalidExpression {
    text: String,
    why: String,
}

impl Expression {
    /// Reads an expression of at most 16 KiB.
    ///
    /// # Errors
    /// It is none, or it uses a name that there is none of.
    pub fn new(text: &str) -> Result<Self, InvalidExpression> {
        let invalid = |why: String| InvalidExpression { text: text.to_owned(), why };
        if text.len() > LONGEST {
            let why = format!("it is longer than {LONGEST} bytes");
            return Err(InvalidExpression { text: "a text".to_owned(), why });
        }
        let env = Arc::new(Env::stdlib());
        let program = env.compile(text).map_err(|errors| {
            let lines: Vec<String> = errors.errors.iter().map(|error| error.msg.clone()).collect();
            invalid(lines.join("; "))
        })?;
        let mut used = Vec::new();
        free_names(&program.expression().expr, &mut Vec::new(), &mut used);
        if let Some(name) = used.iter().find(|name| !NAMES.contains(name)) {
            let names = NAMES.join(", ");
            return Err(invalid(format!("it uses the name {name}, and there are only {names}")));
        }
        let uses = NAMES.map(|name| used.contains(&name));
        Ok(Self { text: text.to_owned(), program, env, uses })
    }

    /// The value of a name for a call.
    fn value(name: &str, members: &Members, call: &Call) -> Value {
        match name {
            "path" => uri::path(call).into_owned().into(),
            "service" => call.service().into(),
            "method" => call.method().into(),
            "params" => {
                let mut all = HashMap::new();
                let text = |bytes: Cow<'_, [u8]>| String::from_utf8_lossy(&bytes).into_owned();
                for (name, value) in uri::parameters(call) {
                    all.entry(text(name)).or_insert_with(|| text(value));
                }
                all.into()
            }
            "client" => match uri::client(call) {
                Some(Client::Named(name)) => String::from_utf8_lossy(name).into_owned(),
                Some(Client::At(address)) => address.to_string(),
                None => String::new(),
            }
            .into(),
            _ => Value::Int(i64::try_from(members.len()).unwrap_or(i64::MAX)),
        }
    }

    fn nowhere(&self, why: &str) -> Status {
        let text = format!("the expression {} does not say where the call goes: {why}", self.text);
        Status::new(Code::InvalidInput, text).not_begun()
    }
}

/// The names that an expression takes from outside: not those that `exists`, `map` and their like bind. Its depth is
/// bounded by the parser.
fn free_names<'a>(expression: &'a Expr, bound: &mut Vec<&'a str>, free: &mut Vec<&'a str>) {
    match expression {
        Expr::Ident(name) => {
            // What the macros make for themselves begins with an @.
            if !name.starts_with('@') && !bound.contains(&name.as_str()) {
                free.push(name);
            }
        }
        Expr::Call(call) => {
            let parts = call.target.as_deref().into_iter().chain(&call.args);
            parts.for_each(|part| free_names(&part.expr, bound, free));
        }
        Expr::Comprehension(all) => {
            free_names(&all.iter_range.expr, bound, free);
            free_names(&all.accu_init.expr, bound, free);
            let before = bound.len();
            bound.push(&all.iter_var);
            bound.extend(all.iter_var2.as_deref());
            for part in [&all.loop_cond, &all.loop_step, &all.result] {
                free_names(&part.expr, bound, free);
            }
            bound.truncate(before);
        }
        Expr::List(list) => list.elements.iter().for_each(|part| free_names(&part.expr, bound, free)),
        Expr::Map(map) => map.entries.iter().for_each(|entry| entry_names(&entry.expr, bound, free)),
        Expr::Struct(made) => made.entries.iter().for_each(|entry| entry_names(&entry.expr, bound, free)),
        Expr::Select(select) => free_names(&select.operand.expr, bound, free),
        Expr::Literal(_) | Expr::Unspecified => {}
    }
}

fn entry_names<'a>(entry: &'a EntryExpr, bound: &mut Vec<&'a str>, free: &mut Vec<&'a str>) {
    match entry {
        EntryExpr::StructField(field) => free_names(&field.value.expr, bound, free),
        EntryExpr::MapEntry(pair) => {
            free_names(&pair.key.expr, bound, free);
            free_names(&pair.value.expr, bound, free);
        }
    }
}

impl Picker for Expression {
    fn pick(&self, members: &Members, call: &Call) -> Result<usize> {
        let mut context = Context::with_env(Arc::clone(&self.env));
        for (name, _) in NAMES.iter().zip(self.uses).filter(|(_, used)| *used) {
            context.add_variable_from_value(*name, Self::value(name, members, call));
        }
        let value = self.program.execute(&context).map_err(|error| self.nowhere(&error.to_string()))?;
        let place = match &value {
            Value::Int(place) => usize::try_from(*place).ok().filter(|place| *place < members.len()),
            Value::UInt(place) => usize::try_from(*place).ok().filter(|place| *place < members.len()),
            Value::String(alias) => {
                members.iter().position(|member| member.endpoint().alias() == alias.as_str())
            }
            other => {
                let text = format!("it gives {other:?}, which is neither a place nor an alias");
                return Err(self.nowhere(&text));
            }
        };
        place.ok_or_else(|| {
            let text = format!("it gives {value:?}, and there is none such of {} endpoints", members.len());
            self.nowhere(&text)
        })
    }

    fn follows_call(&self) -> bool {
        true
    }
}

impl fmt::Debug for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Expression").field(&self.text).finish()
    }
}
