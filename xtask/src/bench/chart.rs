//! The ratios as one picture: a bar for each system, in groups by load.

use std::fmt::Write;

use super::run::Table;

const WIDTH: usize = 760;
const LEFT: usize = 190;
const BAR: usize = 16;
/// How long a bar of ratio 1 is.
const ONE: f64 = 480.0;

pub(super) fn svg(tables: &[Table]) -> String {
    let mut body = String::new();
    let mut y = 28;
    for table in tables {
        let _ = writeln!(body, r#"<text class="t" x="8" y="{y}">{}</text>"#, table.name);
        y += 22;
        for row in &table.rows {
            let _ = writeln!(body, r#"<text class="l" x="8" y="{y}">{}</text>"#, row.load.name());
            y += 8;
            for cell in &row.cells {
                let class = if cell.system == "limit" { "limit" } else { "bar" };
                let length = (cell.ratio * ONE).clamp(1.0, ONE * 1.1);
                let middle = y + BAR - 4;
                let _ = writeln!(
                    body,
                    r#"<text x="{}" y="{middle}" text-anchor="end">{}</text><rect class="{class}" x="{LEFT}" y="{y}" width="{length:.1}" height="{}"/><text x="{:.1}" y="{middle}">{:.3}</text>"#,
                    LEFT - 8,
                    cell.system,
                    BAR - 3,
                    length + LEFT as f64 + 6.0,
                    cell.ratio,
                );
                y += BAR;
            }
            y += 20;
        }
        y += 12;
    }
    format!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{y}" viewBox="0 0 {WIDTH} {y}">
<style>text{{font:12px sans-serif;fill:#333}}.t{{font-weight:bold;font-size:15px}}.l{{fill:#777}}.bar{{fill:#2b6cb0}}.limit{{fill:#bbb}}rect.bg{{fill:#fff}}</style>
<rect class="bg" width="{WIDTH}" height="{y}"/>
{body}</svg>
"#
    )
}
