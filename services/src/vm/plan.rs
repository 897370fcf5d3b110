//! A qube about to be made: everything that is decided before its first file is written.

use std::collections::BTreeSet;
use std::rc::Rc;

use common::autostart;
use common::call::no_such_domain;
use common::event::Event;
use common::failure::{Exception, Failure};
use common::model::{Class, Pools, Qube, Value, Volume};
use common::names::{FeatureName, FeatureValue, LabelName, QubeName, QubeUuid, TagName, VolumeName};
use common::random;
use common::root::Root;
use common::storage::{self, Layout, unfinished};
use common::store::{Store, Txn, View};
use common::upload::Upload;

use super::make::{Purpose, Wish};
use super::remove::{DISPID_BLOCKED, now};
use crate::property::{self, Context};
use crate::{creator, label, preload, tag};

/// Persistent numbers that may be given out.
const QIDS: std::ops::RangeInclusive<u16> = 1..=9999;
/// How many numbers there are for disposables.
const DISPIDS: u64 = 10_000;

/// The qube as it will be, and where its volumes go.
pub(super) struct Plan {
    qube: Qube,
    template: Option<Rc<Qube>>,
    /// The template's private volume, if ours is to be filled from it.
    private: Option<Volume>,
    pools: Rc<Pools>,
    purpose: Purpose,
    /// What moving volumes into the asked pools was refused with; told only after the qube was announced.
    moved: Result<(), Failure>,
}

impl Plan {
    /// Decides everything (rows 17 to 24).
    pub(super) fn make(view: &View<'_>, context: &Context<'_>, wish: &Wish) -> Result<Self, Failure> {
        let name = &wish.name;
        if view.exists(name)? {
            return Err(Failure::new(
                Exception::QubesVMAlreadyExistsError,
                format!("Qube already exists: {name}"),
            ));
        }
        let asked = asked_template(view, wish)?;
        let label = label_of(view, wish)?;
        check_pools(view, wish)?;
        let template = effective_template(view, wish, asked)?;
        let mut qube = new_qube(view, wish, label, template.as_deref())?;
        follow_system(view, context, &mut qube)?;
        if let (Class::DispVM, Some(template)) = (qube.class, &template) {
            copy_from_template(&mut qube, template);
        }
        let pools = view.pools()?;
        let moved = define_volumes(view, context, &mut qube, wish, &pools)?;
        let private = private_of_windows(&mut qube, template.as_deref())?;
        Ok(Self { qube, template, private, pools, purpose: wish.purpose, moved })
    }

    /// Refuses where its volumes cannot be made, or may be somebody's already.
    pub(super) fn check_files(&self, root: &Root) -> Result<(), Failure> {
        self.moved.clone()?;
        Ok(storage::check_new(root, &self.pools, &self.qube)?)
    }

    /// Makes the home directory and the volumes; a record tells of them until the qube is in the store.
    pub(super) fn make_files(
        &mut self,
        store: &Store,
        context: &Context<'_>,
        wish: &Wish,
    ) -> Result<(), Failure> {
        self.check_files(context.root)?;
        unfinished::begin(store, context.root, &self.qube, &self.pools)?;
        storage::create_all(context.root, &self.pools, &self.qube)?;
        self.fill_private(store, context)?;
        if let Some(image) = &wish.image {
            self.fill_root(context.root, image)?;
        }
        self.enable_unit(context.root)
    }

    fn fill_private(&self, store: &Store, context: &Context<'_>) -> Result<(), Failure> {
        let (Some(source), Some(template)) = (&self.private, &self.template) else { return Ok(()) };
        let _lifecycle = store.lock_lifecycle(&template.name)?;
        let own = self.qube.volume(&source.name);
        Ok(own.map_or(Ok(()), |own| storage::clone_volume(context.root, &self.pools, own, source))?)
    }

    /// As large as the image is. The empty volume that it takes the place of is no old state.
    fn fill_root(&mut self, root: &Root, image: &Upload) -> Result<(), Failure> {
        let Some(volume) = root_of(&mut self.qube) else { return Ok(()) };
        let new = Volume { revisions_to_keep: volume.revisions_to_keep.min(0), ..volume.clone() };
        volume.size = storage::import_stream(root, &self.pools, &new, image)?;
        Ok(())
    }

    fn starts_at_boot(&self) -> bool {
        self.qube.properties.get("autostart").is_some_and(Value::is_true)
    }

    /// A disposable may have `autostart` from its template.
    fn enable_unit(&self, root: &Root) -> Result<(), Failure> {
        if self.starts_at_boot() && !autostart::enable(root, &self.qube.name) {
            let text = "Failed to set autostart for VM in systemd";
            return Err(Failure::new(Exception::QubesException, text));
        }
        Ok(())
    }

    /// The plan made anew, now that nobody else changes anything, so that it has numbers and copies of this moment.
    /// Refuses if the files made for the first one do not fit it.
    pub(super) fn confirmed(
        &self,
        txn: &Txn<'_>,
        context: &Context<'_>,
        wish: &Wish,
    ) -> Result<Self, Failure> {
        let mut again = Self::make(txn, context, wish)?;
        again.qube.uuid = self.uuid();
        if wish.image.is_some() {
            again.follow_image(self);
        }
        let fits = again.qube.volumes == self.qube.volumes
            && again.private == self.private
            && again.pools.pools == self.pools.pools
            && again.starts_at_boot() == self.starts_at_boot();
        let text = "What the qube is made from changed meanwhile, try again";
        if fits { Ok(again) } else { Err(Failure::new(Exception::QubesException, text)) }
    }

    /// Takes over the size that the root volume got from its image.
    fn follow_image(&mut self, filled: &Self) {
        let size = filled.qube.volumes.iter().find(|volume| is_root(volume)).map(|volume| volume.size);
        if let (Some(volume), Some(size)) = (root_of(&mut self.qube), size) {
            volume.size = size;
        }
    }

    /// The new qube's UUID.
    pub(super) fn uuid(&self) -> QubeUuid {
        self.qube.uuid.clone()
    }

    /// Adds the qube with its events (steps 6 to 8).
    pub(super) fn insert(
        &self,
        txn: &mut Txn<'_>,
        context: &Context<'_>,
        caller: &QubeName,
    ) -> Result<(), Failure> {
        self.appear(txn)?;
        let marked = match self.purpose {
            Purpose::Named => {
                tag_creator(txn, context, &self.qube.name, caller).map(|()| self.announce_files(txn))
            }
            Purpose::Use(_) => {
                self.announce_files(txn);
                tag_handed_out(txn, context, &self.qube.name, caller)
            }
            Purpose::LaterUse(_) => self.enlist(txn).map(|()| self.announce_files(txn)),
        };
        if marked.is_err() {
            self.announce_end(txn);
        }
        marked
    }

    fn appear(&self, txn: &mut Txn<'_>) -> Result<(), Failure> {
        txn.insert_qube(self.qube.clone())?;
        txn.event(Event::system("domain-add").with("vm", self.qube.name.as_str()));
        Ok(())
    }

    fn announce_files(&self, txn: &mut Txn<'_>) {
        if self.qube.class.is_qubes_vm() {
            txn.event(Event::on(&self.qube.name, "domain-create-on-disk"));
        }
    }

    fn enlist(&self, txn: &mut Txn<'_>) -> Result<(), Failure> {
        let name = self.template.as_ref().map(|template| &template.name);
        let template = name.map_or(Ok(None), |name| txn.qube(name))?;
        template.map_or(Ok(()), |template| preload::enlist(txn, &self.qube.name, &template))
    }

    /// What listeners see of a qube whose volumes could not be made: it comes and goes.
    pub(super) fn announce_failure(
        &self,
        txn: &mut Txn<'_>,
        context: &Context<'_>,
        caller: &QubeName,
    ) -> Result<(), Failure> {
        self.appear(txn)?;
        let tagged = match self.purpose {
            Purpose::Named => tag_creator(txn, context, &self.qube.name, caller),
            _ => Ok(()),
        };
        self.announce_end(txn);
        tagged
    }

    fn announce_end(&self, txn: &mut Txn<'_>) {
        for event in ["domain-pre-delete", "domain-delete"] {
            txn.event(Event::system(event).with("vm", self.qube.name.as_str()));
        }
    }
}

fn tag_creator(
    txn: &mut Txn<'_>,
    context: &Context<'_>,
    name: &QubeName,
    caller: &QubeName,
) -> Result<(), Failure> {
    let creator = creator::tag_of(caller)?;
    if tag::add(txn, name, &creator)? {
        creator::follow_tag(txn, context, name, &creator)?;
    }
    Ok(())
}

/// Gives a disposable the tags that name who asked for it.
///
/// # Errors
/// Those of the tags, and of what the creator's tag asks for.
pub fn tag_handed_out(
    txn: &mut Txn<'_>,
    context: &Context<'_>,
    name: &QubeName,
    caller: &QubeName,
) -> Result<(), Failure> {
    tag_creator(txn, context, name, caller)?;
    tag::add(txn, name, &TagName::parse(&format!("disp-created-by-{caller}"))?).map(drop)
}

fn is_root(volume: &Volume) -> bool {
    volume.name.as_str() == "root"
}

fn root_of(qube: &mut Qube) -> Option<&mut Volume> {
    qube.volumes.iter_mut().find(|volume| is_root(volume))
}

fn asked_template(view: &View<'_>, wish: &Wish) -> Result<Option<Rc<Qube>>, Failure> {
    let Some(text) = &wish.template else { return Ok(None) };
    let found = match text.as_str().strip_prefix("uuid:") {
        Some(uuid) => match QubeUuid::parse(uuid) {
            Ok(uuid) => view.name_of_uuid(&uuid)?.map_or(Ok(None), |name| view.qube(&name))?,
            Err(_) => None,
        },
        None => view.qube_named(text.as_str())?,
    };
    found.map(Some).ok_or_else(|| no_such_domain(text.as_str()))
}

/// The asked label's own name: a text such as `0_1` finds a label by its number.
fn label_of(view: &View<'_>, wish: &Wish) -> Result<Option<LabelName>, Failure> {
    let Some(asked) = &wish.label else { return Ok(None) };
    let labels = view.labels()?;
    let found = labels.find(asked.0.as_str()).map(|label| label.name.clone());
    found.map(Some).ok_or_else(|| label::not_found("untrusted label"))
}

fn check_pools(view: &View<'_>, wish: &Wish) -> Result<(), Failure> {
    let pools = view.pools()?;
    let mut asked = wish.pool.iter().chain(wish.pools.iter().map(|(_, pool)| pool));
    match asked.rfind(|pool| pools.find(pool).is_none()) {
        Some(unknown) => {
            Err(Failure::new(Exception::QubesException, format!("Unknown storage pool {unknown}")))
        }
        None => Ok(()),
    }
}

/// The template a qube of the asked class gets, if the class has one (rows 20 to 23).
fn effective_template(
    view: &View<'_>,
    wish: &Wish,
    asked: Option<Rc<Qube>>,
) -> Result<Option<Rc<Qube>>, Failure> {
    match wish.class {
        Class::AdminVM => {
            let text = "property 'qid' on AdminVM instance cannot be set";
            Err(Failure::new(Exception::QubesPropertyValueError, text))
        }
        Class::AppVM => template_of_appvm(or_default(view, asked, "default_template")?).map(Some),
        Class::DispVM => template_of_dispvm(or_default(view, asked, "default_dispvm")?).map(Some),
        _ => Ok(None),
    }
}

fn or_default(view: &View<'_>, asked: Option<Rc<Qube>>, global: &str) -> Result<Rc<Qube>, Failure> {
    let system = view.system()?;
    let default = system.properties.get(global).and_then(Value::as_text);
    let default = default.map_or(Ok(None), |name| view.qube_named(name))?;
    asked.or(default).ok_or_else(|| {
        let text = "Template for the qube not specified, nor default template set.";
        Failure::new(Exception::QubesValueError, text)
    })
}

fn template_of_appvm(template: Rc<Qube>) -> Result<Rc<Qube>, Failure> {
    if template.class == Class::TemplateVM {
        return Ok(template);
    }
    let (name, class) = (&template.name, template.class.as_str());
    let text = format!("wrong VM class: domains['{name}'] is of type {class} and not TemplateVM");
    Err(Failure::new(Exception::QubesPropertyValueError, text))
}

pub(super) fn is_template_of_disposables(qube: &Qube) -> bool {
    qube.properties.get("template_for_dispvms").is_some_and(Value::is_true)
}

fn template_of_dispvm(template: Rc<Qube>) -> Result<Rc<Qube>, Failure> {
    if is_template_of_disposables(&template) {
        return Ok(template);
    }
    let name = &template.name;
    let text =
        format!("template for disposable ({name}) needs to be an AppVM with template_for_dispvms=True");
    Err(Failure::new(Exception::QubesValueError, text))
}

/// Steps 1 and 2: numbers, UUID, and the properties given.
fn new_qube(
    view: &View<'_>,
    wish: &Wish,
    label: Option<LabelName>,
    template: Option<&Qube>,
) -> Result<Qube, Failure> {
    let name = wish.name.clone();
    let mut qube = Qube::new(name, wish.class, free_qid(view)?, QubeUuid::random());
    if let Some(label) = label {
        qube.properties.insert("label".to_owned(), Value::Text(label.into()));
    }
    if let Some(template) = template {
        let template = Value::Text(template.name.as_str().to_owned());
        qube.properties.insert("template".to_owned(), template);
    }
    if wish.class == Class::DispVM {
        let dispid = wish.purpose.dispid().map_or_else(|| free_dispid(view), Ok)?;
        qube.properties.insert("dispid".to_owned(), Value::Int(i64::from(dispid)));
    }
    if wish.purpose != Purpose::Named {
        qube.properties.insert("auto_cleanup".to_owned(), Value::Bool(true));
    }
    Ok(qube)
}

fn free_qid(view: &View<'_>) -> Result<u16, Failure> {
    let index = view.index()?;
    let mut taken = BTreeSet::new();
    taken.extend(index.entries().iter().map(|entry| entry.qid()));
    let free = QIDS.into_iter().find(|qid| !taken.contains(qid));
    free.ok_or_else(|| Failure::new(Exception::QubesException, "No free qid"))
}

/// A random number that may be given to a disposable.
pub(super) fn free_dispid(view: &View<'_>) -> Result<u16, Failure> {
    let taken = taken_dispids(view)?;
    let start = random::below(DISPIDS);
    let candidates = (start..DISPIDS).chain(0..start).filter_map(|number| u16::try_from(number).ok());
    let free = candidates.into_iter().find(|number| !taken.contains(number));
    free.ok_or_else(|| Failure::new(Exception::QubesException, "No free dispid"))
}

/// The numbers that some qube has, is named after, or had in the last week.
pub(super) fn taken_dispids(view: &View<'_>) -> Result<BTreeSet<u16>, Failure> {
    let (index, system) = (view.index()?, view.system()?);
    let now = now();
    let blocked =
        system.blocked_dispids.iter().filter(|(_, removed)| now.saturating_sub(**removed) < DISPID_BLOCKED);
    let mut taken = BTreeSet::new();
    taken.extend(blocked.map(|(dispid, _)| *dispid));
    for entry in index.entries() {
        taken.extend(entry.dispid());
        taken.extend(entry.name().strip_prefix("disp").and_then(|number| number.parse::<u16>().ok()));
    }
    Ok(taken)
}

/// Steps 3 and 4: the update check and the tags of GUI and audio qube, none of them with events.
fn follow_system(view: &View<'_>, context: &Context<'_>, qube: &mut Qube) -> Result<(), Failure> {
    if !qube.class.is_qubes_vm() {
        return Ok(());
    }
    if view.system()?.properties.get("check_updates_vm") == Some(&Value::Bool(false)) {
        qube.set_feature(FeatureName::parse("check-updates")?, FeatureValue::parse("")?);
    }
    for property in ["guivm", "audiovm"] {
        let value = property::effective(view, context.hypervisor, context.root, qube, property)?;
        if let Some(Value::Text(target)) = value {
            qube.tags.insert(TagName::parse(&format!("{property}-{target}"))?);
        }
    }
    Ok(())
}

/// Step 5: what a disposable takes over from its template.
fn copy_from_template(qube: &mut Qube, template: &Qube) {
    for (name, value) in &template.properties {
        let applicable = property::is_settable(qube.class, name) && name != "dispid";
        if applicable && !qube.properties.contains_key(name) {
            qube.properties.insert(name.clone(), value.clone());
        }
    }
    for (name, value) in &template.features {
        if !name.as_str().starts_with("preload-dispvm") {
            qube.set_feature(name.clone(), value.clone());
        }
    }
    qube.tags.extend(template.tags.iter().cloned());
    qube.firewall.clone_from(&template.firewall);
}

/// Windows cannot make its private volume by itself: a kept one begins as a copy of the template's (spec 10 §8.9).
fn private_of_windows(qube: &mut Qube, template: Option<&Qube>) -> Result<Option<Volume>, Failure> {
    let private = VolumeName::parse("private")?;
    let template = template.filter(|template| template.feature("os") == Some("Windows"));
    let source = template.and_then(|template| template.volume(&private));
    let own = qube.volumes.iter_mut().find(|volume| volume.name == private && volume.save_on_stop);
    let (Some(source), Some(own)) = (source, own) else { return Ok(None) };
    own.size = source.size;
    Ok(Some(source.clone()))
}

/// The class's volumes, moved into the asked pools. The inner error is row 24.
fn define_volumes(
    view: &View<'_>,
    context: &Context<'_>,
    qube: &mut Qube,
    wish: &Wish,
    pools: &Pools,
) -> Result<Result<(), Failure>, Failure> {
    if !qube.class.is_qubes_vm() {
        return Ok(Ok(()));
    }
    let layout = Layout {
        root: context.root,
        pools,
        default_pool: &|volume: &str| property::default_pool(view, context, volume),
        template: &|name: &str| Ok(view.qube_named(name)?),
    };
    qube.volumes = layout.volumes_of(qube)?;
    let moved = layout.move_volumes(qube, wish.pool.as_deref(), &wish.pools);
    if moved.is_ok() {
        layout.check(qube)?;
    }
    Ok(moved)
}
