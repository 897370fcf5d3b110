//! The devices that a qube has by the word of services, and not from its watcher, and disks that are being taken from it: a note
//! in `/run` that changes together with what is told of them.

use common::event::Event;
use common::failure::Failure;
use common::model::Place;
use common::names::QubeName;
use common::store::{Note, Txn};

use super::halfway;

/// What listeners hear of the one that has a device no more.
pub(super) fn detached(place: &Place, frontend: &QubeName) -> Event {
    Event::on(frontend, format!("device-detach:{}", place.class)).with("port", place.to_string())
}

/// All that a qube has.
///
/// # Errors
/// What the store says.
pub(super) fn of(txn: &Txn<'_>, qube: &QubeName) -> Result<Vec<Place>, Failure> {
    let note = txn.noted(Note::Attached, qube)?.unwrap_or_default();
    Ok(String::from_utf8_lossy(&note).lines().map(Place::of_words).collect())
}

/// Enters a device, or strikes it out; tells whether that was news.
///
/// # Errors
/// What the store says.
pub(super) fn enter(
    txn: &mut Txn<'_>,
    qube: &QubeName,
    place: &Place,
    is_there: bool,
) -> Result<bool, Failure> {
    let mut places = of(txn, qube)?;
    if places.contains(place) == is_there {
        return Ok(false);
    }
    places.retain(|known| known != place);
    places.extend(is_there.then(|| place.clone()));
    let text: String = places.iter().map(|place| place.words() + "\n").collect();
    txn.note(Note::Attached, qube, &text);
    Ok(true)
}

/// Follows what a backend says of itself: `told` is told where that is news, and no call is at it, which tells that itself.
///
/// # Errors
/// What the store says.
pub(super) fn follow(
    txn: &mut Txn<'_>,
    qube: &QubeName,
    place: &Place,
    is_there: bool,
    told: Event,
) -> Result<(), Failure> {
    let is_in_hand = halfway::of(txn.noted(Note::Halfway, qube)?).is_some_and(|it| it.place == *place);
    if !is_in_hand && enter(txn, qube, place, is_there)? {
        txn.event(told);
    }
    Ok(())
}
