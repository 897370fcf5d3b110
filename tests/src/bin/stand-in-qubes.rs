//! A stand-in for what other packages of Qubes OS run beside a domain: `qubesdb-daemon`, `qrexec-daemon` and
//! `qrexec-client`. Each records how it was started in a file below the root that it lies in; the daemons then listen until
//! they are ended or their root is gone, and that of QubesDB records what it is told. What the guest itself wrote there
//! stands in the file `/qubesdb.NAME`, an entry a line: `/key value`.
//!
//! The file `/stand-in` there may say `<status> <program>`: the next start of that program ends with that status.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    clippy::panic,
    clippy::zombie_processes,
    reason = "test code"
)]

use std::fs;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio, exit};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// Name under which a daemon goes on by itself.
const SERVE: &str = "serve";

fn record(root: &Path, log: &str, line: &str) {
    let mut log = fs::OpenOptions::new().create(true).append(true).open(root.join(log)).unwrap();
    log.write_all(format!("{line}\n").as_bytes()).unwrap();
}

/// Ends as the root's file `/stand-in` asks for, once, if it is about this program.
fn misbehave(root: &Path, program: &str) {
    let file = root.join("stand-in");
    let text = fs::read_to_string(&file).unwrap_or_default();
    if let Some((status, about)) = text.split_once(' ')
        && about == program
    {
        fs::remove_file(&file).unwrap();
        eprintln!("told to \u{1b}fail");
        exit(status.parse().unwrap());
    }
}

/// Starts ourselves again as the daemon that listens at `socket`, and waits until it does.
fn daemon(root: &Path, program: &str, socket: &str, name: &str) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.arg0(SERVE).arg(root).args([program, socket, name]);
    let streams = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = streams.process_group(0).spawn().unwrap();
    child.stdout.take().unwrap().read_exact(&mut [0]).unwrap();
}

/// Listens until the root is gone.
fn serve(root: PathBuf, program: &str, socket: &str, name: &str) {
    let path = root.join("run/qubes").join(socket);
    let _ = fs::remove_file(&path);
    let listener = UnixListener::bind(&path).unwrap();
    println!("r");
    while path.exists() {
        let waited =
            poll(&mut [PollFd::new(listener.as_fd(), PollFlags::POLLIN)], PollTimeout::from(500_u16));
        if waited.unwrap() > 0 {
            let (connection, _) = listener.accept().unwrap();
            if program == "qubesdb-daemon" {
                let (root, name) = (root.clone(), name.to_owned());
                std::thread::spawn(move || converse(&root, &name, connection));
            } else {
                std::mem::forget(connection);
            }
        }
    }
}

/// Answers each message of a conversation: records those that tell something.
fn converse(root: &Path, name: &str, mut connection: UnixStream) {
    let log = &format!("qubesdb.{name}.log");
    let mut head = [0; 72];
    while connection.read_exact(&mut head).is_ok() {
        let length = u32::from_ne_bytes(head[68..].try_into().unwrap());
        let mut value = vec![0; length as usize];
        connection.read_exact(&mut value).unwrap();
        let key = String::from_utf8(head[1..65].to_vec()).unwrap();
        let (key, value) = (key.trim_end_matches('\0'), String::from_utf8(value).unwrap());
        let answer = match head[0] {
            2 => {
                let written = fs::read_to_string(root.join(format!("qubesdb.{name}"))).unwrap_or_default();
                let entries = written.lines().filter_map(|line| line.split_once(' '));
                let below: Vec<_> = entries.filter(|(entry, _)| entry.starts_with(key)).collect();
                connection.write_all(&entries_of(&below)).unwrap();
                continue;
            }
            1 => {
                record(root, log, &format!("{key} = {value:?}"));
                7
            }
            4 => {
                record(root, log, &format!("{key} -"));
                8
            }
            5 => {
                let (root, name) = (root.to_path_buf(), name.to_owned());
                let listener = connection.try_clone().unwrap();
                std::thread::spawn(move || tell_of_changes(&root, &name, listener));
                7
            }
            _ => 9,
        };
        head[0] = answer;
        head[68..].fill(0);
        connection.write_all(&head).unwrap();
    }
}

/// Says that something changed each time the guest has written something else.
fn tell_of_changes(root: &Path, name: &str, mut listener: UnixStream) {
    let read = || fs::read(root.join(format!("qubesdb.{name}"))).unwrap_or_default();
    let mut told = Vec::new();
    loop {
        let written = read();
        if written != told && listener.write_all(&[vec![13], vec![0; 71]].concat()).is_err() {
            return;
        }
        told = written;
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

/// How QubesDB tells entries; the last has no key.
fn entries_of(entries: &[(&str, &str)]) -> Vec<u8> {
    let mut answer = Vec::new();
    for (key, value) in entries.iter().chain(&[("", "")]) {
        let mut head = vec![11];
        head.extend_from_slice(key.as_bytes());
        head.resize(68, 0);
        head.extend_from_slice(&u32::try_from(value.len()).unwrap().to_ne_bytes());
        answer.extend_from_slice(&head);
        answer.extend_from_slice(value.as_bytes());
    }
    answer
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if arguments[0] == SERVE {
        return serve(arguments[1].clone().into(), &arguments[2], &arguments[3], &arguments[4]);
    }
    let program = Path::new(&arguments[0]).file_name().unwrap().to_str().unwrap().to_owned();
    let root = Path::new(&arguments[0]).ancestors().nth(3).unwrap().to_path_buf();
    let mut line: Vec<String> = std::env::vars()
        .filter(|(name, _)| name.starts_with("QREXEC"))
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    line.extend_from_slice(&arguments[1..]);
    if program == "qrexec-client" {
        let mut input = String::new();
        std::io::stdin().read_to_string(&mut input).unwrap();
        line.push(format!("< {input:?}"));
    }
    record(&root, &format!("{program}.log"), &line.join(" "));
    misbehave(&root, &program);
    match program.as_str() {
        "qubesdb-daemon" => daemon(&root, &program, &format!("qubesdb.{}.sock", arguments[2]), &arguments[2]),
        "qrexec-daemon" => {
            let name = &arguments[arguments.len() - 2];
            daemon(&root, &program, &format!("qrexec.{name}"), name);
        }
        _ => {}
    }
}
