//! An endpoint as it is written: `rpcx://a:1#3`, and lists of them.

use std::str::FromStr;

/// The least and the greatest weight.
const WEIGHTS: std::ops::RangeInclusive<u32> = 1..=100;

/// Where calls may go: a URL, a weight from 1 to 100, and an alias, which is the URL where nobody says.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Endpoint {
    url: String,
    weight: u32,
    alias: Option<String>,
}

/// Why a text is no endpoint, or no list of them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text} cannot be called: {why}")]
pub struct InvalidEndpoint {
    text: String,
    why: String,
}

impl Endpoint {
    /// The endpoint of a URL, without a look at it, with weight 1.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        Self { url: url.into(), weight: 1, alias: None }
    }

    /// How many calls it gets beside an endpoint of weight 1: 1 to 100. Another weight is refused where the
    /// endpoint is added.
    #[must_use]
    pub fn with_weight(mut self, weight: u32) -> Self {
        self.weight = weight;
        self
    }

    /// Another name than the URL, for expressions and for its removal.
    #[must_use]
    pub fn with_alias(mut self, alias: impl Into<String>) -> Self {
        self.alias = Some(alias.into());
        self
    }

    /// The URL, without a weight.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The weight.
    #[must_use]
    pub fn weight(&self) -> u32 {
        self.weight
    }

    /// The alias; the URL where none was given.
    #[must_use]
    pub fn alias(&self) -> &str {
        self.alias.as_deref().unwrap_or(&self.url)
    }

    /// Reads a list with commas: `rpcx://a:1#3,b:2#1,http://c:3`. What stands behind a `#` is the weight. A part
    /// without `://` has the scheme of the one before it, and its query where it has none of its own.
    ///
    /// # Errors
    /// A part is empty, the first has no scheme, or a weight is no number from 1 to 100.
    pub fn list(text: &str) -> Result<Vec<Self>, InvalidEndpoint> {
        let mut list: Vec<Self> = Vec::new();
        let (mut scheme, mut query) = ("", "");
        for part in text.split(',') {
            let invalid = |why: &str| InvalidEndpoint { text: text.to_owned(), why: why.to_owned() };
            if part.is_empty() {
                return Err(invalid("there is nothing before or behind a comma"));
            }
            let endpoint: Self = part.parse().map_err(|error: InvalidEndpoint| invalid(&error.why))?;
            let bare = part.rsplit_once('#').map_or(part, |(bare, _)| bare);
            if let Some((named, rest)) = bare.split_once("://") {
                scheme = named;
                query = rest.find('?').and_then(|at| rest.get(at..)).unwrap_or_default();
                list.push(endpoint);
            } else if list.is_empty() {
                return Err(invalid("the scheme is missing, as in rpcx://HOST:PORT"));
            } else {
                let query = if bare.contains('?') { "" } else { query };
                list.push(Self { url: format!("{scheme}://{bare}{query}"), ..endpoint });
            }
        }
        Ok(list)
    }

    /// Whether the weight is from 1 to 100.
    ///
    /// # Errors
    /// It is not.
    pub(crate) fn check(&self) -> Result<(), InvalidEndpoint> {
        if WEIGHTS.contains(&self.weight) {
            return Ok(());
        }
        let why = format!("the weight {} is no number from 1 to 100", self.weight);
        Err(InvalidEndpoint { text: self.url.clone(), why })
    }
}

impl FromStr for Endpoint {
    type Err = InvalidEndpoint;

    fn from_str(text: &str) -> Result<Self, InvalidEndpoint> {
        let Some((url, weight)) = text.rsplit_once('#') else { return Ok(Self::new(text)) };
        match weight.parse() {
            // A sign is no part of a weight.
            Ok(number) if WEIGHTS.contains(&number) && !weight.starts_with('+') => {
                Ok(Self::new(url).with_weight(number))
            }
            _ => {
                let why = format!("the weight {weight} is no number from 1 to 100");
                Err(InvalidEndpoint { text: text.to_owned(), why })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read() {
        let read = |text: &str| -> Vec<(String, u32)> {
            Endpoint::list(text).unwrap().iter().map(|e| (e.url().to_owned(), e.weight())).collect()
        };
        let of = |urls: &[(&str, u32)]| -> Vec<(String, u32)> {
            urls.iter().map(|(url, weight)| ((*url).to_owned(), *weight)).collect()
        };
        assert_eq!(read("rpcx://a:1"), of(&[("rpcx://a:1", 1)]));
        assert_eq!(read("rpcx://a:1#3,b:2#1"), of(&[("rpcx://a:1", 3), ("rpcx://b:2", 1)]));
        assert_eq!(
            read("rpcx://a:1,http://b:2#100,c:3"),
            of(&[("rpcx://a:1", 1), ("http://b:2", 100), ("http://c:3", 1)])
        );
        assert_eq!(
            read("unix:///a?wire=http#7,/b,/c?wire=rpcx,tcp://d:1,e:2"),
            of(&[
                ("unix:///a?wire=http", 7),
                ("unix:///b?wire=http", 1),
                ("unix:///c?wire=rpcx", 1),
                ("tcp://d:1", 1),
                ("tcp://e:2", 1)
            ])
        );
    }

    #[test]
    fn what_is_wrong_in_a_list_is_said() {
        for (text, why) in [
            ("", "nothing"),
            ("rpcx://a:1,", "nothing"),
            (",rpcx://a:1", "nothing"),
            ("a:1,b:2", "scheme is missing"),
            ("rpcx://a:1#0", "weight 0"),
            ("rpcx://a:1#101,b:2", "weight 101"),
            ("rpcx://a:1,b:2#+3", "weight +3"),
            ("rpcx://a:1#", "weight  is"),
            ("rpcx://a:1#x", "weight x"),
            ("rpcx://a:1#-1", "weight -1"),
        ] {
            let error = Endpoint::list(text).unwrap_err().to_string();
            assert!(error.contains(why), "{text}: {error}");
        }
        assert!(Endpoint::new("rpcx://a:1").with_weight(101).check().is_err());
    }
}
