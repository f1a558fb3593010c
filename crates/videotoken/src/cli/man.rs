//! `videotoken man`: manual pages, generated from the texts of `--help`.

use super::kubectl::Program;
use super::{Cli, Failure, print};
use clap::{Args, CommandFactory as _, ValueEnum};
use std::path::PathBuf;

/// Pages to print or write.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Program
    #[arg(value_enum, default_value_t = Page::Videotoken)]
    page: Page,

    /// Write the pages of all commands of both programs into this directory
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
enum Page {
    Videotoken,
    KubectlVideotoken,
}

/// Prints one page, or writes all pages.
pub(super) fn run(options: &Options) -> Result<(), Failure> {
    if let Some(dir) = &options.dir {
        let written = std::fs::create_dir_all(dir)
            .and_then(|()| clap_mangen::generate_to(Cli::command(), dir))
            .and_then(|()| clap_mangen::generate_to(Program::command(), dir));
        return written.map_err(|error| format!("--dir {}: {error}", dir.display()).into());
    }
    let command = match options.page {
        Page::Videotoken => Cli::command(),
        Page::KubectlVideotoken => Program::command(),
    };
    let mut page = Vec::new();
    clap_mangen::Man::new(command).render(&mut page)?;
    print(&String::from_utf8_lossy(&page))
}
