//! Things handed from one thread to another, only so many at a time. Std's own channels take ten times the space in a program.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// Both ends of a new one.
pub(crate) fn queue<T>(most: usize) -> (Giving<T>, Taking<T>) {
    let state = State { waiting: VecDeque::new(), most, is_closed: false };
    let shared = Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new() });
    (Giving(Arc::clone(&shared)), Taking(shared))
}

/// The end that things are put into.
pub(crate) struct Giving<T>(Arc<Shared<T>>);

/// The end that they are taken from.
pub(crate) struct Taking<T>(Arc<Shared<T>>);

struct Shared<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
}

struct State<T> {
    waiting: VecDeque<T>,
    most: usize,
    /// Whether one end is gone.
    is_closed: bool,
}

impl<T> Shared<T> {
    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait_while(&self, is_so: impl Fn(&State<T>) -> bool) -> MutexGuard<'_, State<T>> {
        let waits = |state: &mut State<T>| !state.is_closed && is_so(state);
        self.changed.wait_while(self.state(), waits).unwrap_or_else(PoisonError::into_inner)
    }

    fn close(&self) {
        self.state().is_closed = true;
        self.changed.notify_all();
    }
}

impl<T> Giving<T> {
    /// Puts something in, once there is room; nothing if nobody takes it any more.
    pub(crate) fn give(&self, thing: T) -> Option<()> {
        let mut state = self.0.wait_while(|state| state.waiting.len() >= state.most);
        if state.is_closed {
            return None;
        }
        state.waiting.push_back(thing);
        self.0.changed.notify_all();
        Some(())
    }
}

impl<T> Taking<T> {
    /// Takes the next thing; nothing if all was taken that there will be.
    pub(crate) fn take(&self) -> Option<T> {
        let mut state = self.0.wait_while(|state| state.waiting.is_empty());
        let thing = state.waiting.pop_front();
        self.0.changed.notify_all();
        thing
    }
}

impl<T> Drop for Giving<T> {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl<T> Drop for Taking<T> {
    fn drop(&mut self) {
        self.0.close();
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::queue;

    #[test]
    fn all_is_taken_in_order_and_both_ends_see_the_other_go() {
        let (giving, taking) = queue(2);
        let given = thread::spawn(move || (0..1000).try_for_each(|number| giving.give(number)));
        let taken: Vec<i32> = std::iter::from_fn(|| taking.take()).collect();
        assert_eq!(taken, (0..1000).collect::<Vec<_>>());
        assert_eq!(given.join().unwrap(), Some(()));
        let (giving, taking) = queue(1);
        let given = thread::spawn(move || {
            std::iter::repeat_with(|| giving.give(0)).take_while(Option::is_some).count()
        });
        assert_eq!(taking.take(), Some(0));
        drop(taking);
        assert!(given.join().unwrap() >= 1);
    }
}
