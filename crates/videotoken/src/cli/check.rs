//! `videotoken check -f FILE…`: reports what the API server and the operator would reject.

use super::print;
use crate::check::{Finding, Kinds, RejectedBy, Report, Verdict, check, check_secrets};
use crate::manifest::{Manifest, Object, Path, ReadError, SourceLocation, read, read_files};
use clap::{Args, ValueEnum};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

/// Manifests to check.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
#[command(
    after_help = "Exit codes: 0: no findings; 1: the API server or the operator would reject an object; 2: invalid arguments, or a file can't be read or written."
)]
pub struct Options {
    /// File or directory with manifests, or - for standard input; repeatable
    #[arg(short = 'f', long = "filename", value_name = "FILE", required = true, num_args = 1..)]
    pub files: Vec<PathBuf>,

    /// Output format
    #[arg(short, long, value_name = "FORMAT", value_enum, default_value_t = Format::Text)]
    pub output: Format,
}

/// Output format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// One line `FILE:LINE:COLUMN: FIELD: MESSAGE` for each finding.
    Text,
    /// One JSON object.
    Json,
}

/// Checks the manifests and prints the findings. The exit code is 0 without findings, 1 with findings, and 2 if a file can't
/// be read.
pub fn run(options: &Options) -> ExitCode {
    let texts = match read_files(&options.files) {
        Ok(texts) => texts,
        Err(unread) => {
            let _ = writeln!(io::stderr(), "error: {unread}");
            return ExitCode::from(2);
        }
    };
    let mut all = Manifest::default();
    let mut faults = Vec::new();
    for text in &texts {
        let mut manifest = read(text);
        all.objects.append(&mut manifest.objects);
        faults.extend(manifest.faults.into_iter().map(|fault| (text.name.as_str(), fault)));
    }
    for text in texts.iter().filter(|text| text.name == "-" && text.text.trim_ascii().is_empty()) {
        // the previous command of the pipeline has written nothing
        let message = "standard input is empty".to_owned();
        faults.push((text.name.as_str(), ReadError { place: SourceLocation { line: 1, column: 1 }, message }));
    }
    for object in all.objects.iter().filter(|object| object.kind().starts_with("ENC[")) {
        let message = "the manifest is encrypted with SOPS. Check the output of `sops --decrypt`.".to_owned();
        faults.push((&object.file, ReadError { place: object.place(&Path::default().field("kind")), message }));
    }
    let mut report = check(&Kinds::default(), &all.objects);
    check_secrets(&all.objects, &mut report);
    let written = match options.output {
        Format::Text => as_text(&all.objects, &faults, &report),
        Format::Json => format!("{:#}\n", as_json(&all.objects, &faults, &report)),
    };
    let good = faults.is_empty() && report.findings.is_empty();
    if let Err(error) = print(&written) {
        let _ = writeln!(io::stderr(), "error: {error}");
        return ExitCode::from(2);
    }
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Returns a finding as one line, in the form that editors read.
pub(super) fn line(object: &Object, finding: &Finding) -> String {
    let by = match finding.rejected_by {
        RejectedBy::ApiServer => "",
        RejectedBy::Operator => " (rejected by the operator)",
        RejectedBy::Nobody => " (hint)",
    };
    let field = if finding.field.is_empty() { String::new() } else { format!("{}: ", finding.field) };
    let place = finding.place;
    format!("{}:{}:{}: {field}{}{by}", object.file, place.line, place.column, finding.message)
}

/// Returns a read error as one line.
pub(super) fn fault_line(file: &str, fault: &ReadError) -> String {
    format!("{file}:{}:{}: {}", fault.place.line, fault.place.column, fault.message)
}

fn as_text(objects: &[Object], faults: &[(&str, ReadError)], report: &Report) -> String {
    let mut text = String::new();
    for (file, fault) in faults {
        let _ = writeln!(text, "{}", fault_line(file, fault));
    }
    for finding in report.findings.iter().chain(&report.hints) {
        let _ = writeln!(text, "{}", line(&objects[finding.object], finding));
    }
    let Counts { good, refused, skipped } = Counts::from_report(report);
    let findings = match faults.len() + report.findings.len() {
        1 => "1 finding".to_owned(),
        many => format!("{many} findings"),
    };
    let _ = writeln!(text, "{findings}; {good} good, {refused} rejected, {skipped} of other kinds skipped");
    text
}

fn as_json(objects: &[Object], faults: &[(&str, ReadError)], report: &Report) -> Value {
    let faults = faults.iter().map(|(file, fault)| {
        json!({"file": file, "line": fault.place.line, "column": fault.place.column, "message": fault.message})
    });
    let of_report = |finding: &Finding| {
        let object = &objects[finding.object];
        let by = match finding.rejected_by {
            RejectedBy::ApiServer => "apiServer".into(),
            RejectedBy::Operator => "operator".into(),
            RejectedBy::Nobody => Value::Null,
        };
        json!({
            "file": &*object.file, "line": finding.place.line, "column": finding.place.column, "field": finding.field,
            "message": finding.message, "refusedBy": by, "kind": object.kind(), "namespace": object.namespace(),
            "name": object.name(),
        })
    };
    let findings = report.findings.iter().map(of_report);
    let hints = report.hints.iter().map(of_report);
    let counts = Counts::from_report(report);
    json!({
        "findings": faults.chain(findings).collect::<Vec<_>>(), "hints": hints.collect::<Vec<_>>(),
        "good": counts.good, "refused": counts.refused, "skipped": counts.skipped,
    })
}

/// Number of objects with each result.
#[derive(Default)]
struct Counts {
    good: usize,
    refused: usize,
    skipped: usize,
}

impl Counts {
    fn from_report(report: &Report) -> Self {
        let mut counts = Self::default();
        for verdict in &report.verdicts {
            match verdict {
                Verdict::Good(_) => counts.good += 1,
                Verdict::Refused => counts.refused += 1,
                Verdict::Skipped => counts.skipped += 1,
            }
        }
        counts
    }
}
