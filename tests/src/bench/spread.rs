//! A figure with its spread. Every number the bench prints is one of these.

use std::time::Duration;

/// The least, middle and greatest of several readings, in one unit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    /// The least.
    pub min: f64,
    /// The middle one.
    pub median: f64,
    /// The greatest.
    pub max: f64,
}

impl Spread {
    /// The spread of `readings`; of none, zeros.
    #[must_use]
    pub fn of(mut readings: Vec<f64>) -> Self {
        readings.sort_by(f64::total_cmp);
        let at = |index: usize| readings.get(index).copied().unwrap_or(0.0);
        Self { min: at(0), median: at(readings.len() / 2), max: at(readings.len().saturating_sub(1)) }
    }

    /// Every figure multiplied by `factor`.
    #[must_use]
    pub fn times(self, factor: f64) -> Self {
        Self { min: self.min * factor, median: self.median * factor, max: self.max * factor }
    }
}

/// The value below which `share` of `sorted` lies.
#[must_use]
pub fn percentile(sorted: &[Duration], share: f64) -> Duration {
    let last = sorted.len().saturating_sub(1);
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
    let index = (last as f64 * share).round() as usize; // an index: rounding is what is wanted
    sorted.get(index).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_reading() {
        let spread = Spread::of(vec![5.0, 1.0, 3.0]);
        assert_eq!((spread.min, spread.median, spread.max), (1.0, 3.0, 5.0));
    }

    #[test]
    fn a_percentile_is_a_reading() {
        let sorted: Vec<Duration> = (0..=100).map(Duration::from_millis).collect();
        assert_eq!(percentile(&sorted, 0.99), Duration::from_millis(99));
    }
}
