//! A question that somebody at the terminal has to say yes to.

use std::io::{self, BufRead, IsTerminal, Write};

use super::out::Stop;

/// Asks, where there is somebody to ask: without a terminal the answer is yes.
pub(super) fn is_wanted(question: &str) -> Result<bool, Stop> {
    if !io::stdin().is_terminal() {
        return Ok(true);
    }
    let failed = |error: io::Error| Stop::from(format!("asking whether to begin: {error}"));
    write!(io::stderr(), "{question} [y/N] ").map_err(failed)?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer).map_err(failed)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
