//! `--version`. `make fips` runs this test in a FIPS build.

use crate::stand::{command, run};

#[tokio::test(flavor = "multi_thread")]
async fn the_version_names_the_module_of_a_fips_build_and_nothing_else() {
    let shown = run(command("--version")).await.stdout;
    let version = concat!("videotoken ", env!("CARGO_PKG_VERSION"));
    if cfg!(feature = "fips") {
        let module = shown.strip_prefix(version).and_then(|rest| rest.strip_prefix(" (FIPS: AWS-LC FIPS "));
        assert!(module.is_some_and(|module| module.ends_with(")\n")), "{shown}");
    } else {
        assert_eq!(shown, format!("{version}\n"));
    }
}
