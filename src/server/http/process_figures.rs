//! What the system says of this process.

use rustix::process::{Resource, getrlimit};

/// Figures of one moment. A figure that the system does not give is not there.
#[derive(Debug, Default, Clone, Copy, PartialEq)]
pub(super) struct ProcessFigures {
    pub(super) cpu_seconds: Option<f64>,
    pub(super) resident_bytes: Option<u64>,
    pub(super) virtual_bytes: Option<u64>,
    pub(super) threads: Option<u64>,
    pub(super) open_descriptors: Option<u64>,
    pub(super) descriptors_max: Option<u64>,
}

/// Looks. Where there is no `/proc` only the limit is known.
pub(super) fn look() -> ProcessFigures {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let open = std::fs::read_dir("/proc/self/fd").ok().and_then(|entries| u64::try_from(entries.count()).ok());
    let page_bytes = u64::try_from(rustix::param::page_size()).unwrap_or(4096);
    ProcessFigures {
        // The directory itself was open while it was counted.
        open_descriptors: open.map(|count| count.saturating_sub(1)),
        descriptors_max: getrlimit(Resource::Nofile).current,
        ..parse(&text, rustix::param::clock_ticks_per_second(), page_bytes)
    }
}

/// Reads proc(5)'s `stat`. The command's name, in brackets, may hold blanks and brackets.
fn parse(text: &str, ticks_per_second: u64, page_bytes: u64) -> ProcessFigures {
    let fields: Vec<&str> = text.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace().collect();
    // The manual counts from 1, and the first field here is its third.
    let field = |number: usize| fields.get(number - 3).and_then(|field| field.parse::<u64>().ok());
    let ticks = field(14).zip(field(15)).map(|(user, system)| user + system);
    ProcessFigures {
        cpu_seconds: ticks.map(|ticks| ticks as f64 / ticks_per_second.max(1) as f64),
        threads: field(20),
        virtual_bytes: field(23),
        resident_bytes: field(24).and_then(|pages| pages.checked_mul(page_bytes)),
        ..ProcessFigures::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_systems_line_is_read_also_with_a_strange_name() {
        let line = "42 (a) b) S 1 42 42 0 -1 4194560 100 0 0 0 150 50 0 0 20 0 7 0 1000 409600 25 18446744073709551615 1";
        let figures = parse(line, 100, 4096);
        assert_eq!((figures.cpu_seconds, figures.threads), (Some(2.0), Some(7)));
        assert_eq!((figures.virtual_bytes, figures.resident_bytes), (Some(409_600), Some(102_400)));
        assert_eq!(parse("", 100, 4096), ProcessFigures::default());
    }
}
