//! The feeds of `examples/feeds` are valid.

use super::*;
use crate::dialect::RuleKind;
use std::collections::BTreeSet;

fn files() -> Vec<(String, String)> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/feeds");
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .map(|path| {
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            (name, std::fs::read_to_string(path).unwrap())
        })
        .collect();
    files.sort();
    files
}

#[cfg(feature = "native-tls")]
#[test]
fn each_is_read_and_valid() {
    let files = files();
    assert!(files.len() >= 16, "only {} feeds were found", files.len());
    for (name, text) in files {
        let config = FeedConfig::from_json(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
        config.validate().unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(config.name.as_deref(), Some(name.as_str()), "a feed is named as its file");
        assert!(!config.subscriptions.is_empty(), "{name} subscribes to nothing");
        for subscription in &config.subscriptions {
            let terms = config.resolved(subscription).terms;
            assert!(terms.data.is_some(), "{name}: {:?} has no matcher for its data", subscription.id);
        }
    }
}

/// Something of each kind is shown by one of them.
#[test]
fn together_they_show_what_there_is() {
    let mut shown = BTreeSet::new();
    for (name, text) in files() {
        let config = FeedConfig::from_json(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
        shown.extend(config.rules.iter().map(|rule| rule.is.name()));
        for (what, is_shown) in [
            ("login", !config.login.is_empty()),
            ("codecs", !config.codecs.is_empty()),
            ("ends", !config.ends.is_empty()),
            ("pacing", !config.pacing.is_empty()),
            ("connect.pacing", !config.connect.pacing.is_empty()),
            ("batch", config.batch.is_some()),
            ("bind", config.rules.iter().any(|rule| !rule.bind.is_empty())),
            ("reply", config.rules.iter().any(|rule| rule.reply.is_some())),
            ("first_data", config.defaults.ack == Some(Ack::FirstData)),
            ("sequence", config.sequence.is_some() || config.defaults.sequence.is_some()),
        ] {
            if is_shown {
                shown.insert(what);
            }
        }
    }
    for kind in [RuleKind::Keepalive, RuleKind::Ack, RuleKind::Nack, RuleKind::Ended, RuleKind::Notice]
        .map(RuleKind::name)
    {
        assert!(shown.contains(kind), "{kind}");
    }
    for what in [
        "login",
        "codecs",
        "ends",
        "pacing",
        "connect.pacing",
        "batch",
        "bind",
        "reply",
        "first_data",
        "sequence",
    ] {
        assert!(shown.contains(what), "{what}");
    }
}
