//! What stand-ins for programs do instead of a command when they are asked to.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::exit;

/// Does what the root's file `/stand-in` asks for, once, if it is about this command and no earlier one is left:
/// `<fault> <command> <number>` has the command (`any` is all) after that many of them fail as `fail` does, die, print rubbish,
/// half of a list or a megabyte, hang with its number in `/hanging`, or wait until the pipe `/hold` was opened and closed.
pub(crate) fn misbehave(root: &Path, command: &str, fail: fn(&str) -> !) {
    let file = root.join("stand-in");
    let Ok(text) = fs::read_to_string(&file) else { return };
    let [fault, about, earlier] = text.split(' ').collect::<Vec<_>>()[..] else { return };
    let earlier: u32 = earlier.parse().unwrap();
    if about != command && about != "any" {
        return;
    } else if let Some(left) = earlier.checked_sub(1) {
        return fs::write(&file, format!("{fault} {about} {left}")).unwrap();
    }
    fs::remove_file(&file).unwrap();
    match fault {
        "wait" => return drop(fs::read(root.join("hold")).unwrap()),
        "die" => std::process::abort(),
        "fail" => fail("no space left % \u{1b}[31m in thin pool"),
        "hang" => hang(root),
        "rubbish" => print!("\u{0}\u{1b}rubbish {{"),
        "half" => print!("tank/vms\t-\t4096\t1\toff\t-\t-\ntank/vms/new/priv"),
        _ => print!("{}", "y".repeat(1 << 20)),
    }
    let _ = std::io::stdout().flush();
    exit(0)
}

fn hang(root: &Path) -> ! {
    fs::write(root.join("hanging.new"), std::process::id().to_string()).unwrap();
    fs::rename(root.join("hanging.new"), root.join("hanging")).unwrap();
    loop {
        std::thread::park();
    }
}
