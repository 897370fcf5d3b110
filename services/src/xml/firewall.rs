//! Firewall rules as XML: `firewall.xml` of existing systems, which our `qubes.xml` holds inside its domains (spec 30 §10).

use common::names::Rule;

use super::Writer;

/// The root element.
pub const ELEMENT: &str = "firewall";

/// Properties of a rule in the order of today's writer.
const PROPERTIES: [&str; 8] =
    ["action", "comment", "expire", "dsthost", "proto", "specialtarget", "dstports", "icmptype"];

/// A whole file.
pub fn text(rules: &[Rule]) -> String {
    let mut out = Writer::default();
    write(&mut out, rules);
    out.into_text()
}

/// Writes rules as an element.
pub(super) fn write(out: &mut Writer, rules: &[Rule]) {
    out.open(ELEMENT, &[("version", "2")]);
    out.section("rules", &[], !rules.is_empty(), |out| {
        for rule in rules {
            out.open("rule", &[]);
            out.open("properties", &[]);
            for name in PROPERTIES {
                if let Some(value) = rule.option(name) {
                    out.leaf("property", &[("name", name)], value);
                }
            }
            out.close("properties");
            out.close("rule");
        }
    });
    out.close(ELEMENT);
}
