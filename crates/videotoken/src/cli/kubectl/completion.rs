//! `completion`: scripts for shells, and the completions that kubectl requests from a plugin.

use super::error::CliError;
use super::output::show;
use super::session::{Cluster, Session};
use super::{PROGRAM, Program};
use clap::{ArgAction, Args, Command, CommandFactory as _, Parser as _, ValueEnum};
use clap_complete::Shell;
use kube::api::ListParams;
use std::ffi::OsString;
use std::process::ExitCode;
use std::time::Duration;

/// Shell of the script.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub(super) struct Options {
    /// Shell
    #[arg(value_enum)]
    shell: Kind,
}

#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Bash,
    Zsh,
    Fish,
}

/// Prints the script.
pub(super) fn run(options: &Options) -> Result<(), CliError> {
    let shell = match options.shell {
        Kind::Bash => Shell::Bash,
        Kind::Zsh => Shell::Zsh,
        Kind::Fish => Shell::Fish,
    };
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Program::command(), PROGRAM, &mut script);
    show(&String::from_utf8_lossy(&script))
}

/// Timeout of a completion that needs the cluster.
const CLUSTER_TIMEOUT: Duration = Duration::from_secs(2);

/// Maximum number of completed names.
const MAX_NAMES: u32 = 500;

/// Prints completions for kubectl, which runs `kubectl_complete-videotoken` with all words after the plugin's name. The last
/// word is the one to complete. Each candidate is one line, followed by cobra's directive 4: no files.
#[tokio::main(flavor = "current_thread")]
pub(in crate::cli) async fn complete(words: &[OsString]) -> ExitCode {
    let words: Vec<String> = words.iter().map(|word| word.to_string_lossy().into_owned()).collect();
    let mut root = Program::command();
    root.build();
    let found = match candidates(&root, &words) {
        Candidates::Words(found) => found,
        // without a cluster there are no names
        Candidates::Names => {
            tokio::time::timeout(CLUSTER_TIMEOUT, names(&words)).await.ok().flatten().unwrap_or_default()
        }
    };
    let begun = words.last().map_or("", String::as_str);
    let lines = found.iter().filter(|word| word.starts_with(begun)).map(|word| format!("{word}\n"));
    let _ = show(&(lines.collect::<String>() + ":4\n"));
    ExitCode::SUCCESS
}

/// Candidates for the last word.
#[derive(Debug, PartialEq, Eq)]
enum Candidates {
    Words(Vec<String>),
    /// Names of VideoAccessTokens.
    Names,
}

fn candidates(root: &Command, words: &[String]) -> Candidates {
    let Some((last, before)) = words.split_last() else { return Candidates::Words(Vec::new()) };
    let mut command = root;
    let mut value_of = None;
    for word in before {
        if value_of.take().is_some() {
            continue;
        }
        value_of = option(command, word);
        if let Some(next) = command.find_subcommand(word) {
            command = next;
        }
    }
    let shown =
        |values: Vec<clap::builder::PossibleValue>| values.iter().map(|value| value.get_name().to_owned()).collect();
    if let Some(option) = value_of {
        return Candidates::Words(shown(option.get_possible_values()));
    }
    if last.starts_with('-') {
        let flags = command.get_arguments().filter_map(|argument| argument.get_long());
        return Candidates::Words(flags.map(|flag| format!("--{flag}")).collect());
    }
    let names: Vec<String> = command.get_subcommands().map(|next| next.get_name().to_owned()).collect();
    if !names.is_empty() {
        return Candidates::Words(names);
    }
    match command.get_positionals().next() {
        Some(argument) if !argument.get_possible_values().is_empty() => {
            Candidates::Words(shown(argument.get_possible_values()))
        }
        Some(_) => Candidates::Names,
        None => Candidates::Words(Vec::new()),
    }
}

/// Returns the option of `word`, if its value is the next word.
fn option<'a>(command: &'a Command, word: &str) -> Option<&'a clap::Arg> {
    let (long, short) = (word.strip_prefix("--"), word.strip_prefix('-').and_then(|rest| rest.chars().next()));
    let is = |argument: &&clap::Arg| match long {
        Some(long) => argument.get_long() == Some(long),
        None => word.chars().count() == 2 && argument.get_short() == short,
    };
    let takes = |argument: &&clap::Arg| matches!(argument.get_action(), ArgAction::Set | ArgAction::Append);
    command.get_arguments().filter(|argument| !argument.is_positional()).find(is).filter(takes)
}

/// The flags that select the cluster.
#[derive(Debug, clap::Parser)]
#[command(disable_help_flag = true)]
struct ClusterFlags {
    #[command(flatten)]
    cluster: Cluster,
}

/// Returns the flags of [`ClusterFlags`] among `words`.
fn cluster_flags(words: &[String]) -> Option<Cluster> {
    const FLAGS: [&str; 4] = ["-n", "--namespace", "--context", "--kubeconfig"];
    let mut flags = vec![PROGRAM.to_owned()];
    let mut words = words.iter();
    while let Some(word) = words.next() {
        if FLAGS.contains(&word.as_str()) {
            flags.extend([word.clone(), words.next()?.clone()]);
        } else if FLAGS.iter().any(|flag| word.starts_with(&format!("{flag}="))) {
            flags.push(word.clone());
        }
    }
    ClusterFlags::try_parse_from(flags).ok().map(|cluster_flags| cluster_flags.cluster)
}

async fn names(words: &[String]) -> Option<Vec<String>> {
    let session = Session::open(&cluster_flags(words)?).await.ok()?;
    let list = session.tokens().list_metadata(&ListParams::default().limit(MAX_NAMES)).await.ok()?;
    Some(list.items.into_iter().filter_map(|object| object.metadata.name).collect())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn commands_flags_values_and_names_are_offered_where_they_may_stand() {
        let mut root = Program::command();
        root.build();
        let ask = |words: &[&str]| candidates(&root, &words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>());
        let offers = |words: &[&str], expected: &str| match ask(words) {
            Candidates::Words(found) => found.iter().any(|word| word == expected),
            Candidates::Names => false,
        };
        assert!(offers(&[""], "status") && offers(&["-n", "cinema", "st"], "status"));
        assert!(offers(&["status", "--"], "--watch") && offers(&["status", "--"], "--namespace"));
        assert!(offers(&["status", "-o", ""], "yaml") && offers(&["status", "--output", ""], "wide"));
        assert!(offers(&["completion", ""], "fish"));
        for words in [&["describe", ""][..], &["renew", "lobby", "--wait", ""], &["status", "-n", "cinema", "lo"]] {
            assert_eq!(ask(words), Candidates::Names, "{words:?}");
        }
        assert_eq!(ask(&["status", "-n", ""]), Candidates::Words(Vec::new()));
    }

    #[test]
    fn the_flags_select_the_cluster() {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let flags_of = |list: &[&str]| format!("{:?}", cluster_flags(&words(list)));
        assert!(flags_of(&["describe", "-n", "cinema", "--context=arc", ""]).contains("cinema"));
        assert!(flags_of(&["describe", "-n", "cinema", "--context=arc", ""]).contains("arc"));
        assert_eq!(cluster_flags(&words(&["describe", "-n"])), None);
    }
}
