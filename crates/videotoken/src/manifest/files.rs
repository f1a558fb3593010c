//! Reads a file, a directory or standard input (`-`).

use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

/// Largest file in bytes, so that a wrong path is not read completely.
const LARGEST: u64 = 16 * 1024 * 1024;

/// Extensions of the files that kubectl reads from a directory.
const EXTENSIONS: [&str; 3] = ["yaml", "yml", "json"];

/// Text of a file.
pub struct Text {
    /// Path as on the command line, or below the directory there; `-` for standard input.
    pub name: String,
    /// Content.
    pub text: String,
}

/// A file that can't be read.
#[derive(Debug, thiserror::Error)]
#[error("{name}: {error}")]
pub struct Unread {
    /// Path of the file.
    pub name: String,
    /// Cause.
    pub error: io::Error,
}

/// Reads each file, and from each directory the files that kubectl would read, sorted by name. `-` is standard input.
pub fn read_files(paths: &[PathBuf]) -> Result<Vec<Text>, Unread> {
    let mut texts = Vec::new();
    for path in paths {
        let unread = |error| Unread { name: path.display().to_string(), error };
        if path.as_os_str() == "-" {
            texts.push(Text { name: "-".to_owned(), text: bounded(io::stdin()).map_err(unread)? });
        } else if path.is_dir() {
            for file in within(path).map_err(unread)? {
                texts.push(read_file(&file)?);
            }
        } else {
            texts.push(read_file(path)?);
        }
    }
    Ok(texts)
}

fn within(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in folder.read_dir()? {
        let path = entry?.path();
        let taken = path.extension().is_some_and(|extension| EXTENSIONS.iter().any(|known| extension == *known));
        if taken && path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    if files.is_empty() {
        return Err(io::Error::new(
            io::ErrorKind::NotFound,
            "the directory has no file with the extension .yaml, .yml or .json",
        ));
    }
    Ok(files)
}

fn read_file(path: &Path) -> Result<Text, Unread> {
    let text = std::fs::File::open(path).and_then(bounded);
    let name = path.display().to_string();
    match text {
        Ok(text) => Ok(Text { name, text }),
        Err(error) => Err(Unread { name, error }),
    }
}

fn bounded(from: impl io::Read) -> io::Result<String> {
    let mut bytes = Vec::new();
    from.take(LARGEST + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LARGEST {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "the file is larger than 16 MiB"));
    }
    Ok(decoded(&bytes))
}

/// Decodes a file as kubectl does: UTF-8 or UTF-16 by its byte order mark, else UTF-8 in which invalid bytes become U+FFFD.
fn decoded(bytes: &[u8]) -> String {
    let units = |of: fn([u8; 2]) -> u16, rest: &[u8]| {
        let (pairs, odd) = rest.as_chunks::<2>();
        let units = pairs.iter().map(|pair| of(*pair));
        let text = char::decode_utf16(units).map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER));
        text.chain((!odd.is_empty()).then_some(char::REPLACEMENT_CHARACTER)).collect()
    };
    match bytes {
        [0xff, 0xfe, rest @ ..] => units(u16::from_le_bytes, rest),
        [0xfe, 0xff, rest @ ..] => units(u16::from_be_bytes, rest),
        [0xef, 0xbb, 0xbf, rest @ ..] | rest => String::from_utf8_lossy(rest).into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_decoded_by_its_byte_order_mark() {
        let utf16 = |bytes: fn(u16) -> [u8; 2], text: &str| text.encode_utf16().flat_map(bytes).collect::<Vec<_>>();
        let text = "a: \u{1f3a5} \u{fc}\n";
        let marked = format!("\u{feff}{text}");
        for (bytes, expected) in [
            (utf16(u16::to_le_bytes, &marked), text),
            (utf16(u16::to_be_bytes, &marked), text),
            (marked.as_bytes().to_vec(), text),
            (text.as_bytes().to_vec(), text),
            (b"a: b # caf\xe9\n".to_vec(), "a: b # caf\u{fffd}\n"),
            (b"\xff\xfea\0b".to_vec(), "a\u{fffd}"),
            (Vec::new(), ""),
        ] {
            assert_eq!(decoded(&bytes), expected, "{bytes:?}");
        }
    }
}
