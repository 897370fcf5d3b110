//! The content of replies, for people and for programs.

use serde_json::{Map, Value, json};

use super::{out, table};

/// The structure of a method's content, if it has one.
pub(super) fn structure(method: &str, content: &str) -> Option<Value> {
    match method {
        "admin.vm.List" => Some(content.lines().map(qube).collect()),
        "admin.vm.CurrentState" => Some(words(content).into()),
        "admin.vm.property.Get"
        | "admin.property.Get"
        | "admin.vm.property.GetDefault"
        | "admin.property.GetDefault" => Some(property(content)),
        "admin.vm.property.GetAll" | "admin.property.GetAll" => Some(properties(content)),
        _ if method.ends_with(".List") => Some(content.lines().collect()),
        _ => None,
    }
}

fn words(text: &str) -> Map<String, Value> {
    let pairs = text.split(' ').filter_map(|word| word.split_once('='));
    pairs.map(|(key, value)| (key.to_owned(), json!(value))).collect()
}

fn qube(line: &str) -> Value {
    let (name, rest) = line.split_once(' ').unwrap_or((line, ""));
    let mut fields = words(rest);
    fields.insert("name".to_owned(), json!(name));
    fields.into()
}

/// `[default=… ]type=… VALUE`; the value takes the JSON form of its type.
fn property(text: &str) -> Value {
    let (head, value) = match text.strip_prefix("default=") {
        Some(_) => {
            let mut parts = text.splitn(3, ' ');
            let head = [parts.next(), parts.next()].into_iter().flatten().collect::<Vec<_>>().join(" ");
            (head, parts.next().unwrap_or_default())
        }
        None => text.split_once(' ').map_or((text.to_owned(), ""), |(head, value)| (head.to_owned(), value)),
    };
    let mut fields = words(&head);
    let typed = match fields.get("type").and_then(Value::as_str) {
        Some("bool") => json!(value == "True"),
        Some("int") => value.parse::<i64>().map_or(Value::Null, |number| json!(number)),
        Some("vm" | "label") if value.is_empty() => Value::Null,
        _ => json!(value),
    };
    if let Some(default) = fields.get_mut("default") {
        *default = json!(*default == json!("True"));
    }
    fields.insert("value".to_owned(), typed);
    fields.into()
}

fn properties(content: &str) -> Value {
    let line = |line: &str| {
        let (name, rest) = line.split_once(' ')?;
        Some((name.to_owned(), property(&unescape(rest))))
    };
    content.lines().filter_map(line).collect::<Map<_, _>>().into()
}

/// Undoes the escaping of bulk reads: `\\` and `\n`.
fn unescape(text: &str) -> String {
    let mut out = String::new();
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match (character, character == '\\') {
            (_, false) => out.push(character),
            (_, true) => out.push(if characters.next() == Some('n') { '\n' } else { '\\' }),
        }
    }
    out
}

/// Prints list-like content as an aligned table; anything else as it is.
pub(super) fn print_for_people(method: &str, content: &str) {
    let columns = match method {
        "admin.vm.List" | "admin.vm.CurrentState" => usize::MAX,
        "admin.vm.property.GetAll" | "admin.property.GetAll" => 4,
        _ => {
            out::bytes(content.as_bytes());
            if !content.is_empty() && !content.ends_with('\n') {
                out::line("");
            }
            return;
        }
    };
    let rows: Vec<Vec<String>> =
        content.lines().map(|line| line.splitn(columns, ' ').map(str::to_owned).collect()).collect();
    table::print(&rows);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_take_the_form_of_their_type() {
        let get = |text: &str| structure("admin.vm.property.Get", text).unwrap();
        assert_eq!(get("default=True type=int 2"), json!({"default": true, "type": "int", "value": 2}));
        assert_eq!(get("default=False type=vm "), json!({"default": false, "type": "vm", "value": null}));
        let all = structure("admin.property.GetAll", "a default=True type=str x\\ny\\\\z\n").unwrap();
        assert_eq!(all["a"]["value"], json!("x\ny\\z"));
        let list = structure("admin.vm.List", "work class=AppVM state=Halted uuid=1\n").unwrap();
        assert_eq!(list, json!([{"name": "work", "class": "AppVM", "state": "Halted", "uuid": "1"}]));
    }
}
