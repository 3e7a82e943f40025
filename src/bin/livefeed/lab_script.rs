//! What the lab is to do, in words: faults for `--mode`, and the same as steps of a `--script`.

use crate::exit::say;
use crate::{spelling, time};
use livefeed::lab::{Command, Flood, Script, Topic, Violation};
use std::time::Duration;

/// What connections get where all is well.
#[derive(Debug, Clone, Default)]
pub(crate) struct Data {
    pub(crate) topics: Vec<Topic>,
    /// Their names.
    pub(crate) names: Vec<String>,
    pub(crate) heartbeat: Option<(String, Duration)>,
    pub(crate) pings: Option<Duration>,
    /// Of the answer to the upgrade.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) subprotocol: Option<String>,
    pub(crate) greeting: Vec<String>,
    /// The number of the connection, if what is done to it is to be said on standard error.
    pub(crate) told: Option<usize>,
}

impl Data {
    fn add_to(&self, script: Script) -> Script {
        let mut script = self.greeting.iter().fold(script, Script::send).topics(self.topics.clone());
        if let Some((text, every)) = &self.heartbeat {
            script = script.heartbeats(text.as_str(), *every);
        }
        if let Some(every) = self.pings {
            script = script.then(Command::Pings(every));
        }
        script
    }

    /// Says what is done to the connection, when the script has come this far.
    fn tell(&self, script: Script, name: &str, argument: &str) -> Script {
        let Some(number) = self.told else { return script };
        let text = sentence(number, name, argument);
        script.greet(move |_| {
            say(&text);
            Vec::new()
        })
    }

    fn answer_with(&self, script: Script) -> Script {
        let script = self.headers.iter().fold(script, |script, (name, value)| script.header(name, value));
        match &self.subprotocol {
            Some(name) => script.subprotocol(name.as_str()),
            None => script,
        }
    }
}

/// A line about a connection.
fn sentence(number: usize, name: &str, argument: &str) -> String {
    let argument: String = argument.chars().take(SHOWN).collect();
    format!("livefeed: connection {number}: {name} {argument}").trim_end().to_owned()
}

/// So many characters of an argument are shown.
const SHOWN: usize = 60;

/// Steps in which nothing goes wrong.
const GOOD: &[&str] = &["data", "send", "send-binary", "ping", "for", "until-text", "until-sent"];

/// How a connection can begin other than as it should: the name, what can stand behind it, and what it does.
const OPENINGS: &[(&str, &str, &str)] = &[
    ("refuse", "[STATUS [BODY]]", "refuses the upgrade, with status 403 (see --header)"),
    ("never-upgrade", "", "accepts, and never answers the upgrade"),
    ("stall-tls", "", "accepts, and says nothing at all, not even in the TLS handshake"),
    ("trickle-upgrade", "[DUR]", "answers the upgrade byte by byte, every 100ms"),
    ("wrong-accept", "", "answers the upgrade with a wrong key"),
    ("endless-header", "", "answers the upgrade with header lines without end"),
    ("long-header", "[BYTES]", "answers the upgrade with a header field of 100000 bytes"),
    ("raw-response", "TEXT", "answers the upgrade with this text; \\r and \\n are line ends"),
    ("reset-at-accept", "", "resets the connection at once"),
    ("fin-at-accept", "", "ends the connection at once"),
];

/// What a connection can be told to do: the name, what can stand behind it, and what it does.
const STEPS: &[(&str, &str, &str)] = &[
    ("data", "", "sends what the options say, from here on"),
    ("mute", "[TOPIC]", "no more data; heartbeats and pings go on"),
    ("unmute", "[TOPIC]", "data goes on"),
    ("silence", "", "nothing more by itself; pings are answered"),
    ("resume", "", "takes back silence, mute and half-frame"),
    ("skip", "[N]", "passes over a sequence number of each topic, or over N"),
    ("freeze", "", "neither reads nor writes: as if the network were gone"),
    ("thaw", "", "takes that back"),
    ("no-pongs", "", "leaves pings unanswered"),
    ("no-close", "", "leaves Close frames unanswered"),
    ("stop-reading", "", "reads nothing more"),
    ("start-reading", "", "reads again"),
    ("close", "[CODE [REASON]]", "closes, with code 1001"),
    ("reset", "", "resets the TCP connection"),
    ("fin", "", "ends the TCP connection without a Close frame"),
    ("flood", "[BYTES]", "messages of 128 bytes as fast as they go"),
    ("ping-flood", "", "pings as fast as they go"),
    ("send", "TEXT", "one text message"),
    ("send-binary", "BASE64", "one binary message"),
    ("send-sized", "[BYTES]", "one text message of 100 MB"),
    ("fragments", "N TEXT", "one text message in N frames"),
    ("trickle", "[DUR]", "a message byte by byte, every 100ms, and nothing else"),
    ("half-frame", "", "half of a message, and then nothing more"),
    ("ping", "", "one ping"),
    ("pong", "", "one pong that nobody asked for"),
    ("raw", "BASE64", "these bytes, as they are"),
    ("violate", "KIND", "breaks the protocol; KIND: see below"),
    ("announce", "[BYTES]", "the header of a frame of 1 TB, and nothing of it"),
    ("for", "DUR", "all goes on for a while"),
    ("until-text", "[PART]", "all goes on until a text message with this in it comes"),
    ("until-sent", "N", "all goes on until so many messages of topics were sent"),
];

const VIOLATIONS: &[(&str, Violation)] = &[
    ("masked-frame", Violation::MaskedFrame),
    ("reserved-bits", Violation::ReservedBits),
    ("unknown-opcode", Violation::UnknownOpcode),
    ("unknown-control-opcode", Violation::UnknownControlOpcode),
    ("fragmented-control", Violation::FragmentedControl),
    ("long-control", Violation::LongControl),
    ("invalid-utf8", Violation::InvalidUtf8),
    ("short-close", Violation::ShortClose),
    ("bad-close-code", Violation::BadCloseCode),
    ("bad-close-reason", Violation::BadCloseReason),
    ("lone-continuation", Violation::LoneContinuation),
    ("interrupted-message", Violation::InterruptedMessage),
    ("garbage", Violation::Garbage),
];

/// All of it, for `--help`.
pub(crate) fn help() -> String {
    let list = |all: &[(&str, &str, &str)]| {
        let line = |(name, argument, does): &(&str, &str, &str)| {
            format!("  {:<32} {does}\n", format!("{name} {argument}"))
        };
        all.iter().map(line).collect::<String>()
    };
    let kinds: Vec<&str> = VIOLATIONS.iter().map(|(name, _)| *name).collect();
    format!(
        "Modes: `good` (nothing is wrong), `flap` (closes at once), these beginnings:\n{}\n\
         and these steps, done once data has come for --after (written with a colon: `--mode close:1012`):\n{}\n\
         Kinds of `violate`: {}.\n\n\
         A script is a text file with a step a line; lines that begin with `#` are comments. A beginning may stand first; without a step `data` \
         nothing is sent. A line `---` begins the script of the next connection; the last script is that of all others.\n\n\
         The whole lab: `not-listening[:DUR]` drops all connections and refuses new ones, `not-accepting[:DUR]` leaves new ones \
         unanswered, for 5s, again and again after --after.\n\n\
         Examples:\n  \
         livefeed lab --mode mute --after 2s                          the data stops, pings are answered\n  \
         livefeed lab --listen 9002 --mode refuse:503 --mode good     refuses the first connection\n  \
         livefeed lab --topic btc --on-subscribe --rate 100",
        list(OPENINGS),
        list(STEPS),
        kinds.join(", ")
    )
}

/// The script of a mode: `NAME`, or `NAME:ARGUMENT`.
pub(crate) fn mode(text: &str, data: &Data, after: Duration) -> Result<Script, String> {
    let (name, argument) = text.split_once(':').unwrap_or((text, ""));
    if let Some(script) = opening(name, argument, data)? {
        return Ok(data.add_to(data.answer_with(script)));
    }
    if let "good" | "flap" = name {
        Argument { name, text: argument }.nothing()?;
    }
    match name {
        "good" => Ok(data.add_to(data.answer_with(Script::new()))),
        "flap" => Ok(data
            .tell(data.answer_with(data.greeting.iter().fold(Script::new(), Script::send)), name, argument)
            .close(1001, "going away")),
        _ => step(data.add_to(data.answer_with(Script::new())).for_(after), name, argument, data),
    }
}

/// The script of one connection: its steps, with the numbers of their lines.
#[derive(Debug, Clone, Default)]
pub(crate) struct Steps(Vec<(usize, String)>);

/// The scripts of a file.
pub(crate) fn scripts(text: &str) -> Result<Vec<Steps>, String> {
    let mut all = Vec::new();
    let mut steps = Steps::default();
    for (number, line) in (1..).zip(text.lines().map(str::trim)) {
        match line {
            "---" => all.push(std::mem::take(&mut steps)),
            line if line.is_empty() || line.starts_with('#') => {}
            line => steps.0.push((number, line.to_owned())),
        }
    }
    if !steps.0.is_empty() {
        all.push(steps);
    }
    if all.is_empty() {
        return Err("there is no step in it".to_owned());
    }
    Ok(all)
}

impl Steps {
    /// The same as the lab does them.
    pub(crate) fn script(&self, data: &Data) -> Result<Script, String> {
        let mut script: Option<Script> = None;
        for (number, line) in &self.0 {
            let wrong = |problem: String| format!("line {number}: {problem}");
            let (name, argument) = line.split_once(' ').unwrap_or((line, ""));
            let argument = argument.trim_start();
            script = Some(match (script.take(), opening(name, argument, data).map_err(wrong)?) {
                (None, Some(opening)) => data.answer_with(opening),
                (Some(_), Some(_)) => return Err(wrong(format!("`{name}` can only be the first"))),
                (script, None) => {
                    let script = script.unwrap_or_else(|| data.answer_with(Script::new()));
                    step(script, name, argument, data).map_err(wrong)?
                }
            });
        }
        Ok(script.unwrap_or_else(|| data.answer_with(Script::new())))
    }
}

/// A beginning, if it is the name of one.
fn opening(name: &str, argument: &str, data: &Data) -> Result<Option<Script>, String> {
    let of = Argument { name, text: argument };
    let script = match name {
        "refuse" => {
            let (status, body) = argument.split_once(' ').unwrap_or((argument, ""));
            let status = Argument { name, text: status }.number(Some(403))?;
            if !(200..1000).contains(&status) {
                return Err("`refuse`: write an HTTP status, such as 503".to_owned());
            }
            Script::refuse(status as u16).body(body)
        }
        "never-upgrade" => of.nothing().map(|()| Script::never_upgrade())?,
        "stall-tls" => of.nothing().map(|()| Script::stall_tls())?,
        "trickle-upgrade" => Script::trickle_upgrade(of.time(Some(Duration::from_millis(100)))?),
        "wrong-accept" => of.nothing().map(|()| Script::wrong_accept())?,
        "endless-header" => of.nothing().map(|()| Script::endless_header())?,
        "long-header" => Script::long_header(of.size(100_000)?),
        "raw-response" => Script::raw_response(of.some()?.replace("\\r", "\r").replace("\\n", "\n")),
        "reset-at-accept" => of.nothing().map(|()| Script::reset_at_accept())?,
        "fin-at-accept" => of.nothing().map(|()| Script::fin_at_accept())?,
        _ => return Ok(None),
    };
    // It is made when the connection begins, and does not come to a step.
    if let Some(number) = data.told {
        say(&sentence(number, name, argument));
    }
    Ok(Some(script))
}

/// Adds a step.
fn step(script: Script, name: &str, argument: &str, data: &Data) -> Result<Script, String> {
    let of = Argument { name, text: argument };
    let script = if GOOD.contains(&name) { script } else { data.tell(script, name, argument) };
    let plain = |command: Command| of.nothing().map(|()| command);
    let sample = || r#"{"topic":"lab","seq":0}"#.to_owned();
    let second = Duration::from_millis(100);
    let command = match name {
        "data" => return of.nothing().map(|()| data.add_to(script)),
        "for" => return Ok(script.for_(of.time(None)?)),
        "until-text" => {
            let part = argument.to_owned();
            return Ok(script.until_text(move |text| text.contains(&part)));
        }
        "until-sent" => return Ok(script.until_sent(of.number(None)?)),
        "skip" => {
            let messages = of.number(Some(1))?;
            let skip = |script: Script, name: &String| script.then(Command::Skip(name.clone(), messages));
            return Ok(data.names.iter().fold(script, skip));
        }
        "mute" if argument.is_empty() => Command::MuteAll,
        "mute" => Command::Mute(of.topic(data)?),
        "unmute" if argument.is_empty() => Command::UnmuteAll,
        "unmute" => Command::Unmute(of.topic(data)?),
        "silence" => plain(Command::Silence)?,
        "resume" => plain(Command::Resume)?,
        "freeze" => plain(Command::Freeze)?,
        "thaw" => plain(Command::Thaw)?,
        "no-pongs" => plain(Command::AnswerPings(false))?,
        "no-close" => plain(Command::AnswerClose(false))?,
        "stop-reading" => plain(Command::StopReading)?,
        "start-reading" => plain(Command::StartReading)?,
        "close" => {
            let (code, reason) = argument.split_once(' ').unwrap_or((argument, ""));
            let code = Argument { name, text: code }.number(Some(1001))?;
            let code = u16::try_from(code).map_err(|_| "`close`: write a code such as 1012".to_owned())?;
            Command::Close(code, reason.to_owned())
        }
        "reset" => plain(Command::Reset)?,
        "fin" => plain(Command::Fin)?,
        "flood" => Command::Flood(Flood::of_size(of.size(128)?)),
        "ping-flood" => plain(Command::PingFlood)?,
        "send" => Command::Send(of.some()?.to_owned()),
        "send-binary" => Command::SendBinary(of.base64()?),
        "send-sized" => Command::SendSized(of.size(100_000_000)?),
        "fragments" => {
            let (parts, text) = argument.split_once(' ').unwrap_or((argument, ""));
            let parts = Argument { name, text: parts }.number(None)?;
            Command::Fragments(text.to_owned(), parts.clamp(1, 1_000_000) as usize)
        }
        "trickle" => Command::Trickle(sample(), of.time(Some(second))?),
        "half-frame" => plain(Command::HalfFrame(sample()))?,
        "ping" => plain(Command::Ping(Vec::new()))?,
        "pong" => plain(Command::Pong(Vec::new()))?,
        "raw" => Command::Raw(of.base64()?),
        "violate" => {
            let found = VIOLATIONS.iter().find(|(name, _)| *name == argument);
            let kinds: Vec<&str> = VIOLATIONS.iter().map(|(name, _)| *name).collect();
            let wrong = || format!("`violate`: write one of {}", kinds.join(", "));
            Command::Violate(found.ok_or_else(wrong)?.1)
        }
        "announce" => Command::Violate(Violation::Announced(of.number(Some(1 << 40))?)),
        _ => {
            let names = OPENINGS.iter().chain(STEPS).map(|(name, ..)| *name);
            let kind = VIOLATIONS.iter().find(|(kind, _)| *kind == name).map(|_| format!("violate:{name}"));
            let near = kind.or_else(|| spelling::nearest(name, names).map(str::to_owned));
            let hint = near.map_or_else(String::new, |near| format!(": did you mean `{near}`?"));
            return Err(format!("`{name}` is not known{hint}; `livefeed lab --help` lists all"));
        }
    };
    Ok(script.then(command))
}

/// What stands behind a name.
struct Argument<'a> {
    name: &'a str,
    text: &'a str,
}

impl<'a> Argument<'a> {
    fn wrong(&self, what: &str) -> String {
        format!("`{}`: write {what}", self.name)
    }

    fn nothing(&self) -> Result<(), String> {
        if self.text.is_empty() { Ok(()) } else { Err(self.wrong("nothing behind it")) }
    }

    fn some(&self) -> Result<&'a str, String> {
        if self.text.is_empty() { Err(self.wrong("a text behind it")) } else { Ok(self.text) }
    }

    fn number(&self, default: Option<u64>) -> Result<u64, String> {
        match default {
            Some(default) if self.text.is_empty() => Ok(default),
            _ => self.text.parse().map_err(|_| self.wrong("a whole number behind it")),
        }
    }

    /// One of the topics.
    fn topic(&self, data: &Data) -> Result<String, String> {
        if data.names.iter().any(|name| name == self.text) {
            return Ok(self.text.to_owned());
        }
        let names = data.names.join("`, `");
        Err(format!(
            "`{}`: there is no topic `{}`: write one of `{names}`, or give it with --topic",
            self.name, self.text
        ))
    }

    /// A length in bytes, of what is made in memory.
    fn size(&self, default: u32) -> Result<usize, String> {
        let size = self.number(Some(default.into()))?;
        usize::try_from(size)
            .ok()
            .filter(|size| *size <= 1 << 30)
            .ok_or_else(|| self.wrong("at most 1073741824"))
    }

    fn time(&self, default: Option<Duration>) -> Result<Duration, String> {
        match default {
            Some(default) if self.text.is_empty() => Ok(default),
            _ => time::duration(self.text).map_err(|problem| format!("`{}`: {problem}", self.name)),
        }
    }

    fn base64(&self) -> Result<Vec<u8>, String> {
        data_encoding::BASE64.decode(self.some()?.as_bytes()).map_err(|_| self.wrong("base64 behind it"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An argument that fits what the list says.
    fn example(argument: &str) -> &'static str {
        match argument.strip_prefix('[').map_or(argument, |argument| &argument[..argument.len() - 1]) {
            "" => "",
            "STATUS [BODY]" => "503 later",
            "CODE [REASON]" => "1012 soon",
            "DUR" => "20ms",
            "BYTES" => "7",
            "N" => "3",
            "N TEXT" => "3 a b",
            "TEXT" | "TOPIC" | "PART" => "a b",
            "BASE64" => "AAEC",
            "KIND" => "garbage",
            other => panic!("{other}"),
        }
    }

    fn all(text: &str, data: &Data) -> Result<Vec<Script>, String> {
        scripts(text)?.iter().map(|steps| steps.script(data)).collect()
    }

    #[test]
    fn all_that_is_listed_is_known_with_its_argument_and_without_it_where_it_may_be_left_out() {
        let data = Data { names: vec!["lab".into(), "a b".into()], ..Data::default() };
        for (name, argument, _) in OPENINGS.iter().chain(STEPS) {
            let with = example(argument);
            let script = mode(&format!("{name}:{with}"), &data, Duration::ZERO).unwrap();
            assert!(!format!("{script:?}").is_empty());
            all(&format!("{name} {with}"), &data).unwrap();
            let without = mode(name, &data, Duration::ZERO);
            let may_be_left_out = argument.is_empty() || argument.starts_with('[');
            assert_eq!(without.is_ok(), may_be_left_out, "{name}");
            if argument.is_empty() {
                assert!(mode(&format!("{name}:x"), &data, Duration::ZERO).is_err(), "{name}");
            }
        }
        for (kind, _) in VIOLATIONS {
            mode(&format!("violate:{kind}"), &data, Duration::ZERO).unwrap();
        }
        assert!(help().contains("  close [CODE [REASON]]            closes"), "{}", help());
    }

    #[test]
    fn what_is_wrong_is_said_with_the_line() {
        let data = Data::default();
        for (text, said) in [
            ("data\nfor 2s\nclsoe 1000", "line 3: `clsoe` is not known: did you mean `close`?"),
            ("data\nmute btc", "line 2: `mute`: there is no topic `btc`"),
            ("data\nrefuse", "line 2: `refuse` can only be the first"),
            ("\n# c\nfor ever", "line 3: `for`: write a duration"),
            ("violate nothing", "line 1: `violate`: write one of masked-frame, "),
            ("refuse 7", "line 1: `refuse`: write an HTTP status"),
            ("close 70000", "line 1: `close`: write a code"),
            ("send", "line 1: `send`: write a text behind it"),
            ("raw ?", "line 1: `raw`: write base64"),
            ("send-sized 99999999999", "line 1: `send-sized`: write at most"),
            ("# only a comment", "there is no step in it"),
        ] {
            let problem = all(text, &data).unwrap_err();
            assert!(problem.starts_with(said), "{text:?}: {problem}");
        }
        assert_eq!(all("data\n---\n---\nrefuse 503\n", &data).unwrap().len(), 3);
    }
}
