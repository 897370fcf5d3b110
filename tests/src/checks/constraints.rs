//! Files of constraints: what is read prints and reads back to itself, and nothing keeps the next table from being read.

use services::constraints::Constraints;
use services::constraints::reader::{Entry, Table, Value, read};

/// A table that stands behind whatever there is.
const LAST: &str = "\n[[constraint]]\ncallers = [\"mgmt\"]\ntag = []\n";

pub(super) fn check(bytes: &[u8]) {
    let tables = read(bytes);
    assert!(tables.iter().all(|table| table.entries.iter().all(|entry| entry.line >= table.line)));
    let printed: String = tables.iter().map(print).collect();
    let again = read(printed.as_bytes());
    assert!(again.iter().all(|table| table.error.is_none()), "{printed}");
    assert!(tables.iter().map(without_lines).eq(again.iter().map(without_lines)), "{printed}");
    let text = |text: &Table| text.error.map(|error| error.text);
    let longer = read(&[bytes, LAST.as_bytes()].concat());
    if !matches!(longer.first().and_then(text), Some("not UTF-8" | "a control character")) {
        let last = longer.last().unwrap();
        assert_eq!(
            (last.error, without_lines(last)),
            (None, without_lines(read(LAST.as_bytes()).last().unwrap()))
        );
    }
    Constraints::of("f", bytes).problems(&["admin.vm.List"]);
}

fn without_lines(table: &Table) -> Vec<(Vec<String>, Value)> {
    table.entries.iter().map(|Entry { key, value, .. }| (key.clone(), value.clone())).collect()
}

fn print(table: &Table) -> String {
    let quoted = |text: &String| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
    let line = |entry: &Entry| {
        let key: Vec<String> = entry.key.iter().map(quoted).collect();
        let value = match &entry.value {
            Value::Texts(texts) => format!("[{}]", texts.iter().map(quoted).collect::<Vec<_>>().join(", ")),
            Value::Number(number) => number.to_string(),
        };
        format!("{} = {value}\n", key.join("."))
    };
    format!("[[constraint]]\n{}", table.entries.iter().map(line).collect::<String>())
}
