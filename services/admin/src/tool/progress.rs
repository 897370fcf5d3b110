//! How far a transfer is: one line on the terminal, written over as it goes on. Without a terminal there is none.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use terminal_size::{Width, terminal_size_of};

/// How often the line is written at most.
const PAUSE: Duration = Duration::from_millis(100);
const WIDEST_BAR: usize = 40;
const NARROWEST_BAR: usize = 8;
/// What a terminal that does not tell is taken for.
const USUAL_WIDTH: usize = 80;

/// The line.
pub(super) struct Progress {
    started: Instant,
    shown: Option<Instant>,
    last: (u64, u64),
}

/// Whether there is a terminal for it.
pub(super) fn is_wanted() -> bool {
    io::stderr().is_terminal()
}

impl Progress {
    pub(super) fn new() -> Self {
        Self { started: Instant::now(), shown: None, last: (0, 0) }
    }

    /// Shows that so many bytes of so many are done, unless that was shown just now.
    pub(super) fn show(&mut self, done: u64, total: u64) {
        self.last = (done.min(total), total);
        if is_wanted() && self.shown.is_none_or(|shown| shown.elapsed() >= PAUSE) {
            self.shown = Some(Instant::now());
            self.draw();
        }
    }

    /// Leaves the line as it is at the end; what comes next stands below it.
    pub(super) fn end(self) {
        if self.shown.is_some() {
            self.draw();
            let _ = writeln!(io::stderr());
        }
    }

    /// The last column stays free: some terminals begin a new line there.
    fn draw(&self) {
        let width = terminal_size_of(io::stderr()).map_or(USUAL_WIDTH, |(Width(width), _)| width.into());
        let width = width.saturating_sub(1);
        let (done, total) = self.last;
        let text = line(done, total, self.started.elapsed(), width);
        let _ = write!(io::stderr(), "\r{text:<width$}");
    }
}

/// Share, bar, amounts, speed and time left, in at most `width` columns.
fn line(done: u64, total: u64, elapsed: Duration, width: usize) -> String {
    let share = if total == 0 { 1.0 } else { done as f64 / total as f64 };
    let speed = done as f64 / elapsed.as_secs_f64().max(0.001);
    let left = total.saturating_sub(done) as f64 / speed;
    let head = format!("{:>3.0}%", (share * 100.0).floor());
    let amounts = format!("{} of {}", bytes(done as f64), bytes(total as f64));
    let tail = format!("  {amounts}  {}/s  {} left", bytes(speed), time(left));
    let mut text =
        [head.as_str(), &bar(share, width.saturating_sub(head.len()).saturating_sub(tail.len())), &tail]
            .concat();
    text.truncate(width);
    text
}

/// A bar in so many columns, if they are enough for one.
fn bar(share: f64, room: usize) -> String {
    let length = room.saturating_sub(" []".len()).min(WIDEST_BAR);
    if length < NARROWEST_BAR {
        return String::new();
    }
    let full = (share * length as f64) as usize;
    format!(" [{:<length$}]", "#".repeat(full))
}

/// A number of bytes in the largest unit of which there is at least one.
pub(super) fn bytes(count: f64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    let mut shown = (count, "B");
    for unit in UNITS {
        if shown.0 < 1024.0 {
            break;
        }
        shown = (shown.0 / 1024.0, unit);
    }
    let digits = if shown.1 == "B" || shown.0 >= 100.0 { 0 } else { 1 };
    format!("{:.digits$} {}", shown.0, shown.1)
}

/// Seconds as a clock shows them; nothing to wait for in sight shows none.
fn time(seconds: f64) -> String {
    if !seconds.is_finite() {
        return "-:--".to_owned();
    }
    let seconds = seconds.ceil() as u64;
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if hours > 0 { format!("{hours}:{minutes:02}:{seconds:02}") } else { format!("{minutes}:{seconds:02}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    #[test]
    fn a_line_tells_share_amounts_speed_and_time_left() {
        let shown = |done, width| line(done, 4 * GIB, Duration::from_secs(8), width);
        assert_eq!(
            shown(GIB, 79),
            " 25% [#######                       ]  1.0 GiB of 4.0 GiB  128 MiB/s  0:24 left"
        );
        assert_eq!(shown(4 * GIB, 50), "100%  4.0 GiB of 4.0 GiB  512 MiB/s  0:00 left");
        assert_eq!(shown(0, 60), "  0% [                   ]  0 B of 4.0 GiB  0 B/s  -:-- left");
        assert_eq!(shown(GIB, 20), " 25%  1.0 GiB of 4.0");
        assert_eq!(line(0, 0, Duration::ZERO, 0), "");
    }

    #[test]
    fn amounts_and_times_are_readable_at_every_size() {
        let told = [0.0, 1023.0, 1024.0, 150.0 * 1024.0, 1e12, 1e30].map(bytes);
        assert_eq!(told[..4], ["0 B", "1023 B", "1.0 KiB", "150 KiB"]);
        assert_eq!(told[4], "931 GiB");
        assert!(told[5].ends_with(" PiB"));
        assert_eq!(
            [0.0, 59.2, 3_599.0, 3_600.0, f64::NAN].map(time),
            ["0:00", "1:00", "59:59", "1:00:00", "-:--"]
        );
    }
}
