//! Where the program stands, as addresses: executables as installed carry neither names nor tables to unwind by.

use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::ptr;

use crate::files;

/// Most return addresses told, and how much of the stack is looked through for them, bytes.
const FRAMES: usize = 64;
const SPAN: usize = 65_536;
const WORD: usize = size_of::<usize>();

/// Numbered addresses inside the executable, newest first, one a line: every word on the stack that points into the
/// program's code. Some may be left over from calls that had already returned. `addr2line` finds their places in an
/// unstripped build of the same sources.
pub fn frames() -> String {
    let numbered = addresses().unwrap_or_default().into_iter().enumerate();
    numbered.map(|(number, address)| format!("{number:4}: {address:#x}\n")).collect()
}

fn addresses() -> Option<Vec<usize>> {
    let maps = String::from_utf8(files::read("/proc/self/maps".as_ref()).ok()?).ok()?;
    let mappings: Vec<Mapping<'_>> = maps.lines().filter_map(Mapping::parse).collect();
    let holding = |address: usize| mappings.iter().find(|mapping| mapping.range.contains(&address));
    let code = holding(frames as fn() -> String as usize)?;
    let start = mappings.iter().find(|mapping| mapping.file == code.file)?.range.start;
    let here = ptr::from_ref(&maps).addr();
    let above = here..holding(here)?.range.end.min(here.saturating_add(SPAN));
    let returns = words(above)?.into_iter().filter(|word| code.range.contains(word));
    Some(returns.map(|address| address.saturating_sub(start)).take(FRAMES).collect())
}

/// A line of the kernel's table of mappings.
struct Mapping<'a> {
    range: Range<usize>,
    file: &'a str,
}

impl<'a> Mapping<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let mut fields = line.splitn(6, ' ');
        let (start, end) = fields.next()?.split_once('-')?;
        let number = |text| usize::from_str_radix(text, 16).ok();
        Some(Self { range: number(start)?..number(end)?, file: fields.nth(4)?.trim_start() })
    }
}

/// The words of a part of our memory, which the kernel reads for us.
fn words(part: Range<usize>) -> Option<Vec<usize>> {
    let mut bytes = vec![0; part.len()];
    files::open("/proc/self/mem".as_ref())
        .ok()?
        .read_exact_at(&mut bytes, u64::try_from(part.start).ok()?)
        .ok()?;
    Some(bytes.chunks_exact(WORD).filter_map(|word| word.try_into().ok().map(usize::from_ne_bytes)).collect())
}
