//! What a backup will have, as a table for people (spec 40 §13).

use std::num::NonZeroU64;

use common::names::QubeName;

/// One qube of a backup.
pub(super) struct Line {
    pub(super) name: QubeName,
    pub(super) kind: &'static str,
    pub(super) size: u64,
    /// What is to be said of a qube that runs.
    pub(super) remark: &'static str,
}

/// Of a qube that runs.
pub(super) const RUNS: &str = " <-- The VM is running, backup will contain its state from before its start!";
/// Of one whose domain runs on the kept images themselves.
pub(super) const FAILS: &str =
    " <-- The VM is running and private volume snapshots are disabled. Backup will fail!";
const RULE: &str = "------------------+--------------+--------------+\n";

/// The table.
pub(super) fn table(lines: &[Line], left_out: &[QubeName]) -> String {
    let mut text = format!("{RULE}{}{RULE}", row("VM", "type", "size", ""));
    for Line { name, kind, size, remark } in lines {
        text.push_str(&row(name.as_str(), kind, &human(*size), remark));
    }
    let total = lines.iter().fold(0, |sum: u64, line| sum.saturating_add(line.size));
    text.push_str(&format!("{RULE}{:>17} |{:>28} |\n{RULE}", "Total size:", human(total)));
    text.push_str("VMs not selected for backup:\n");
    let names: Vec<&str> = left_out.iter().map(QubeName::as_str).collect();
    text.push_str(&format!(" - {}\n", names.join("\n - ")));
    text
}

fn row(name: &str, kind: &str, size: &str, remark: &str) -> String {
    format!("{name:>17} |{kind:>13} |{size:>13} |{remark}\n")
}

/// A size as people read it: with one decimal, rounded to the nearest, of two to the even one.
fn human(size: u64) -> String {
    const UNITS: [(&str, u64); 3] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    let Some((unit, bytes)) = UNITS.into_iter().find(|(_, bytes)| size >= *bytes) else {
        return size.to_string();
    };
    let unit_bytes = NonZeroU64::new(bytes).unwrap_or(NonZeroU64::MIN);
    let (whole, rest) = (size / unit_bytes, size % unit_bytes);
    let rest = rest.saturating_mul(10);
    let (tenths, twice) = (rest / unit_bytes, (rest % unit_bytes).saturating_mul(2));
    let is_up = twice > bytes || (twice == bytes && tenths % 2 == 1);
    let tenths = whole.saturating_mul(10).saturating_add(tenths).saturating_add(u64::from(is_up));
    format!("{}.{} {unit}", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::human;

    #[test]
    fn sizes_have_one_decimal_from_a_kibibyte_on() {
        for (size, text) in [
            (0, "0"),
            (1023, "1023"),
            (1024, "1.0 KiB"),
            (1280, "1.2 KiB"),
            (1281, "1.3 KiB"),
            (1792, "1.8 KiB"),
            ((1 << 20) - 1, "1024.0 KiB"),
            (1 << 20, "1.0 MiB"),
            (5 << 29, "2.5 GiB"),
            (1 << 43, "8192.0 GiB"),
        ] {
            assert_eq!(human(size), text);
        }
    }
}
