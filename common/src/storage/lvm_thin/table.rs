//! What `lvs` reports: one row per logical volume, in its order.

use serde::Deserialize;

use crate::storage::number;

/// The columns asked for.
pub(super) const COLUMNS: &str =
    "vg_name,pool_lv,name,lv_size,data_percent,lv_attr,origin,lv_metadata_size,metadata_percent";

/// All logical volumes.
#[derive(Debug, Default)]
pub struct Table(Vec<Row>);

/// One logical volume. Sizes are bytes.
#[derive(Debug, PartialEq, Eq)]
pub struct Row {
    /// `<group>/<name>`.
    pub name: String,
    /// All bytes.
    pub size: u64,
    /// Those that hold data.
    pub usage: u64,
    /// Name of the thin pool it lies in, without the group.
    pub pool: String,
    /// Letters that tell kind and state.
    pub attributes: String,
    /// Name of the volume it is a snapshot of, without the group.
    pub origin: String,
    /// Size and usage of a thin pool's metadata; the usage may be unknown.
    pub metadata: (u64, Option<u64>),
}

impl Row {
    /// Whether somebody has its device open: a domain, or dom0 for its own.
    pub(super) fn is_open(&self) -> bool {
        self.attributes.as_bytes().get(5) == Some(&b'o')
    }
}

#[derive(Deserialize)]
struct Report {
    report: Vec<Section>,
}

#[derive(Deserialize)]
struct Section {
    lv: Vec<Raw>,
}

#[derive(Deserialize)]
struct Raw {
    #[serde(default)]
    vg_name: String,
    #[serde(default)]
    lv_name: String,
    #[serde(default)]
    pool_lv: String,
    #[serde(default)]
    lv_size: String,
    #[serde(default)]
    data_percent: String,
    #[serde(default)]
    lv_attr: String,
    #[serde(default)]
    origin: String,
    #[serde(default)]
    lv_metadata_size: String,
    #[serde(default)]
    metadata_percent: String,
}

impl Table {
    /// Reads a report; rows without group, name or size are left out. None if it is no report.
    pub fn parse(json: &[u8]) -> Option<Self> {
        let report: Report = serde_json::from_slice(json).ok()?;
        let section = report.report.into_iter().next()?;
        Some(Self(section.lv.into_iter().filter_map(row).collect()))
    }

    /// The volume of that whole name.
    pub fn find(&self, name: &str) -> Option<&Row> {
        self.0.iter().find(|row| row.name == name)
    }

    /// Whether there is one.
    pub(super) fn has(&self, name: &str) -> bool {
        self.find(name).is_some()
    }

    /// All volumes in the order of the report.
    pub fn rows(&self) -> impl Iterator<Item = &Row> {
        self.0.iter()
    }
}

fn row(raw: Raw) -> Option<Row> {
    if [&raw.vg_name, &raw.lv_name].iter().any(|name| name.is_empty() || name.contains('/')) {
        return None;
    }
    let size = bytes(&raw.lv_size)?;
    let metadata = bytes(&raw.lv_metadata_size).unwrap_or_default();
    Some(Row {
        name: format!("{}/{}", raw.vg_name, raw.lv_name),
        size,
        usage: part_of(size, &raw.data_percent).unwrap_or_default(),
        pool: raw.pool_lv,
        attributes: raw.lv_attr,
        origin: raw.origin,
        metadata: (metadata, part_of(metadata, &raw.metadata_percent)),
    })
}

/// `<number>B`.
fn bytes(text: &str) -> Option<u64> {
    number(text.strip_suffix('B')?)
}

/// A share in percent with up to two decimals, truncated to whole bytes.
fn part_of(size: u64, percent: &str) -> Option<u64> {
    let (whole, decimals) = percent.split_once('.').unwrap_or((percent, ""));
    let digits = format!("{decimals:0<2}");
    let decimals = digits.get(..2).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))?;
    let hundredths = number(whole)?.checked_mul(100)?.checked_add(decimals.parse().ok()?)?;
    let part = u128::from(size).checked_mul(hundredths.into())?.checked_div(10_000)?;
    u64::try_from(part).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_becomes_rows() {
        let json = br#"{"report": [{"lv": [
            {"vg_name": "g", "pool_lv": "", "lv_name": "pool", "lv_size": "1000B", "data_percent": "12.50",
             "lv_attr": "twi-aotz--", "origin": "", "lv_metadata_size": "100B", "metadata_percent": "7.1"},
            {"vg_name": "g", "pool_lv": "pool", "lv_name": "vm-a-root", "lv_size": "50B", "data_percent": "",
             "lv_attr": "Vwi-a-tz--", "origin": "x", "lv_metadata_size": "", "metadata_percent": ""},
            {"vg_name": "g", "lv_name": "no-size", "lv_size": ""}, {"vg_name": "", "lv_name": "", "lv_size": "1B"}
        ]}]}"#;
        let table = Table::parse(json).unwrap();
        assert_eq!(table.rows().count(), 2);
        let pool = table.find("g/pool").unwrap();
        assert_eq!((pool.size, pool.usage, pool.metadata), (1000, 125, (100, Some(7))));
        let volume = table.find("g/vm-a-root").unwrap();
        assert_eq!((volume.usage, volume.origin.as_str(), volume.metadata), (0, "x", (0, None)));
    }

    #[test]
    fn rubbish_is_no_report() {
        for text in ["", "{}", "[]", r#"{"report": []}"#, r#"{"report": [{"lv": 5}]}"#, "\u{0}\u{ff}"] {
            assert!(Table::parse(text.as_bytes()).is_none(), "{text}");
        }
        for percent in ["x", "-1", "1.x", ""] {
            assert_eq!(part_of(100, percent), None, "{percent}");
        }
    }
}
