//! Tables that fit the width of a terminal.

use super::terminal::{TerminalStyle, Tone, cut, width};

/// Spaces between two columns.
const GAP: usize = 2;

/// Column of a table.
#[derive(Clone, Copy, Debug)]
pub(super) struct Column {
    /// Title.
    pub(super) title: &'static str,
    /// Minimum width; `None`: the column is never cut.
    pub(super) least: Option<usize>,
    /// Rank. Columns with the highest rank are omitted first.
    pub(super) rank: u8,
}

/// Text with a colour.
#[derive(Clone, Debug)]
pub(super) struct Cell {
    /// Text without control characters.
    pub(super) text: String,
    /// Colour.
    pub(super) tone: Tone,
}

impl Cell {
    /// Creates a cell without a colour.
    pub(super) fn new(text: impl AsRef<str>) -> Self {
        Self::toned(Tone::Plain, text)
    }

    /// Creates a cell with a colour.
    pub(super) fn toned(tone: Tone, text: impl AsRef<str>) -> Self {
        Self { text: super::terminal::plain(text.as_ref()), tone }
    }
}

/// Width of each column; `None`: the column is omitted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Layout(Vec<Option<usize>>);

/// Selects columns and widths. Without a `limit`, all columns have their full width.
pub(super) fn layout(columns: &[Column], rows: &[Vec<Cell>], limit: Option<usize>) -> Layout {
    let wanted: Vec<usize> = (0..columns.len())
        .map(|n| rows.iter().map(|row| width(&row[n].text)).chain([width(columns[n].title)]).max().unwrap_or_default())
        .collect();
    let Some(limit) = limit else { return Layout(wanted.into_iter().map(Some).collect()) };
    let least =
        |n: usize| columns[n].least.map_or(wanted[n], |least| least.max(width(columns[n].title)).min(wanted[n]));
    let mut kept: Vec<usize> = (0..columns.len()).collect();
    let total = |kept: &[usize]| kept.iter().map(|n| least(*n) + GAP).sum::<usize>().saturating_sub(GAP);
    while kept.len() > 1 && total(&kept) > limit {
        let Some(dropped) = kept.iter().copied().max_by_key(|n| (columns[*n].rank, *n)) else { break };
        kept.retain(|n| *n != dropped);
    }
    let mut widths = vec![None; columns.len()];
    let mut spare = limit.saturating_sub(total(&kept));
    for n in &kept {
        widths[*n] = Some(least(*n));
    }
    // the remaining width is distributed evenly, by rank
    kept.sort_by_key(|n| (columns[*n].rank, *n));
    while spare > 0 && kept.iter().any(|n| widths[*n] < Some(wanted[*n])) {
        for n in &kept {
            let more = usize::from(widths[*n] < Some(wanted[*n])).min(spare);
            widths[*n] = widths[*n].map(|width| width + more);
            spare -= more;
        }
    }
    Layout(widths)
}

impl Layout {
    /// Returns the line of titles.
    pub(super) fn head(&self, columns: &[Column], style: TerminalStyle) -> String {
        let cells: Vec<Cell> = columns.iter().map(|column| Cell::toned(Tone::Bold, column.title)).collect();
        self.line(&cells, style)
    }

    /// Returns the line of one row, without trailing spaces.
    pub(super) fn line(&self, cells: &[Cell], style: TerminalStyle) -> String {
        let (mut line, mut owed) = (String::new(), 0);
        for (cell, columns) in cells.iter().zip(&self.0).filter_map(|(cell, columns)| Some((cell, (*columns)?))) {
            let text = cut(&cell.text, columns);
            line.push_str(&" ".repeat(owed));
            line.push_str(&style.tone(cell.tone, &text));
            owed = GAP + columns.saturating_sub(width(&text));
        }
        line
    }
}

#[cfg(test)]
mod tests {
    use super::super::terminal::When;
    use super::*;
    use proptest::prelude::*;

    const COLUMNS: [Column; 4] = [
        Column { title: "NAME", least: Some(8), rank: 0 },
        Column { title: "STATE", least: None, rank: 0 },
        Column { title: "REASON", least: Some(6), rank: 1 },
        Column { title: "PROVIDER", least: Some(10), rank: 2 },
    ];

    fn row(texts: [&str; 4]) -> Vec<Cell> {
        texts.map(Cell::new).to_vec()
    }

    #[test]
    fn columns_are_cut_and_left_out_until_they_fit() {
        let rows = [row(["lobby-camera-entrance", "Ready", "TokenIssued", "ClusterTokenProvider/contoso"])];
        for (limit, expected) in [
            (None, "lobby-camera-entrance  Ready  TokenIssued  ClusterTokenProvider/contoso"),
            (Some(90), "lobby-camera-entrance  Ready  TokenIssued  ClusterTokenProvider/contoso"),
            (Some(60), "lobby-camera-entr~  Ready  TokenIssued  ClusterTokenProvide~"),
            (Some(40), "lobby-cam~  Ready  TokenIs~  ClusterTok~"),
            (Some(30), "lobby-camer~  Ready  TokenIss~"),
            (Some(15), "lobby-c~  Ready"),
            (Some(5), "lobby-c~"),
        ] {
            let style = TerminalStyle::of_stdout(When::Never);
            assert_eq!(layout(&COLUMNS, &rows, limit).line(&rows[0], style), expected, "{limit:?}");
        }
    }

    proptest! {
        #[test]
        fn no_line_is_wider_than_the_limit(texts in proptest::collection::vec("\\PC{0,40}", 4), limit in 20usize..200) {
            let rows = [texts.iter().map(Cell::new).collect::<Vec<_>>()];
            let columns = COLUMNS.map(|column| Column { least: Some(column.least.unwrap_or(7)), ..column });
            let style = TerminalStyle::of_stdout(When::Never);
            let layout = layout(&columns, &rows, Some(limit));
            prop_assert!(width(&layout.line(&rows[0], style)) <= limit);
            prop_assert!(width(&layout.head(&columns, style)) <= limit);
        }
    }
}
