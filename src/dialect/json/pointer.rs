//! Where values stand in a message: JSON pointers, with wildcards and JSON inside strings.

/// More tokens than this lead deeper than the scan looks.
const MAX_TOKENS: usize = 128;

/// How often a pointer may go on inside a string.
pub(crate) const MAX_JSON: usize = 4;

/// A JSON pointer (RFC 6901), taken apart once.
///
/// Two tokens are our own: `*` is every element of an array and every member of an object, `@json` goes on inside a
/// string that holds JSON.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(crate) struct Pointer {
    tokens: Vec<Token>,
}

/// One step of a pointer.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Token {
    /// A member of an object.
    Member(String),
    /// An element of an array. Not written in pointers; stands for what matchers take apart.
    Element(usize),
    /// Digits without a leading zero: an element of an array, or a member of that name (RFC 6901 section 4).
    Either(String, usize),
    /// `*`: each element, or each member.
    Each,
    /// `@json`: the JSON in a string.
    Json,
}

impl Pointer {
    /// Takes a pointer apart; the error says what would be right. The empty pointer is the whole message.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        if has_placeholder(text) {
            return Err(
                "has a placeholder, which nothing fills in here: write the name that the message has".into(),
            );
        }
        let Some(rest) = text.strip_prefix('/') else {
            return Err(format!("does not start with \"/\": did you mean \"/{text}\"?"));
        };
        let tokens = rest.split('/').map(Token::parse).collect::<Option<Vec<_>>>().ok_or(
            "has a \"~\" that is not followed by 0 or 1: write \"~0\" for \"~\" and \"~1\" for \"/\" in a name \
             (RFC 6901 section 3), \"~*\" and \"~@json\" for members of those names",
        )?;
        if tokens.len() > MAX_TOKENS {
            return Err(format!(
                "has {} steps: no value that deep is found, give at most {MAX_TOKENS}",
                tokens.len()
            ));
        }
        let inside = tokens.iter().filter(|token| **token == Token::Json).count();
        if inside > MAX_JSON {
            return Err(format!(
                "goes into {inside} strings inside each other: give at most {MAX_JSON} \"@json\""
            ));
        }
        Ok(Self { tokens })
    }

    pub(crate) fn tokens(&self) -> &[Token] {
        &self.tokens
    }

    /// Whether it is the empty pointer.
    pub(crate) fn is_whole(&self) -> bool {
        self.tokens.is_empty()
    }

    /// Whether it may name several values.
    pub(crate) fn is_wild(&self) -> bool {
        self.tokens.contains(&Token::Each)
    }

    /// The pointer to what a step leads to from here.
    pub(crate) fn join(&self, token: Token) -> Self {
        let mut tokens = self.tokens.clone();
        tokens.push(token);
        Self { tokens }
    }
}

/// Whether there is a variable's name in `${..}`. Names of members may have such signs, but hardly like this.
fn has_placeholder(text: &str) -> bool {
    let is_name = |name: &str| {
        name.starts_with(|c: char| c.is_ascii_alphabetic())
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b))
    };
    let inner = |part: &str| part.split_once('}').is_some_and(|(name, _)| is_name(name));
    text.split("${").skip(1).any(inner)
}

impl Token {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "*" => return Some(Self::Each),
            "@json" => return Some(Self::Json),
            "~*" | "~@json" => return text.strip_prefix('~').map(|name| Self::Member(name.into())),
            _ => {}
        }
        let mut key = String::with_capacity(text.len());
        let mut chars = text.chars();
        while let Some(c) = chars.next() {
            key.push(match c {
                '~' => match chars.next()? {
                    '0' => '~',
                    '1' => '/',
                    _ => return None,
                },
                other => other,
            });
        }
        let is_index = key.bytes().all(|b| b.is_ascii_digit()) && (key == "0" || !key.starts_with('0'));
        Some(match key.parse() {
            Ok(index) if is_index => Self::Either(key, index),
            _ => Self::Member(key),
        })
    }

    /// The name of the member it leads to in an object.
    pub(crate) fn key(&self) -> Option<&str> {
        match self {
            Self::Member(key) | Self::Either(key, _) => Some(key),
            Self::Element(_) | Self::Each | Self::Json => None,
        }
    }

    /// The place of the element it leads to in an array.
    pub(crate) fn index(&self) -> Option<usize> {
        match self {
            Self::Element(index) | Self::Either(_, index) => Some(*index),
            Self::Member(_) | Self::Each | Self::Json => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pointers_are_taken_apart() {
        let member = |key: &str| Token::Member(key.into());
        for (text, expected) in [
            ("", vec![]),
            ("/", vec![member("")]),
            ("/a/0/01/-", vec![member("a"), Token::Either("0".into(), 0), member("01"), member("-")]),
            ("/a~1b/m~0n/~01", vec![member("a/b"), member("m~n"), member("~1")]),
            ("/*/@json/*x", vec![Token::Each, Token::Json, member("*x")]),
            ("/~*/~@json", vec![member("*"), member("@json")]),
            ("/99999999999999999999999", vec![member("99999999999999999999999")]),
        ] {
            let pointer = Pointer::parse(text).unwrap();
            assert_eq!(pointer.tokens(), expected, "{text}");
            assert_eq!(pointer.is_wild(), text.starts_with("/*"), "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, part) in [
            ("a", "did you mean \"/a\""),
            ("channel/x", "does not start with \"/\""),
            ("/~", "not followed by 0 or 1"),
            ("/a~2", "not followed by 0 or 1"),
            ("/~/b", "not followed by 0 or 1"),
            ("/a~*", "not followed by 0 or 1"),
            ("/a/${name}", "has a placeholder"),
            ("/@json/@json/@json/@json/@json", "at most 4 \"@json\""),
            (&"/a".repeat(129), "at most 128"),
        ] {
            let problem = Pointer::parse(text).unwrap_err();
            assert!(problem.contains(part), "{text}: {problem}");
        }
    }
}
