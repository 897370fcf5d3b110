//! `qubes-admin init`: a fresh store (spec 10 §7.1).

use common::model::{Class, Labels, Pool, Pools, Qube, System, Value};
use common::names::{PoolName, QubeName, QubeUuid};
use common::root::Root;
use common::storage;
use common::store::Store;

use super::out::{self, Stop};

/// Makes labels, pools and dom0 in an empty store.
pub(super) fn run(root: &Root) -> Result<(), Stop> {
    let store = Store::at(root);
    store.prepare()?;
    let mut txn = store.write()?;
    if !txn.index()?.entries().is_empty() {
        return Err("the store is not empty".to_owned().into());
    }
    let mut dom0 = Qube::new(QubeName::dom0(), Class::AdminVM, 0, QubeUuid::dom0());
    dom0.properties.insert("label".to_owned(), Value::Text("black".to_owned()));
    let mut system = System::default();
    system.properties.insert("default_pool_kernel".to_owned(), Value::Text("linux-kernel".to_owned()));
    txn.put_labels(Labels::built_in());
    txn.put_pools(pools(root)?);
    txn.put_system(system);
    txn.insert_qube(dom0)?;
    txn.commit()?;
    out::line("made a fresh store with dom0")
}

/// Images in `file-reflink` where the file system can share blocks, else in `file`, which needs the device mapper; where
/// there is none, in `file-reflink` all the same, which copies then. And the kernels.
fn pools(root: &Root) -> Result<Pools, String> {
    let shares = storage::supports_clone(&root.lib()) || !storage::has_device_mapper(root);
    let driver = if shares { "file-reflink" } else { "file" };
    let images =
        [("dir_path", "/var/lib/qubes"), ("revisions_to_keep", "1"), ("ephemeral_volatile", "False")];
    let kernels = [("dir_path", "/var/lib/qubes/vm-kernels")];
    Ok(Pools {
        pools: vec![pool("varlibqubes", driver, &images)?, pool("linux-kernel", "linux-kernel", &kernels)?],
    })
}

fn pool(name: &str, driver: &str, settings: &[(&str, &str)]) -> Result<Pool, String> {
    let name = PoolName::parse(name).map_err(|broken| broken.message.to_owned())?;
    let settings = settings.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    Ok(Pool { name, driver: driver.to_owned(), settings })
}
