//! Columns aligned for people.

use std::io;

use terminal_size::{Width, terminal_size_of};

use super::out::{self, Stop, readable};

/// Less room than this for the last column is not worth folding it.
const NARROWEST: usize = 12;
const GAP: usize = "  ".len();

/// Prints rows with every column but the last as wide as its widest cell. On a terminal the last column is folded
/// into what is left of the width.
pub(super) fn print(rows: &[Vec<String>]) -> Result<(), Stop> {
    let rows: Vec<Vec<String>> = rows.iter().map(|row| row.iter().map(|cell| flat(cell)).collect()).collect();
    let last = rows.iter().map(Vec::len).max().unwrap_or_default().saturating_sub(1);
    let widths: Vec<usize> = (0..last).map(|column| widest(&rows, column)).collect();
    let indent = widths.iter().fold(0_usize, |sum, width| sum.saturating_add(*width).saturating_add(GAP));
    let room = terminal_width().map(|width| width.saturating_sub(indent)).filter(|room| *room >= NARROWEST);
    let mut text = String::new();
    for row in &rows {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}  "));
        let head = cells.collect::<String>();
        let tail = row.get(last).map(String::as_str).unwrap_or_default();
        for (number, piece) in fold(tail, room).iter().enumerate() {
            let margin = if number == 0 { head.clone() } else { " ".repeat(indent) };
            text.push_str(format!("{margin}{piece}").trim_end());
            text.push('\n');
        }
    }
    out::bytes(text.as_bytes())
}

/// A cell is one line: line ends and tabs are written out.
fn flat(cell: &str) -> String {
    readable(cell).replace('\t', "\\t")
}

fn widest(rows: &[Vec<String>], column: usize) -> usize {
    rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or_default()
}

fn terminal_width() -> Option<usize> {
    terminal_size_of(io::stdout()).map(|(Width(width), _)| usize::from(width))
}

fn fold(text: &str, room: Option<usize>) -> Vec<String> {
    let characters: Vec<char> = text.chars().collect();
    match room {
        Some(room) if characters.len() > room => {
            characters.chunks(room).map(|piece| piece.iter().collect()).collect()
        }
        _ => vec![text.to_owned()],
    }
}
