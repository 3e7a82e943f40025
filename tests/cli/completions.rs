//! Completions, in the shells that are installed.

use crate::common::{err, finish, out, run, status};
use crate::scratch::Scratch;
use std::process::{Command, Output, Stdio};

/// Writes the script for a shell into a file of this name.
fn script(dir: &Scratch, shell: &str, name: &str) -> String {
    let output = run(&["completions", shell]);
    status(&output, 0);
    dir.file(name, &out(&output))
}

/// Runs this in a shell, in a directory with the files `feeds.toml` and `a b.pem`; `None` if there is no such shell.
fn shell(dir: &Scratch, shell: &str, args: &[&str]) -> Option<Output> {
    dir.file("feeds.toml", "");
    dir.file("a b.pem", "");
    let mut command = Command::new(shell);
    command
        .args(args)
        .current_dir(dir.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command.spawn().ok().map(finish)
}

/// What bash offers for these words, the last of which is not complete.
fn bash(dir: &Scratch, script: &str, words: &[&str]) -> Option<String> {
    let list: Vec<String> = words.iter().map(|word| format!("'{word}'")).collect();
    let text = format!(
        "compopt() {{ :; }}; source '{script}'; COMP_WORDS=({}); COMP_CWORD={}; _livefeed livefeed \"${{COMP_WORDS[-1]}}\" \
         \"${{COMP_WORDS[-2]}}\"; printf '%s\\n' \"${{COMPREPLY[@]}}\"",
        list.join(" "),
        words.len() - 1
    );
    let output = shell(dir, "bash", &["--norc", "--noprofile", "-c", &text])?;
    assert_eq!(err(&output), "");
    Some(out(&output))
}

#[test]
fn bash_offers_files_where_files_are_meant() {
    let dir = Scratch::new();
    let script = script(&dir, "bash", "livefeed.bash");
    for (words, has, lacks) in [
        (&["livefeed", "ru"][..], "run\n", "feeds.toml"),
        (&["livefeed", "run", ""], "feeds.toml\n", "--help"),
        (&["livefeed", "run", "--fo"], "--for\n", "feeds.toml"),
        (&["livefeed", "check", "-q", "fe"], "feeds.toml\n", "--help"),
        (&["livefeed", "check", "-q", "a"], "a b.pem\n", "--help"),
        (&["livefeed", "replay", ""], "feeds.toml\n", "--speed"),
        (&["livefeed", "tail", "--ca-file", ""], "a b.pem\n", "--help"),
        (&["livefeed", "tail", "--preset", "kr"], "kraken-v2\n", "feeds.toml"),
        (&["livefeed", "lab", "--mode", ""], "\n", "feeds.toml"),
        (&["livefeed", "completions", ""], "zsh", "feeds.toml"),
    ] {
        let Some(offered) = bash(&dir, &script, words) else { return };
        assert!(offered.contains(has) && !offered.contains(lacks), "{words:?}: {offered}");
    }
}

#[test]
fn zsh_completes_each_command() {
    let dir = Scratch::new();
    script(&dir, "zsh", "_livefeed");
    for (line, whole) in [
        ("tail --pre", "--preset"),
        ("tail --header 'A: b' --preset kr", "kraken-v2"),
        ("probe --wi", "--within"),
        ("record --appe", "--append"),
        ("lab --on-s", "--on-subscribe"),
        ("replay --joi", "--joined"),
        ("run fee", "feeds.toml"),
    ] {
        let args = ["-f", "-c", ZSH, "zsh", dir.path().to_str().unwrap(), line, whole];
        let Some(output) = shell(&dir, "zsh", &args) else { return };
        if err(&output).contains("failed to load module") {
            return;
        }
        assert!(out(&output).contains(whole), "{line}: {}{}", out(&output), err(&output));
    }
}

/// What is on zsh's terminal after a Tab: read until the word is there, or a bell or a complaint.
const ZSH: &str = r#"
zmodload zsh/zpty || exit 1
zpty z zsh -f -i
zpty -w z "PS1=; fpath=('$1' \$fpath); autoload -U compinit; compinit -u -D; echo rea'dy'"
zpty -r -m z shown '*ready*'
zpty -n -w z "livefeed $2"$'\t'
zpty -r -m z shown "*($3|"$'\a'"|_arguments)*"
print -r -- "$shown"
zpty -d z
"#;
