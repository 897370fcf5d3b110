//! One executable for all targets: `FUZZ_TARGET` names the one of `tests::checks` that is fed; without it, it lists them.
#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use tests::checks::Target;

static TARGET: OnceLock<Target> = OnceLock::new();

fn choose() {
    let Some(name) = std::env::var_os("FUZZ_TARGET") else {
        Target::all().for_each(|target| println!("{}", target.name()));
        std::process::exit(0);
    };
    let known = name.to_str().and_then(Target::named).expect("FUZZ_TARGET names no target");
    TARGET.get_or_init(|| known);
}

fuzz_target!(init: choose(), |bytes: &[u8]| if let Some(target) = TARGET.get() {
    target.check(bytes);
});
