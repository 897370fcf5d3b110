//! Stand-ins for the parts of other packages that accompany domains.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::mpsc::{Receiver, channel};

use crate::{Fixture, executables};

/// Puts the stand-ins in the place of QubesDB's and qrexec's programs.
pub fn install(fixture: &Fixture) {
    for program in ["/usr/sbin/qubesdb-daemon", "/usr/sbin/qrexec-daemon", "/usr/bin/qrexec-client"] {
        let program = fixture.path(program);
        std::fs::create_dir_all(program.parent().unwrap()).unwrap();
        std::os::unix::fs::symlink(executables::executable("stand-in-qubes"), program).unwrap();
    }
}

/// Has the next start of a program end with that status.
pub fn spoil(fixture: &Fixture, status: i32, program: &str) {
    std::fs::write(fixture.path("/stand-in"), format!("{status} {program}")).unwrap();
}

/// The lines of a stand-in's record since the last time: how a program was started, or, for `qubesdb.NAME`, what the
/// database of that qube was told.
pub fn recorded(fixture: &Fixture, what: &str) -> Vec<String> {
    let log = fixture.path(&format!("/{what}.log"));
    let text = std::fs::read_to_string(&log).unwrap_or_default();
    let _ = std::fs::remove_file(log);
    text.lines().map(str::to_owned).collect()
}

/// A stand-in for a qube's QubesDB that gives each request this answer and then closes.
pub fn database(fixture: &Fixture, qube: &str, answer: Vec<u8>) {
    let socket = fixture.path(&format!("/run/qubes/qubesdb.{qube}.sock"));
    std::fs::create_dir_all(socket.parent().unwrap()).unwrap();
    let _ = std::fs::remove_file(&socket);
    let listener = UnixListener::bind(socket).unwrap();
    std::thread::spawn(move || {
        while let Ok((mut connection, _)) = listener.accept() {
            if connection.read_exact(&mut [0; 72]).is_ok() {
                let _ = connection.write_all(&answer);
            }
        }
    });
}

/// What a running qube has written into the stand-in for its QubesDB.
pub fn show(fixture: &Fixture, qube: &str, entries: &[(&str, &str)]) {
    let lines: String = entries.iter().map(|(key, value)| format!("{key} {value}\n")).collect();
    let (new, file) = (fixture.path("/qubesdb.new"), fixture.path(&format!("/qubesdb.{qube}")));
    // At once: half of it would be another change.
    std::fs::write(&new, lines).and_then(|()| std::fs::rename(&new, file)).unwrap();
}

/// How QubesDB tells entries: each with its key and its value, then one without.
pub fn entries(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let mut answer = Vec::new();
    for (key, value) in entries.iter().chain(&[("", &b""[..])]) {
        let mut head = vec![11];
        head.extend_from_slice(key.as_bytes());
        head.resize(68, 0);
        head.extend_from_slice(&u32::try_from(value.len()).unwrap().to_ne_bytes());
        answer.extend_from_slice(&head);
        answer.extend_from_slice(value);
    }
    answer
}

/// A stand-in for the memory daemon: gives each request this answer, and tells of each request and each end of one.
pub fn memory_daemon(fixture: &Fixture, answer: &'static str) -> Receiver<String> {
    let socket = fixture.path("/run/qubes/qmemman.sock");
    let listener = UnixListener::bind(Path::new(&socket)).unwrap();
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        while let Ok((mut connection, _)) = listener.accept() {
            let mut lines = BufReader::new(connection.try_clone().unwrap());
            let mut request = String::new();
            lines.read_line(&mut request).unwrap();
            let _ = sender.send(request.trim_end().to_owned());
            connection.write_all(answer.as_bytes()).unwrap();
            let _ = lines.read_line(&mut request);
            let _ = sender.send("released".to_owned());
        }
    });
    receiver
}
