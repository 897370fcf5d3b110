//! A simulated disk under the store: what is durable, what a power loss may leave, and errors on demand.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::rc::Rc;

use common::store::{Next, Vfs};

/// One file's content: as programs see it, and as the disk surely has it.
#[derive(Clone, Default)]
struct Inode {
    current: Rc<Vec<u8>>,
    durable: Option<Rc<Vec<u8>>>,
}

/// Changes of directory entries that take effect together: a name and its file, or no file.
type Group = Rc<[(Rc<Path>, Option<usize>)]>;

/// Names and contents of files.
pub type Content = BTreeMap<Rc<Path>, Rc<Vec<u8>>>;

/// Everything on the disk.
#[derive(Clone, Default)]
pub struct State {
    inodes: Vec<Inode>,
    current: BTreeMap<Rc<Path>, usize>,
    durable: BTreeMap<Rc<Path>, usize>,
    /// Changes of entries since their directory was last synced, in order.
    pending: Vec<Group>,
}

/// What may go wrong.
#[derive(Clone, Copy, Default)]
pub struct Plan {
    /// This sync (counted from 0) is silently not done.
    pub skipped_sync: Option<usize>,
    /// This operation (counted from 0) fails with the error number.
    pub failure: Option<(usize, i32)>,
    /// The program is killed before this operation (counted from 0): nothing it does from there on has an effect.
    pub kill: Option<usize>,
    /// There is no room for anything more.
    pub is_full: bool,
}

#[derive(Default)]
struct Inner {
    state: State,
    /// The disk after each operation.
    history: Vec<State>,
    plan: Plan,
    syncs: usize,
    operations: usize,
    hit: bool,
}

/// A disk that several stores can share.
#[derive(Clone, Default)]
pub struct SimDisk(Rc<RefCell<Inner>>);

impl SimDisk {
    /// A disk in a given state.
    pub fn of(state: State) -> Self {
        Self(Rc::new(RefCell::new(Inner { state, ..Inner::default() })))
    }

    /// From here on things go wrong as planned; counts begin at zero.
    pub fn plan(&self, plan: Plan) {
        let mut inner = self.0.borrow_mut();
        inner.plan = plan;
        inner.syncs = 0;
        inner.operations = 0;
        inner.hit = false;
        inner.history.clear();
    }

    /// Whether the planned thing happened.
    pub fn was_hit(&self) -> bool {
        self.0.borrow().hit
    }

    /// The disk now.
    pub fn state(&self) -> State {
        self.0.borrow().state.clone()
    }

    /// The disk after each operation since the plan was made.
    pub fn history(&self) -> Vec<State> {
        self.0.borrow().history.clone()
    }

    /// How many operations there were since the plan was made.
    pub fn operations(&self) -> usize {
        self.0.borrow().operations
    }

    /// Refuses what takes room, where there is none.
    fn take_room(&self, content: &[u8]) -> io::Result<()> {
        let is_refused = self.0.borrow().plan.is_full && !content.is_empty();
        if is_refused { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn act<T>(&self, change: impl FnOnce(&mut State) -> io::Result<T>) -> io::Result<T> {
        let mut inner = self.0.borrow_mut();
        let number = inner.operations;
        inner.operations += 1;
        if let Some((at, errno)) = inner.plan.failure
            && at == number
        {
            inner.hit = true;
            return Err(io::Error::from_raw_os_error(errno));
        }
        if inner.plan.kill.is_some_and(|at| at <= number) {
            inner.hit = true;
            return Err(io::ErrorKind::Other.into());
        }
        let result = change(&mut inner.state);
        let state = inner.state.clone();
        inner.history.push(state);
        result
    }

    /// Whether this sync is one to be done.
    fn syncs(&self) -> bool {
        let mut inner = self.0.borrow_mut();
        let number = inner.syncs;
        inner.syncs += 1;
        let skipped = inner.plan.skipped_sync == Some(number);
        inner.hit |= skipped;
        !skipped
    }
}

/// Does a group's changes to directory entries.
fn enter(entries: &mut BTreeMap<Rc<Path>, usize>, group: &Group) {
    for (path, inode) in group.iter() {
        match inode {
            Some(inode) => drop(entries.insert(Rc::clone(path), *inode)),
            None => drop(entries.remove(path)),
        }
    }
}

impl State {
    fn inode(&mut self, path: &Path) -> io::Result<&mut Inode> {
        let number = *self.current.get(path).ok_or(io::ErrorKind::NotFound)?;
        Ok(&mut self.inodes[number])
    }

    fn change_entries(&mut self, group: &[(&Path, Option<usize>)]) {
        let group: Group = group.iter().map(|(path, inode)| (Rc::from(*path), *inode)).collect();
        enter(&mut self.current, &group);
        self.pending.push(group);
    }

    /// Files as programs see them.
    pub fn content(&self) -> Content {
        let content = |inode: &usize| Rc::clone(&self.inodes[*inode].current);
        self.current.iter().map(|(path, inode)| (Rc::clone(path), content(inode))).collect()
    }

    /// Every state the disk below `kept` may be in after the power failed now; everything else is gone.
    pub fn after_power_loss(&self, kept: &Path) -> Vec<State> {
        let groups: Vec<&Group> = self
            .pending
            .iter()
            .filter(|group| group.iter().any(|(path, _)| path.starts_with(kept)))
            .collect();
        assert!(groups.len() <= 14, "too many unsynced changes to try all: {}", groups.len());
        let mut states = Vec::new();
        for chosen in 0..(1_u32 << groups.len()) {
            let mut entries = self.durable.clone();
            for (number, group) in groups.iter().enumerate() {
                if chosen & (1 << number) != 0 {
                    enter(&mut entries, group);
                }
            }
            entries.retain(|path, _| path.starts_with(kept));
            states.extend(self.with_torn_contents(&entries));
        }
        states
    }

    /// The states in which each unsynced file is empty, cut in the middle, or whole.
    fn with_torn_contents(&self, entries: &BTreeMap<Rc<Path>, usize>) -> Vec<State> {
        let unsynced: Vec<usize> = {
            let mut inodes: Vec<usize> = entries.values().copied().collect();
            inodes.sort_unstable();
            inodes.dedup();
            inodes.retain(|inode| self.inodes[*inode].durable.as_ref() != Some(&self.inodes[*inode].current));
            inodes
        };
        let variants = 3_usize.pow(u32::try_from(unsynced.len()).unwrap());
        (0..variants)
            .map(|variant| {
                let mut inodes = self.inodes.clone();
                let mut rest = variant;
                for number in &unsynced {
                    let inode = &mut inodes[*number];
                    let length = inode.current.len();
                    inode.current = match rest % 3 {
                        0 => inode.durable.clone().unwrap_or_default(),
                        1 => Rc::new(inode.current[..length / 2].to_vec()),
                        _ => inode.current.clone(),
                    };
                    rest /= 3;
                }
                for inode in &mut inodes {
                    inode.durable = Some(inode.current.clone());
                }
                State { inodes, current: entries.clone(), durable: entries.clone(), pending: Vec::new() }
            })
            .collect()
    }
}

impl Vfs for SimDisk {
    fn read(&self, path: &Path) -> io::Result<Option<Vec<u8>>> {
        self.act(|state| Ok(state.inode(path).ok().map(|inode| inode.current.to_vec())))
    }

    fn read_start(&self, path: &Path, most: usize) -> io::Result<Option<Vec<u8>>> {
        Ok(self.read(path)?.map(|mut content| {
            content.truncate(most);
            content
        }))
    }

    fn length(&self, path: &Path) -> io::Result<u64> {
        self.act(|state| Ok(state.inode(path).map_or(0, |inode| u64::try_from(inode.current.len()).unwrap())))
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        self.act(|state| Ok(state.current.contains_key(path) || path.is_dir()))
    }

    fn create(&self, path: &Path, content: &[u8], durable: bool) -> io::Result<()> {
        self.take_room(content)?;
        let synced = durable && self.syncs();
        self.act(|state| {
            let content = Rc::new(content.to_vec());
            let inode = Inode { durable: synced.then(|| Rc::clone(&content)), current: content };
            let number = state.inodes.len();
            state.inodes.push(inode);
            state.change_entries(&[(path, Some(number))]);
            Ok(())
        })
    }

    fn append(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        self.take_room(content)?;
        self.act(|state| {
            if state.inode(path).is_err() {
                let number = state.inodes.len();
                state.inodes.push(Inode::default());
                state.change_entries(&[(path, Some(number))]);
            }
            Rc::make_mut(&mut state.inode(path)?.current).extend_from_slice(content);
            Ok(())
        })
    }

    fn renew_start(&self, path: &Path, most: usize, next: Next<'_>) -> io::Result<()> {
        let Some(start) = self.read_start(path, most)? else { return Ok(()) };
        let Some(renewed) = next(&start) else { return Ok(()) };
        self.act(|state| {
            let file = Rc::make_mut(&mut state.inode(path)?.current);
            file[..renewed.len()].copy_from_slice(&renewed);
            Ok(())
        })
    }

    fn truncate(&self, path: &Path, length: u64) -> io::Result<()> {
        self.act(|state| {
            Rc::make_mut(&mut state.inode(path)?.current).truncate(usize::try_from(length).unwrap());
            Ok(())
        })
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.act(|state| {
            let inode = *state.current.get(from).ok_or(io::ErrorKind::NotFound)?;
            state.change_entries(&[(from, None), (to, Some(inode))]);
            Ok(())
        })
    }

    fn exchange(&self, one: &Path, other: &Path) -> io::Result<()> {
        self.act(|state| {
            let inode = |path: &Path| state.current.get(path).copied().ok_or(io::ErrorKind::NotFound);
            let exchanged = [(one, Some(inode(other)?)), (other, Some(inode(one)?))];
            state.change_entries(&exchanged);
            Ok(())
        })
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.act(|state| {
            if state.current.contains_key(path) {
                state.change_entries(&[(path, None)]);
            }
            Ok(())
        })
    }

    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        let synced = self.syncs();
        self.act(|state| {
            if synced {
                let (ours, others): (Vec<Group>, Vec<Group>) = std::mem::take(&mut state.pending)
                    .into_iter()
                    .partition(|group| group.iter().any(|(entry, _)| entry.parent() == Some(path)));
                state.pending = others;
                for group in ours {
                    enter(&mut state.durable, &group);
                }
            }
            Ok(())
        })
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        self.act(|state| {
            let here = state.current.keys().filter(|entry| entry.parent() == Some(path));
            Ok(here.filter_map(|entry| entry.file_name()?.to_str().map(str::to_owned)).collect())
        })
    }

    fn make_directory(&self, path: &Path) -> io::Result<()> {
        std::fs::create_dir_all(path)
    }
}
