//! Columns for people. Called by the commands that list something.

/// Rows under a heading, each column as wide as its widest cell.
pub(super) fn table<const N: usize>(heading: [&str; N], rows: &[[String; N]]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().map(|row| shown(&row[column]).chars().count());
        cells.chain([heading[column].chars().count()]).max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..N).map(width).collect();
    let line = |cells: [String; N]| {
        let padded = cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    let mut lines = vec![line(heading.map(str::to_owned))];
    lines.extend(rows.iter().map(|row| line(std::array::from_fn(|column| shown(&row[column])))));
    lines.join("\n")
}

/// Text from elsewhere without anything a terminal would obey.
pub(super) fn shown(text: &str) -> String {
    text.chars().map(|c| if c.is_control() || is_bidi(c) { ' ' } else { c }).collect()
}

/// As [`shown`], but with its line breaks: for the text of a message.
pub(super) fn shown_text(text: &str) -> String {
    text.lines().map(shown).collect::<Vec<_>>().join("\n")
}

/// Characters that turn the writing direction, and so can make text look like other text.
fn is_bidi(c: char) -> bool {
    matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let rows = [["a".to_owned(), "1".to_owned()], ["long".to_owned(), "2".to_owned()]];
        assert_eq!(table(["N", "V"], &rows), "N     V\na     1\nlong  2");
    }

    #[test]
    fn a_terminal_obeys_nothing_in_a_message() {
        assert_eq!(shown("a\u{1b}[31mb\u{7}\u{202e}c"), "a [31mb  c");
        assert_eq!(shown_text("a\nb\u{1b}c\r\nd"), "a\nb c\nd");
    }
}
