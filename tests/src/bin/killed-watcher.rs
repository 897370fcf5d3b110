//! Stands in the place of `qubes-domain`: runs the real one, beside it under the name `qubes-domain-itself`, and kills the
//! first that is started after a number was written to the file `stop`, at that stop. The file `met` tells then whether it came so far.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::panic, reason = "test code")]

use std::os::unix::process::CommandExt;
use std::process::Command;

use tests::stepper::{Trouble, run};

fn main() {
    let folder = std::env::current_exe().unwrap().parent().unwrap().to_owned();
    let mut command = Command::new(folder.join("qubes-domain-itself"));
    command.args(std::env::args_os().skip(1));
    let stop = folder.join("stop");
    let Ok(number) = std::fs::read_to_string(&stop) else { panic!("{}", command.exec()) };
    std::fs::remove_file(&stop).unwrap();
    let met = run(command, Trouble::Kill(number.parse().unwrap())).met;
    std::fs::write(folder.join("met.new"), met.to_string()).unwrap();
    std::fs::rename(folder.join("met.new"), folder.join("met")).unwrap();
}
