//! Requests and signed tokens that a provider declares. The parts of the input are separated by zero bytes: the value of a
//! parameter, a template, and the choices of another template, which is made by grammar.
#![no_main]

use fuzz::{requests, templates};
use libfuzzer_sys::fuzz_target;
use std::thread;
use videotoken_core::plan::template::STACK;

fuzz_target!(|data: &[u8]| {
    let mut parts = data.splitn(3, |byte| *byte == 0);
    let mut part = || parts.next().unwrap_or_default();
    let [value, text] = [part(), part()].map(|part| String::from_utf8_lossy(part).into_owned());
    // the grammar is that of a Secret's templates, which have other variables
    let grammar = templates::template(part()).replace("previous_token", "a").replace("secret_name", "n");
    let work = || {
        requests::a_value_fills_its_place(&value);
        for template in [&text, &grammar] {
            requests::a_template_stays_in_its_place(template, &value);
            requests::a_claim_is_what_is_declared(template, &value);
            requests::a_text_is_what_is_declared(template, &value);
        }
    };
    // the operator's threads have as much
    thread::scope(|scope| {
        let thread = thread::Builder::new().stack_size(STACK).spawn_scoped(scope, work);
        thread.expect("a thread").join().expect("no panic");
    });
});
