//! Driver `callback`: another driver, with the operator's commands around what it does (spec 20 §7.6).

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Map, Value};

use super::{Capacity, PoolDriver, Revision, Setting, Source, StorageError, driver, options, required};
use crate::model::{Pool, Volume};
use crate::root::Root;
use crate::{files, run};

pub(super) const DRIVER: &str = "callback";
const FILE: &str = "/etc/qubes_callback.json";
const SHELL: &str = "/bin/bash";
/// The operator's commands may have to wait for people or networks.
const DEADLINE: Duration = Duration::from_secs(600);
/// A line by which a command asks for the back end's setup.
const SETUP_SIGNAL: &str = "SIGNAL_setup";
/// The event after a clone.
const CLONED: &str = "post_volume_import";
const MARK_MODE: u32 = 0o660;

type Done<T = ()> = Result<T, StorageError>;

fn refused<T>(text: String) -> Done<T> {
    Err(StorageError::Refused(text))
}

/// A part of the configuration file: what one `conf_id` stands for.
pub struct Settings {
    id: String,
    all: Map<String, Value>,
}

impl Settings {
    fn read(root: &Root, id: &str) -> Done<Self> {
        let bytes =
            files::read(&root.path(FILE)).map_err(StorageError::io("reading the callback configuration"))?;
        Self::parse(&bytes, id)
    }

    /// The part of a file's content.
    ///
    /// # Errors
    /// [`StorageError::Refused`] with the specification's words.
    pub fn parse(bytes: &[u8], id: &str) -> Done<Self> {
        let Ok(Value::Object(mut file)) = serde_json::from_slice(bytes) else {
            return refused(format!("The file {FILE} is supposed to define a dict."));
        };
        match file.remove(id) {
            Some(Value::Object(all)) => Ok(Self { id: id.to_owned(), all }),
            _ => refused(format!("The specified conf_id {id} could not be found inside {FILE}.")),
        }
    }

    fn text(&self, key: &str) -> Option<&str> {
        self.all.get(key).and_then(Value::as_str).filter(|text| !text.is_empty())
    }

    /// The pool that does the work, under the name of ours.
    ///
    /// # Errors
    /// What is wrong with its driver or that driver's options.
    pub fn back_end(&self, pool: &Pool) -> Done<Pool> {
        let Some(name) = self.text("bdriver") else {
            return refused(format!("Missing bdriver for the conf_id {} inside {FILE}.", self.id));
        };
        let Some(back) = options::find(name).filter(|back| back.name != DRIVER) else {
            return refused(format!("The driver {name} was not found on your system."));
        };
        let given = self.all.get("bdriver_args").and_then(Value::as_object).into_iter().flatten();
        let given: Vec<(String, String)> = given.map(|(key, value)| (key.clone(), text_of(value))).collect();
        let missing = back.missing(&given);
        if !missing.is_empty() {
            return refused(format!("missing required driver options: {}", missing.join(" ")));
        }
        let settings =
            back.settings(&given).map_err(|failure| StorageError::Refused(failure.into_text().into()))?;
        Ok(Pool { name: pool.name.clone(), driver: name.to_owned(), settings })
    }

    /// The command of an event, and whether it is told what happens: one of its own is not.
    pub fn command(&self, event: &str) -> Option<(&str, bool)> {
        let own = self.text(event).map(|command| (command, false));
        own.or_else(|| self.text("cmd").map(|command| (command, true))).filter(|(command, _)| *command != "-")
    }

    fn is_late(&self) -> bool {
        self.text("pre_sinit").or_else(|| self.text("cmd")).is_some()
    }
}

/// A value as driver options have it.
fn text_of(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Bool(switch) => options::text_of(*switch),
        other => other.to_string(),
    }
}

/// The pool that does a pool's work: of a callback pool its back end, of any other itself.
///
/// # Errors
/// What is wrong with the configuration file.
pub(super) fn worker<'p>(root: &Root, pool: &'p Pool) -> Done<Cow<'p, Pool>> {
    if pool.driver != DRIVER {
        return Ok(Cow::Borrowed(pool));
    }
    Settings::read(root, &required(pool, "conf_id")?)?.back_end(pool).map(Cow::Owned)
}

/// The same where it may be asked without being made ready first; else none.
///
/// # Errors
/// As [`worker`].
pub(super) fn ready_worker<'p>(root: &Root, pool: &'p Pool) -> Done<Option<Cow<'p, Pool>>> {
    if pool.driver != DRIVER {
        return Ok(Some(Cow::Borrowed(pool)));
    }
    let settings = Settings::read(root, &required(pool, "conf_id")?)?;
    let back = settings.back_end(pool)?;
    Ok(is_ready(root, &settings, pool.name.as_str()).then_some(Cow::Owned(back)))
}

/// A file that tells, until the next boot, that a pool's storage was made ready.
fn mark(root: &Root, pool: &str) -> PathBuf {
    root.run().join(format!("callback-{pool}"))
}

fn is_ready(root: &Root, settings: &Settings, pool: &str) -> bool {
    !settings.is_late() || mark(root, pool).exists()
}

pub(super) struct Callback {
    root: Root,
    name: String,
    settings: Settings,
    back: Pool,
    inner: Box<dyn PoolDriver>,
}

/// A word of a shell command that means itself.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', "'\"'\"'"))
}

impl Callback {
    pub(super) fn of(root: &Root, pool: &Pool) -> Done<Self> {
        let settings = Settings::read(root, &required(pool, "conf_id")?)?;
        let back = settings.back_end(pool)?;
        let inner = driver(root, &back)?;
        Ok(Self { root: root.clone(), name: pool.name.as_str().to_owned(), settings, back, inner })
    }

    /// Runs an event's command, if it has one.
    fn run(&self, event: &str, details: &[&str]) -> Done {
        let Some((command, is_told)) = self.settings.command(event) else { return Ok(()) };
        let mut line = command.to_owned();
        if is_told {
            let all = serde_json::to_string_pretty(&self.settings.all).unwrap_or_default();
            let common = [&self.name, &self.back.driver, event, &self.settings.id, &all];
            for word in common.iter().chain(details) {
                line.push(' ');
                line.push_str(&quoted(word));
            }
        }
        let done = run::as_root(&self.root, SHELL, &["-c", &line], DEADLINE);
        let done = done.map_err(StorageError::io("running a callback"))?;
        if !done.is_success() {
            return refused(format!(
                "The callback {event} of pool {} ended with {}",
                self.name,
                done.status()
            ));
        }
        let may_signal = self.settings.all.get("signal_back").is_some_and(|value| text_of(value) == "True");
        if may_signal
            && done.output().split(|byte| *byte == b'\n').any(|line| line == SETUP_SIGNAL.as_bytes())
        {
            self.inner.set_up(&self.back)?;
        }
        Ok(())
    }

    /// Runs an event of a volume.
    fn of_volume(&self, event: &str, volume: &Volume, more: &[&str]) -> Done {
        let source = volume.source.as_deref().unwrap_or("None");
        self.run(event, &[&[volume.name.as_str(), &volume.vid, source], more].concat())
    }

    fn is_ready(&self) -> bool {
        is_ready(&self.root, &self.settings, &self.name)
    }

    /// The back end, made ready if this is the first use since boot.
    fn ready(&self) -> Done<&dyn PoolDriver> {
        if !self.is_ready() {
            self.run("pre_sinit", &[])?;
            let marked = files::replace(&mark(&self.root, &self.name), b"", MARK_MODE);
            marked.map_err(StorageError::io("noting that a pool is ready"))?;
        }
        Ok(&*self.inner)
    }

    /// What the back end says, or what can be said before it is ready.
    fn if_ready<T>(&self, ask: impl FnOnce(&dyn PoolDriver) -> Done<T>, otherwise: T) -> Done<T> {
        if self.is_ready() { ask(&*self.inner) } else { Ok(otherwise) }
    }
}

impl PoolDriver for Callback {
    fn can_hold(&self, volume: &Volume) -> Done {
        self.inner.can_hold(volume)
    }

    fn check_new(&self, volume: &Volume) -> Done {
        self.ready()?.check_new(volume)
    }

    fn check_setting(&self, setting: Setting) -> Done {
        self.inner.check_setting(setting)
    }

    fn create(&self, volume: &Volume) -> Done {
        let back = self.ready()?;
        self.of_volume("pre_volume_create", volume, &[])?;
        back.create(volume)?;
        self.of_volume("post_volume_create", volume, &[])
    }

    fn remove(&self, volume: &Volume) -> Done {
        self.ready()?.remove(volume)?;
        self.of_volume("post_volume_remove", volume, &[])
    }

    fn verify(&self, volume: &Volume) -> Done {
        self.ready()?.verify(volume)
    }

    fn start(&self, volume: &Volume) -> Done {
        let back = self.ready()?;
        self.of_volume("pre_volume_start", volume, &[])?;
        back.start(volume)?;
        self.of_volume("post_volume_start", volume, &[])
    }

    fn stop(&self, volume: &Volume) -> Done {
        self.ready()?.stop(volume)?;
        self.of_volume("post_volume_stop", volume, &[])
    }

    fn block_device(&self, volume: &Volume) -> Done<Option<PathBuf>> {
        self.if_ready(|back| back.block_device(volume), None)
    }

    fn mapping(&self, volume: &Volume) -> Option<String> {
        self.inner.mapping(volume)
    }

    fn path(&self, volume: &Volume) -> Option<PathBuf> {
        self.if_ready(|back| Ok(back.path(volume)), None).ok().flatten()
    }

    fn size(&self, volume: &Volume) -> Done<u64> {
        self.if_ready(|back| back.size(volume), volume.size)
    }

    fn usage(&self, volume: &Volume) -> Done<u64> {
        self.if_ready(|back| back.usage(volume), 0)
    }

    fn is_dirty(&self, volume: &Volume) -> Done<bool> {
        self.if_ready(|back| back.is_dirty(volume), false)
    }

    fn is_outdated(&self, volume: &Volume) -> Done<Option<bool>> {
        self.if_ready(|back| back.is_outdated(volume), Some(false))
    }

    fn revisions_to_keep(&self, volume: &Volume) -> i64 {
        self.inner.revisions_to_keep(volume)
    }

    fn revisions(&self, volume: &Volume) -> Done<Vec<Revision>> {
        self.ready()?.revisions(volume)
    }

    fn snapshot(&self, volume: &Volume) -> Done<String> {
        self.ready()?.snapshot(volume)
    }

    fn revert(&self, volume: &Volume, id: &str) -> Done {
        self.ready()?.revert(volume, id)
    }

    fn resize(&self, volume: &Volume, size: u64) -> Done {
        let back = self.ready()?;
        self.of_volume("pre_volume_resize", volume, &[&size.to_string()])?;
        back.resize(volume, size)
    }

    fn export(&self, volume: &Volume, running: bool) -> Done<PathBuf> {
        let back = self.ready()?;
        self.of_volume("pre_volume_export", volume, &[])?;
        back.export(volume, running)
    }

    fn export_end(&self, volume: &Volume, exported: &Path) -> Done {
        self.ready()?.export_end(volume, exported)?;
        self.of_volume("post_volume_export_end", volume, &[&exported.display().to_string()])
    }

    fn end_lost_exports(&self, volume: &Volume) -> Done {
        self.inner.end_lost_exports(volume)
    }

    fn keeps_exports(&self, volume: &Volume) -> bool {
        self.inner.keeps_exports(volume)
    }

    fn check_import(&self, volume: &Volume) -> Done {
        self.ready()?.check_import(volume)
    }

    fn import_resize(&self, volume: &Volume, size: u64) -> Done {
        self.ready()?.import_resize(volume, size)
    }

    fn has_import(&self, volume: &Volume) -> Done<bool> {
        self.ready()?.has_import(volume)
    }

    fn import_begin(&self, volume: &Volume, size: u64) -> Done<PathBuf> {
        let back = self.ready()?;
        self.of_volume("pre_volume_import_data", volume, &[&size.to_string()])?;
        back.import_begin(volume, size)
    }

    fn import_end(&self, volume: &Volume) -> Done {
        self.ready()?.import_end(volume)?;
        self.of_volume("post_volume_import_data_end", volume, &["True"])
    }

    fn tidy(&self, volume: &Volume) -> Done {
        self.ready()?.tidy(volume)
    }

    fn import_abort(&self, volume: &Volume) -> Done {
        self.ready()?.import_abort(volume)?;
        self.of_volume("post_volume_import_data_end", volume, &["False"])
    }

    /// The back end's own way, which has no other events than these two.
    fn clone_begin(&self, volume: &Volume, source: &Source<'_>) -> Done<bool> {
        let (back, vid) = (self.ready()?, &source.volume.vid);
        let pool = worker(&self.root, source.pool)?;
        self.of_volume("pre_volume_import", volume, &[vid])?;
        let has_room = back.clone_begin(volume, &Source { pool: &pool, ..*source })?;
        if !has_room {
            self.of_volume(CLONED, volume, &[vid])?;
        }
        Ok(has_room)
    }

    fn clone_end(&self, volume: &Volume, source: &str) -> Done {
        self.ready()?.clone_end(volume, source)?;
        self.of_volume(CLONED, volume, &[source])
    }

    fn clone_abort(&self, volume: &Volume) -> Done {
        self.ready()?.clone_abort(volume)
    }

    fn set_up(&self, _: &Pool) -> Done {
        // Another pool of that name, which is gone, may have been made ready.
        files::remove(&mark(&self.root, &self.name))
            .map_err(StorageError::io("noting that a pool is not ready"))?;
        self.run("pre_setup", &[])?;
        self.inner.set_up(&self.back)
    }

    fn holds(&self, vid: &str) -> Done<bool> {
        self.ready()?.holds(vid)
    }

    fn capacity(&self) -> Done<Capacity> {
        self.if_ready(|back| back.capacity(), Capacity::default())
    }

    fn volumes(&self) -> Done<Option<Vec<String>>> {
        self.ready()?.volumes()
    }
}
