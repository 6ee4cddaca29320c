//! Plots as SVG, drawn by hand: bars of the measured ratios with a mark where the reach is.

use super::table::Row;

const LEFT: f64 = 430.0;
const WIDTH: f64 = 420.0;
const LINE: f64 = 34.0;

/// A bar a row, each on its own scale: the mark is the reach, the whisker the spread.
#[must_use]
pub fn bars(title: &str, rows: &[Row]) -> String {
    let rows: Vec<&Row> = rows.iter().filter(|row| row.reach.is_some()).collect();
    let height = 60.0 + LINE * f64::from(u32::try_from(rows.len()).unwrap_or(u32::MAX));
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"960\" height=\"{height}\" font-family=\"sans-serif\" \
         font-size=\"13\"><rect width=\"100%\" height=\"100%\" fill=\"white\"/>\
         <text x=\"16\" y=\"28\" font-size=\"16\">{}</text>\n",
        escape(title)
    );
    let mut y = 48.0;
    for row in rows {
        let reach = row.reach.unwrap_or(1.0);
        let scale = WIDTH / (reach * 1.6).max(row.measured.max).max(f64::MIN_POSITIVE);
        let x = |value: f64| LEFT + value * scale;
        let colour = if row.measured.median <= reach { "#3a7d44" } else { "#b23a48" };
        svg += &format!(
            "<text x=\"16\" y=\"{text_y}\">{what}</text>\
             <rect x=\"{LEFT}\" y=\"{y}\" width=\"{bar}\" height=\"18\" fill=\"{colour}\"/>\
             <line x1=\"{low}\" x2=\"{high}\" y1=\"{middle}\" y2=\"{middle}\" stroke=\"black\"/>\
             <line x1=\"{mark}\" x2=\"{mark}\" y1=\"{top}\" y2=\"{bottom}\" stroke=\"black\" stroke-width=\"2\"/>\
             <text x=\"{value_x}\" y=\"{text_y}\">{median:.2} {unit}</text>\n",
            what = escape(&row.what),
            text_y = y + 14.0,
            bar = row.measured.median * scale,
            low = x(row.measured.min),
            high = x(row.measured.max),
            middle = y + 9.0,
            mark = x(reach),
            top = y - 4.0,
            bottom = y + 22.0,
            value_x = LEFT + WIDTH + 12.0,
            median = row.measured.median,
            unit = row.unit,
        );
        y += LINE;
    }
    svg.push_str("</svg>\n");
    svg
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::super::spread::Spread;
    use super::*;

    #[test]
    fn only_rows_with_a_reach_are_drawn() {
        let row = |reach| Row {
            what: "a < b".into(),
            measured: Spread { min: 1.0, median: 2.0, max: 3.0 },
            unit: "V",
            reach,
            note: String::new(),
        };
        let svg = bars("t", &[row(Some(2.5)), row(None)]);
        assert_eq!(svg.matches("a &lt; b").count(), 1);
    }
}
