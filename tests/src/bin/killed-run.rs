//! Stands in the place of `qubes-backup`: runs the real one, beside it under the name `qubes-backup-itself`, and kills the first
//! run of a backup after a number was written to the file `stop`, at that stop. The file `met` tells then whether it came so far.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::panic, reason = "test code")]

use std::os::unix::process::CommandExt;
use std::process::Command;

use tests::stepper::kill_in_place;

fn main() {
    let folder = std::env::current_exe().unwrap().parent().unwrap().to_owned();
    let mut command = Command::new(folder.join("qubes-backup-itself"));
    command.args(std::env::args_os().skip(1));
    let is_run = std::env::args_os().nth(1).is_some_and(|word| word == "run");
    let stop = folder.join("stop");
    let number = std::fs::read_to_string(&stop).ok().filter(|_| is_run);
    let Some(number) = number else { panic!("{}", command.exec()) };
    std::fs::remove_file(&stop).unwrap();
    let met = kill_in_place(command, number.parse().unwrap());
    std::fs::write(folder.join("met"), met.to_string()).unwrap();
}
