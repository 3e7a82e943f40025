//! `completions`: what shells need to complete the arguments.

use crate::exit::Outcome;
use clap::ValueHint;
use clap_complete::Shell;
use std::io::{self, Write};

/// Prints a script that lets a shell complete the arguments
#[derive(Debug, clap::Args)]
#[command(after_help = PLACES)]
pub(crate) struct Args {
    /// For which shell
    #[arg(value_name = "SHELL", value_enum)]
    shell: Shell,
}

const PLACES: &str = "\
Where the script goes:
  bash   livefeed completions bash > ~/.local/share/bash-completion/completions/livefeed
  zsh    livefeed completions zsh > DIR/_livefeed    DIR being one of those that `echo $fpath` shows; then `compinit`
  fish   livefeed completions fish > ~/.config/fish/completions/livefeed.fish";

/// `command` is the whole of the command line.
pub(crate) fn main(args: &Args, command: clap::Command) -> Outcome {
    let mut command = hinted(command);
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, "livefeed", &mut script);
    if args.shell == Shell::Bash {
        script = with_files(String::from_utf8_lossy(&script).into_owned(), &command).into_bytes();
    }
    // Nobody may be reading any more, which is no failure.
    let _ = io::stdout().write_all(&script);
    Ok(())
}

/// Says which values are files: by the names that the help shows.
fn hinted(command: clap::Command) -> clap::Command {
    command.mut_subcommands(|command| {
        command.mut_args(|arg| {
            if !arg.get_action().takes_values() {
                return arg;
            }
            let name = arg.get_value_names().and_then(|names| names.first()).map(|name| name.as_str());
            let hint = match name {
                None => return arg,
                Some("FILE" | "CONFIG" | "URL|CONFIG") => ValueHint::FilePath,
                Some("CMD") => ValueHint::CommandString,
                Some(_) => ValueHint::Other,
            };
            arg.value_hint(hint)
        })
    })
}

/// The script for bash, with files for the arguments that are files: by itself it has options alone there.
fn with_files(script: String, command: &clap::Command) -> String {
    let takes_file = |command: &&clap::Command| {
        command.get_positionals().any(|arg| arg.get_value_hint() == ValueHint::FilePath)
    };
    command.get_subcommands().filter(takes_file).fold(script, |script, command| {
        let label = format!("        livefeed__subcmd__{})\n", command.get_name());
        let Some((before, rest)) = script.split_once(&label) else { return script };
        let (part, after) = rest.split_once("\n            ;;\n").unwrap_or((rest, ""));
        let part = part.replacen(" || ${COMP_CWORD} -eq 2 ]]", " ]]", 1);
        let options = "COMPREPLY=( $(compgen -W \"${opts}\" -- \"${cur}\") )\n            return 0";
        let files = "local IFS=$'\\n'\n            [[ \"${BASH_VERSINFO[0]}\" -lt 4 ]] || compopt -o filenames\n            \
                     COMPREPLY=( $(compgen -f -- \"${cur}\") )\n            return 0";
        let part = match part.rsplit_once(options) {
            Some((part, end)) => format!("{part}{files}{end}"),
            None => part,
        };
        format!("{before}{label}{part}\n            ;;\n{after}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn no_name_of_a_value_breaks_a_script() {
        for command in crate::Cli::command().get_subcommands() {
            for name in command.get_arguments().filter_map(clap::Arg::get_value_names).flatten() {
                assert!(!name.contains([':', '\'', '"', '`', '$']), "{}: {name}", command.get_name());
            }
        }
    }

    #[test]
    fn files_are_known() {
        let command = hinted(crate::Cli::command());
        let hint = |name: &str, id: &str| {
            let command = command.find_subcommand(name).unwrap();
            let arg = command.get_arguments().find(|arg| arg.get_id() == id).unwrap();
            arg.get_value_hint()
        };
        for (command, arg) in [
            ("tail", "ca_file"),
            ("tail", "header_file"),
            ("run", "config"),
            ("replay", "file"),
            ("probe", "target"),
        ] {
            assert_eq!(hint(command, arg), ValueHint::FilePath, "{command} {arg}");
        }
        assert_eq!(hint("lab", "mode"), ValueHint::Other);
    }
}
