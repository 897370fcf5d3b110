//! `admin.pool.volume.Import`: new content for a volume that is told by pool and identifier (spec 20 §3.2).

use common::call::{
    Call, Content, Destination, Granted, Presence, Received, Reply, Row, Sanitised, Values, World,
};
use common::failure::{Failure, Refusal};
use common::log;
use common::model::{Pool, Qube, Volume};
use common::names::{Ascii, VolumeId};
use common::storage::{self, PoolDriver};
use common::untrusted::Untrusted;
use common::upload;

use super::by_pool;
use super::import::{self, OwnSize, Upload};
use crate::input;
use crate::pool;

/// Longest line with an identifier, its end included.
const LINE_MAX: usize = 1024;

pub(super) struct Import;

/// Which volume, and the bytes still to come.
pub(super) struct Incoming {
    pool: Ascii,
    vid: VolumeId,
    upload: upload::Upload,
}

impl Call for Import {
    const ROW: Row = Row::write(
        "admin.pool.volume.Import",
        "Replaces a volume by the payload, which has exactly its size after a line with its identifier.",
    )
    .global()
    .on(Destination::Dom0)
    .argument(Presence::Required)
    .payload(Presence::Stream);
    type Input = Incoming;

    fn sanitise(received: &Received) -> Result<Incoming, Refusal> {
        let upload = received.upload();
        let line = upload.line(LINE_MAX, |_| true).ok().flatten();
        let line = line.ok_or_else(|| Refusal::protocol("expected payload"))?;
        Ok(Incoming { pool: input::argument(received)?, vid: line.sanitise()?, upload })
    }

    fn facts(incoming: &Incoming) -> Values {
        Values::argument(incoming.pool.as_str()).with("vid", incoming.vid.as_str())
    }

    fn act(granted: Granted<Self>, world: &mut World<'_>) -> Result<Reply, Failure> {
        let Incoming { pool, vid, .. } = granted.input();
        let pools = world.view().pools()?;
        let pool = pool::find(&pools, pool)?;
        match by_pool::owner(world, pool, vid.as_str())? {
            Some((qube, volume)) => into_owned(&granted, world, &qube, &volume),
            None => into_unowned(&granted, world, pool),
        }
    }
}

/// The call of the qube that has the volume, with all that it asks for.
fn into_owned(
    granted: &Granted<Import>,
    world: &mut World<'_>,
    qube: &Qube,
    volume: &Volume,
) -> Result<Reply, Failure> {
    let parties = granted.parties().on(qube);
    let argument = Untrusted::new(volume.name.as_str().as_bytes().to_vec());
    let (row, payload) = (const { &Upload::<OwnSize>::ROW }, Untrusted::new(Vec::new()));
    let received = Received { row, parties, argument, payload, is_streamed: true };
    Upload::<OwnSize>::act(Sanitised::new(&received)?.authorise(world.judge())?, world)
}

/// No domain runs on such a volume, and no events tell of it. It may be dom0's own, which is in use.
fn into_unowned(granted: &Granted<Import>, world: &mut World<'_>, pool: &Pool) -> Result<Reply, Failure> {
    let Incoming { vid, upload, .. } = granted.input();
    let vid = vid.as_str();
    let _lock = world.in_earnest(|| world.store().lock_unowned(&pool.name, vid))?;
    let driver = storage::driver(world.root(), pool)?;
    if !driver.holds(vid)? {
        return Err(by_pool::unknown(pool));
    }
    let revisions = pool.setting("revisions_to_keep").and_then(|revisions| revisions.parse().ok());
    let unowned = by_pool::unowned(pool, &*driver, vid)?;
    let volume = Volume { revisions_to_keep: revisions.unwrap_or(1), ..unowned };
    driver.check_import(&volume)?;
    let size = driver.size(&volume)?;
    world.foretell(granted, format_args!("volume {vid} gets {size} bytes of the payload"))?;
    let path = driver.import_begin(&volume, size)?;
    let filled = import::fill(upload, &path, size).map_err(|reason| import::failed(&reason));
    let ended = filled.and_then(|()| Ok(driver.import_end(&volume)?));
    if ended.is_err() {
        abort(&*driver, &volume);
    }
    Ok(Reply::Ended(ended.map(|()| Content::new())))
}

fn abort(driver: &dyn PoolDriver, volume: &Volume) {
    if let Err(error) = driver.import_abort(volume) {
        log::line(&format!("an import into {} is not forgotten: {error}", volume.vid));
    }
}
