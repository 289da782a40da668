//! Where and how to call: `rpcx://HOST:PORT` and its like.

use std::fmt;
use std::str::FromStr;

use trunkline_wire::Serialization;

use crate::net::Address;

/// The path of Go's `rpc.DialHTTP`.
const GO_RPC: &str = "/_goRPC_";

/// A wire that calls can be made on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Wire {
    /// rpcx.
    Rpcx,
    /// rpcx as easymicro's server understands it: names go out in lower case.
    Easymicro,
    /// HTTP with JSON.
    Http,
    /// IIP.
    Iip,
    /// Go's net/rpc over gob.
    Netrpc,
}

impl Wire {
    const ALL: [Self; 5] = [Self::Rpcx, Self::Easymicro, Self::Http, Self::Iip, Self::Netrpc];

    fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|wire| wire.name() == name)
    }

    /// What messages are serialised in on it where nobody says.
    #[must_use]
    pub fn serialization(self) -> Serialization {
        match self {
            Self::Http | Self::Iip => Serialization::Json,
            Self::Rpcx | Self::Easymicro => Serialization::MessagePack,
            Self::Netrpc => Serialization::Gob,
        }
    }

    /// The path of a `CONNECT` that leads to the wire, where servers have one.
    fn connect_paths(self) -> &'static [&'static str] {
        match self {
            Self::Netrpc => &[GO_RPC],
            Self::Rpcx => &["/_rpcx_", GO_RPC],
            Self::Easymicro => &[GO_RPC],
            Self::Http | Self::Iip => &[],
        }
    }

    /// The wire's name, as in the scheme of a URL.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Rpcx => "rpcx",
            Self::Easymicro => "easymicro",
            Self::Http => "http",
            Self::Iip => "iip",
            Self::Netrpc => "netrpc",
        }
    }
}

/// The address of an endpoint with the wire to speak: `rpcx://HOST:PORT`, `easymicro://HOST:PORT`,
/// `http://HOST:PORT`, `iip://HOST:PORT`, `netrpc://HOST:PORT`, `unix://PATH?wire=rpcx`, `mem://NAME?wire=http`. Where the
/// scheme is a transport and no wire is named it is rpcx. With `?connect=/_goRPC_` (on rpcx also `/_rpcx_`) the wire is
/// spoken after an HTTP `CONNECT` of that path, as Go's `rpc.DialHTTP` does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Url {
    /// Where to dial.
    pub address: Address,
    /// What to speak.
    pub wire: Wire,
    /// The path of the `CONNECT` that comes before it.
    pub connect: Option<&'static str>,
}

/// Why a text is no URL that can be called.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot call {url}: {why}")]
pub struct InvalidUrl {
    url: String,
    why: String,
}

impl FromStr for Url {
    type Err = InvalidUrl;

    fn from_str(text: &str) -> Result<Self, InvalidUrl> {
        let invalid = |why: String| InvalidUrl { url: text.to_owned(), why };
        let Some((scheme, rest)) = text.split_once("://") else {
            return Err(invalid("the scheme is missing, as in rpcx://HOST:PORT".into()));
        };
        let is_path = scheme == "unix";
        if text.contains(|c: char| c.is_control() || c.is_whitespace() && !is_path) {
            return Err(invalid("a blank or a control character is in it".into()));
        }
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (mut named, mut connect) = (None, None);
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            match pair.split_once('=') {
                Some(("wire", name)) => {
                    let wire = Wire::from_name(name);
                    named = Some(wire.ok_or_else(|| invalid(format!("the wire {name} is not known")))?);
                }
                Some(("connect", path)) => connect = Some(path),
                _ => return Err(invalid(format!("the parameter {pair} is not known"))),
            }
        }
        let (address, wire) = match (scheme, Wire::from_name(scheme)) {
            (_, Some(wire)) if named.is_none() => {
                let rest = if wire == Wire::Http { rest.trim_end_matches('/') } else { rest };
                (format!("tcp://{rest}"), wire)
            }
            ("tcp" | "unix" | "mem", _) => (format!("{scheme}://{rest}"), named.unwrap_or(Wire::Rpcx)),
            (_, Some(_)) => return Err(invalid("the scheme says the wire already".into())),
            ("https", None) => return Err(invalid("TLS is not spoken yet; http:// is".into())),
            (other, None) => return Err(invalid(format!("the scheme {other} is not known"))),
        };
        let address = address.parse().map_err(|error| invalid(format!("{error}")))?;
        let connect = match connect {
            None => None,
            Some(path) => {
                let known = wire.connect_paths().iter().find(|known| **known == path);
                Some(*known.ok_or_else(|| {
                    invalid(format!("{} is not spoken after a CONNECT of {path}", wire.name()))
                })?)
            }
        };
        Ok(Self { address, wire, connect })
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let wire = self.wire.name();
        let mark = match &self.address {
            Address::Tcp(address) => {
                write!(f, "{wire}://{address}")?;
                '?'
            }
            other => {
                write!(f, "{other}?wire={wire}")?;
                '&'
            }
        };
        self.connect.map_or(Ok(()), |path| write!(f, "{mark}connect={path}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read_and_written() {
        for text in [
            "rpcx://127.0.0.1:80",
            "easymicro://[::1]:80",
            "http://localhost:80",
            "iip://127.0.0.1:80",
            "netrpc://127.0.0.1:80",
            "netrpc://127.0.0.1:80?connect=/_goRPC_",
            "rpcx://127.0.0.1:80?connect=/_rpcx_",
            "unix:///run/a?wire=netrpc&connect=/_goRPC_",
            "unix:///run/a?wire=rpcx",
            "mem://a?wire=easymicro",
            "unix:///run/a b?wire=http",
        ] {
            let url: Url = text.parse().unwrap();
            assert_eq!(url.to_string(), text);
        }
        assert_eq!("tcp://a:1?wire=rpcx".parse::<Url>().unwrap().to_string(), "rpcx://a:1");
        assert_eq!("unix:///a".parse::<Url>().unwrap().to_string(), "unix:///a?wire=rpcx");
        assert_eq!("mem://a".parse::<Url>().unwrap().wire, Wire::Rpcx);
        assert_eq!("http://a:1/".parse::<Url>().unwrap().to_string(), "http://a:1");
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, why) in [
            ("127.0.0.1:80", "scheme is missing"),
            ("saber://a:1", "scheme saber is not known"),
            ("rpcx://a b:1", "a blank"),
            ("unix:///run/a\n", "a control character"),
            ("https://a:1", "TLS is not spoken yet"),
            ("rpcx://a", "port is missing"),
            ("unix:///run/a?wire=x", "wire x is not known"),
            ("rpcx://a:1?b=c", "parameter b=c is not known"),
            ("rpcx://a:1?wire=http", "says the wire already"),
            ("netrpc://a:1?connect=/_rpcx_", "not spoken after a CONNECT of /_rpcx_"),
            ("iip://a:1?connect=/_goRPC_", "not spoken after a CONNECT"),
        ] {
            let error = text.parse::<Url>().unwrap_err().to_string();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
