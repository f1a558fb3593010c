//! `make archive`: the tool with its manual pages and license.

use crate::TOOL;
use std::fs;
use std::path::Path;
use std::process::Command;
use testkit::stand::controlplane::repository;
use testkit::stand::process::Scratch;

fn archive(program: &Path, out: &Path) -> Vec<u8> {
    let made = Command::new("image/tool.sh")
        .current_dir(repository())
        .env("PROGRAM", program)
        .env("OUT", out)
        .env("SOURCE_DATE_EPOCH", "1790000000")
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let name = String::from_utf8(made.stdout).unwrap();
    fs::read(name.trim_end().strip_prefix("archive: ").unwrap()).unwrap()
}

#[test]
fn the_archive_has_program_pages_and_license_and_its_checksum_beside_it() {
    let folder = Scratch::new("vto-archive-").unwrap();
    // small, as the program is large
    let program = folder.write("program", &format!("#!/bin/sh\nexec {TOOL} \"$@\"\n")).unwrap();
    fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    let (one, two) = (folder.file("one"), folder.file("two"));
    assert!(archive(&program, &one) == archive(&program, &two), "two archives of one program differ");
    let shell = "sha256sum --quiet -c *.sha256 && tar -tzf *.tar.gz";
    let listed = Command::new("sh").args(["-c", shell]).current_dir(&one).output().unwrap();
    assert!(listed.status.success(), "{}", String::from_utf8_lossy(&listed.stderr));
    let listed = String::from_utf8(listed.stdout).unwrap();
    for file in ["/videotoken\n", "/LICENSE\n", "/man/man1/videotoken-issue.1\n", "/man/man1/kubectl-videotoken.1\n"] {
        assert!(listed.contains(file), "{file} isn't in\n{listed}");
    }
}
