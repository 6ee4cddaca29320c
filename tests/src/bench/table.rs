//! The bench's table: what was measured beside what is to be reached.

use super::spread::Spread;

/// One row.
#[derive(Debug, Clone)]
pub struct Row {
    /// What was measured.
    pub what: String,
    /// The figure, in `unit`.
    pub measured: Spread,
    /// Unit of the figure and of `reach`.
    pub unit: &'static str,
    /// What is to be reached at the most, if anything is.
    pub reach: Option<f64>,
    /// Where the limit comes from, or what the row was measured with.
    pub note: String,
}

impl Row {
    fn verdict(&self) -> &'static str {
        match self.reach {
            None => "",
            Some(reach) if self.measured.median <= reach => "reached",
            Some(_) => "NOT reached",
        }
    }
}

/// The rows as a Markdown table.
#[must_use]
pub fn markdown(rows: &[Row]) -> String {
    let mut text = String::from(
        "| what | median | min – max | reach | | note |\n| --- | ---: | ---: | ---: | --- | --- |\n",
    );
    for row in rows {
        let Spread { min, median, max } = row.measured;
        let reach = row.reach.map_or_else(String::new, |reach| format!("≤ {reach:.2} {}", row.unit));
        text += &format!(
            "| {} | {median:.2} {} | {min:.2} – {max:.2} | {reach} | {} | {} |\n",
            row.what,
            row.unit,
            row.verdict(),
            row.note
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_over_its_reach_is_said_to_be_not_reached() {
        let row = |median| Row {
            what: "cpu".into(),
            measured: Spread { min: 1.0, median, max: 9.0 },
            unit: "V",
            reach: Some(3.5),
            note: String::new(),
        };
        let table = markdown(&[row(3.5), row(3.6)]);
        assert_eq!(table.matches("| reached").count(), 1);
        assert_eq!(table.matches("NOT reached").count(), 1);
    }
}
