//! Checks of this crate by name, so that a test can take one down and show the attack that it stops (docs/attacks.md). In
//! what ships the answer is a constant: there is nothing that could take one down.

/// A check that an attack has to get past.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Guard {
    /// No text closes or imitates the fence around it (TRU-8). Asked by `trust`.
    Fence,
    /// A message id is nothing but an id. Asked by `id`.
    IdShape,
    /// No signed field but the subject holds a bar (SIG-14). Asked by `canonical`.
    Separators,
}

#[cfg(not(test))]
pub(crate) const fn is_down(_: Guard) -> bool {
    false
}

#[cfg(test)]
pub(crate) use down::{is_down, without};

#[cfg(test)]
mod down {
    use super::Guard;
    use std::cell::Cell;

    thread_local! {
        static DOWN: Cell<Option<Guard>> = const { Cell::new(None) };
    }

    pub(crate) fn is_down(guard: Guard) -> bool {
        DOWN.get() == Some(guard)
    }

    /// What comes of `attack` without the guard. The documentation has to list it as `row`.
    pub(crate) fn without<T>(guard: Guard, row: &str, attack: impl FnOnce() -> T) -> T {
        let table = include_str!("../../docs/attacks.md");
        let listed =
            |line: &str| line.starts_with(&format!("| {row} | ")) && line.contains(&format!("`{guard:?}`"));
        assert!(table.lines().any(listed), "docs/attacks.md has no row {row:?} with the guard `{guard:?}`");
        DOWN.set(Some(guard));
        let came_of_it = attack();
        DOWN.set(None);
        came_of_it
    }
}
