//! What a crowd costs each node, as an SVG plot. Used by [`super::crowd`].

use std::time::Duration;

/// What was measured in a crowd of some size.
#[derive(Debug, Clone, Copy)]
pub(super) struct Measure {
    pub(super) nodes: usize,
    pub(super) links: f64,
    /// Until every node held the change.
    pub(super) reached: Duration,
    /// Sent and received by a node for it, on average.
    pub(super) bytes: f64,
    /// The same, by the node that it cost most.
    pub(super) most: u64,
    /// In memory for the links of a node.
    pub(super) link_memory: f64,
    /// In memory for what a node knows of all others' agents.
    pub(super) book_memory: f64,
}

/// Three lines over the number of nodes, each against its own largest value, both axes in powers of ten.
pub(super) fn of(measures: &[Measure]) -> String {
    let mut svg = String::from(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"720\" height=\"400\" font-family=\"sans-serif\" \
         font-size=\"13\"><rect width=\"100%\" height=\"100%\" fill=\"white\"/>\
         <text x=\"16\" y=\"28\" font-size=\"16\">A node's share, by the number of nodes (100 agents each)</text>\n",
    );
    for power in 1..=8 {
        let y = y_of(10_f64.powi(power));
        svg += &format!(
            "<line x1=\"90\" x2=\"480\" y1=\"{y:.1}\" y2=\"{y:.1}\" stroke=\"#ddd\"/>\
             <text x=\"16\" y=\"{:.1}\">10^{power} B</text>\n",
            y + 4.0
        );
    }
    for measure in measures {
        let x = x_of(measure.nodes as f64);
        svg += &format!("<text x=\"{:.1}\" y=\"388\">{}</text>\n", x - 8.0, measure.nodes);
    }
    let lines: [(&str, &str, Value); 3] = [
        ("traffic of one roster's change", "#3a7d44", |measure| measure.bytes),
        ("memory for links", "#1f5f99", |measure| measure.link_memory),
        ("memory for all agents' entries", "#b23a48", |measure| measure.book_memory),
    ];
    for (what, colour, value) in lines {
        let point =
            |measure: &Measure| format!("{:.1},{:.1}", x_of(measure.nodes as f64), y_of(value(measure)));
        let points: Vec<String> = measures.iter().map(point).collect();
        let end = measures.last().map_or(0.0, |last| y_of(value(last)));
        svg += &format!(
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>\
             <text x=\"490\" y=\"{:.1}\" fill=\"{colour}\">{what}</text>\n",
            points.join(" "),
            end + 4.0
        );
    }
    svg + "</svg>\n"
}

type Value = fn(&Measure) -> f64;

fn x_of(nodes: f64) -> f64 {
    90.0 + (nodes.log10() - 1.0) * 195.0
}

fn y_of(bytes: f64) -> f64 {
    370.0 - (bytes.max(1.0).log10() - 1.0) * 46.0
}
