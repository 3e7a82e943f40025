//! Values that need not stand on the command line, where every user of the machine can read them: `@FILE` and
//! `@env:NAME`.

use crate::exit::Failure;
use livefeed::Secret;
use std::fs::File;
use std::io::Read;

/// More than that is no secret but the wrong file.
const MOST: u64 = 1 << 20;

/// The value that an argument stands for: itself, the contents of a file (`@FILE`), or an environment variable
/// (`@env:NAME`). A line end at the end of a file is left out. `@@` stands for an `@` at the beginning.
///
/// `option` is what the user wrote it after, for errors.
pub(crate) fn value(option: &str, text: &str) -> Result<Secret, Failure> {
    let Some(place) = text.strip_prefix('@') else { return Ok(text.into()) };
    if place.starts_with('@') {
        return Ok(place.into());
    }
    if let Some(name) = place.strip_prefix("env:") {
        if name.is_empty() {
            return Err(Failure::usage(format!("{option}: name an environment variable after @env:")));
        }
        return std::env::var(name).map(Secret::from).map_err(|error| {
            let problem = match error {
                std::env::VarError::NotPresent => "is not set",
                std::env::VarError::NotUnicode(_) => "is not UTF-8",
            };
            Failure::usage(format!("{option}: the environment variable {name} {problem}"))
        });
    }
    let text = read(option, place, "; write @@ for an @ itself")?;
    Ok(text.strip_suffix('\n').map_or(text.as_str(), |line| line.strip_suffix('\r').unwrap_or(line)).into())
}

/// What a file holds.
pub(crate) fn file(option: &str, path: &str) -> Result<String, Failure> {
    read(option, path, "")
}

/// What a file holds; `escape` is what else the user may have meant.
fn read(option: &str, path: &str, escape: &str) -> Result<String, Failure> {
    let usage = |problem: String| Failure::usage(format!("{option}: the file {path} {problem}"));
    if path.is_empty() {
        return Err(Failure::usage(format!(
            "{option}: name a file after the @, or write @@ for an @ itself"
        )));
    }
    let mut text = String::new();
    File::open(path)
        .and_then(|file| file.take(MOST + 1).read_to_string(&mut text))
        .map_err(|error| usage(format!("can't be read: {error}{escape}")))?;
    if text.len() as u64 > MOST {
        return Err(usage("has more than 1 MiB: is it the right one?".to_owned()));
    }
    Ok(text)
}

/// A header such as `Authorization: Bearer @token.txt`: its name, and its value, of which the last word may be taken
/// from elsewhere. Errors do not show the value.
pub(crate) fn header(option: &str, line: &str) -> Result<(String, Secret), Failure> {
    let (name, value) = line.split_once(':').ok_or_else(|| {
        let form = if option.contains("file") { "Name: value" } else { "'Name: value', in quotes" };
        Failure::usage(format!("{option}: a header has a name and a value: write {form}"))
    })?;
    let (name, value) = (name.trim(), value.trim());
    let option = format!("{option} {name}");
    match value.rsplit_once(' ') {
        // `Bearer @FILE`: a word, and a secret.
        Some((scheme, place)) if place.starts_with('@') && !scheme.contains(' ') => {
            let secret = self::value(&option, place)?;
            Ok((name.to_owned(), format!("{scheme} {}", secret.expose()).into()))
        }
        _ => Ok((name.to_owned(), self::value(&option, value)?)),
    }
}

/// The headers in a file: one a line; empty lines and those that begin with `#` are left out.
pub(crate) fn headers(path: &str) -> Result<Vec<(String, Secret)>, Failure> {
    let text = file("--header-file", path)?;
    let lines = text.lines().enumerate().map(|(at, line)| (at + 1, line.trim()));
    let lines = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    lines.map(|(number, line)| header(&format!("--header-file {path}, line {number}"), line)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_come_from_where_they_are_said_to_be() {
        let path = std::env::temp_dir().join(format!("livefeed-secret-{}", std::process::id()));
        std::fs::write(&path, "hunter2\r\n").unwrap();
        let place = format!("@{}", path.display());
        assert_eq!(value("x", &place).unwrap().expose(), "hunter2");
        assert_eq!(value("x", "plain").unwrap().expose(), "plain");
        assert_eq!(value("x", "@@plain").unwrap().expose(), "@plain");
        let (name, secret) = header("x", &format!("Authorization: Bearer {place}")).unwrap();
        assert_eq!((name.as_str(), secret.expose()), ("Authorization", "Bearer hunter2"));
        assert_eq!(header("x", "a:b: c").unwrap().1.expose(), "b: c");
        std::fs::write(&path, "# mine\n\nX-Key: k1\n X-Other : k2 \n").unwrap();
        let headers = headers(&path.display().to_string()).unwrap();
        let shown: Vec<_> = headers.iter().map(|(name, value)| (name.as_str(), value.expose())).collect();
        assert_eq!(shown, [("X-Key", "k1"), ("X-Other", "k2")]);
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn errors_say_what_to_do_and_show_no_value() {
        for (text, part) in [
            ("@/no/such/file", "can't be read"),
            ("@env:LIVEFEED_NOT_SET", "is not set"),
            ("@", "name a file"),
            ("@env:", "name an environment variable"),
            ("@alice", "write @@ for an @ itself"),
        ] {
            let error = value("--subscribe", text).unwrap_err().to_string();
            assert!(error.starts_with("--subscribe: ") && error.contains(part), "{error}");
        }
        let error = header("--header", "hunter2").unwrap_err().to_string();
        assert!(error.contains("'Name: value'") && !error.contains("hunter2"), "{error}");
        let error = header("--header-file f, line 1", "hunter2").unwrap_err().to_string();
        assert!(error.ends_with("write Name: value"), "{error}");
        assert_eq!(header("--header", "From: bob @@alice").unwrap().1.expose(), "bob @alice");
    }
}
