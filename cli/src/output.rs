//! Data on stdout: lines, tables, JSON lines. Progress goes to stderr, by [`note`].

use std::io::{self, Write};

use crate::error::Error;
use crate::render::sanitize;

/// Writes one line of data.
pub fn line(text: &str) -> Result<(), Error> {
    raw(&format!("{text}\n"))
}

/// Writes data as it is and flushes, so that streamed text appears at once.
pub fn raw(text: &str) -> Result<(), Error> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .map_err(Error::io("cannot write to stdout"))
}

/// Writes bytes as they are.
pub fn bytes(bytes: &[u8]) -> Result<(), Error> {
    let mut out = io::stdout().lock();
    out.write_all(bytes)
        .and_then(|()| out.flush())
        .map_err(Error::io("cannot write to stdout"))
}

/// Tells the person in front of the terminal something; never data.
pub fn note(text: &str) {
    // stderr may be closed; then nobody wants to know.
    writeln!(io::stderr().lock(), "{text}").ok();
}

/// Prints rows under headers, columns aligned. Cells come from anywhere, so they are made safe and single-line.
pub fn table(headers: &[&str], rows: &[Vec<String>]) -> Result<(), Error> {
    raw(&layout(headers, rows))
}

fn layout(headers: &[&str], rows: &[Vec<String>]) -> String {
    let rows: Vec<Vec<String>> = rows
        .iter()
        .map(|row| row.iter().map(|cell| sanitize(cell).replace('\n', " ")).collect())
        .collect();
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        let widest = cells.map(|cell| cell.chars().count()).max().unwrap_or(0);
        widest.max(headers.get(column).map_or(0, |header| header.len()))
    };
    let widths: Vec<usize> = (0..headers.len()).map(width).collect();
    let mut text = String::new();
    let headers: Vec<String> = headers.iter().map(|header| (*header).to_owned()).collect();
    for row in std::iter::once(&headers).chain(&rows) {
        let cells: Vec<String> = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
    }
    text
}

/// `name: value` lines, names aligned.
pub fn facts(rows: &[(&str, String)]) -> Result<(), Error> {
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    for (name, value) in rows {
        line(&format!("{name:width$}  {}", sanitize(value)))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_align_and_cannot_be_broken_by_their_cells() {
        let rows = [
            vec!["sesn_1".to_owned(), "two\nlines\u{1b}[2J".to_owned()],
            vec!["sesn_22".to_owned(), String::new()],
        ];
        assert_eq!(
            layout(&["SESSION", "TITLE"], &rows),
            "SESSION  TITLE\nsesn_1   two lines␛[2J\nsesn_22\n"
        );
    }
}
