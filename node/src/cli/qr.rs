//! A text as a QR code made of characters, two modules each. Called by `mesh` for tickets.

use super::output::Trouble;
use qrcode::{Color, EcLevel, QrCode};

/// `text` as lines of half blocks, with the quiet zone that readers want around them. `coloured` says black on white
/// whatever the terminal's colours are; without it a dark module is whatever the text's colour is.
pub(super) fn drawn(text: &str, coloured: bool) -> Result<String, Trouble> {
    let code = QrCode::with_error_correction_level(text, EcLevel::L).map_err(|error| {
        Trouble::new("too_long", "the ticket is too long for a QR code")
            .because(error)
            .mend("amesh invite (and copy the text)")
    })?;
    let (width, modules) = (code.width(), code.to_colors());
    let is_dark = |row: usize, column: usize| {
        let inside = |at: usize| at.checked_sub(QUIET).filter(|at| *at < width);
        let (Some(row), Some(column)) = (inside(row), inside(column)) else { return false };
        modules[row * width + column] == Color::Dark
    };
    let side = width + 2 * QUIET;
    let line = |row: usize| {
        let half = |column| match (is_dark(row, column), is_dark(row + 1, column)) {
            (true, true) => '█',
            (true, false) => '▀',
            (false, true) => '▄',
            (false, false) => ' ',
        };
        let halves: String = (0..side).map(half).collect();
        if coloured { format!("{BLACK_ON_WHITE}{halves}{RESET}\n") } else { format!("{halves}\n") }
    };
    Ok((0..side).step_by(2).map(line).collect())
}

/// Modules of nothing on every side (ISO/IEC 18004).
const QUIET: usize = 4;
const BLACK_ON_WHITE: &str = "\u{1b}[30;107m";
const RESET: &str = "\u{1b}[0m";

#[cfg(test)]
mod tests {
    use super::*;

    /// What a camera makes of the drawing: every module as four by four points.
    fn read(drawing: &str) -> String {
        let rows: Vec<Vec<char>> = drawing.lines().map(|line| line.chars().collect()).collect();
        let is_dark = |x: usize, y: usize| {
            let (column, row) = (x / SCALE, y / SCALE);
            match rows[row / 2][column] {
                '█' => true,
                '▀' => row % 2 == 0,
                '▄' => row % 2 == 1,
                _ => false,
            }
        };
        let (width, height) = (rows[0].len() * SCALE, rows.len() * 2 * SCALE);
        let light = |x, y| if is_dark(x, y) { 0 } else { 255 };
        let mut image = rqrr::PreparedImage::prepare_from_greyscale(width, height, light);
        let grids = image.detect_grids();
        assert_eq!(grids.len(), 1, "one code on the screen");
        grids[0].decode().unwrap().1
    }

    const SCALE: usize = 4;

    #[test]
    fn a_reader_gets_the_ticket_from_the_screen() {
        for length in [20, 250, 700] {
            let ticket: String =
                "amesh1abcdefghijkmnpqrstuvwxyz23456789".chars().cycle().take(length).collect();
            assert_eq!(read(&drawn(&ticket, false).unwrap()), ticket);
        }
    }

    #[test]
    fn colours_are_set_and_reset_on_every_line() {
        let coloured = drawn("amesh", true).unwrap();
        assert!(coloured.lines().all(|line| line.starts_with(BLACK_ON_WHITE) && line.ends_with(RESET)));
        let plain: String = coloured.replace(BLACK_ON_WHITE, "").replace(RESET, "");
        assert_eq!(plain, drawn("amesh", false).unwrap());
    }

    #[test]
    fn what_no_code_can_hold_is_said() {
        assert_eq!(drawn(&"x".repeat(5000), false).unwrap_err().code, "too_long");
    }
}
