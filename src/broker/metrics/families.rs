//! What a scrape gathers, and its text.

use std::collections::BTreeMap;

use prometheus::TextEncoder;
use prometheus::proto::{self, LabelPair, Metric, MetricFamily, MetricType};

/// What a metric is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It only grows while the process lives.
    Counter,
    /// It goes up and down.
    Gauge,
    /// Counts by size.
    Histogram,
}

/// One metric: the row from which its text and its documentation derive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// Its name.
    pub name: &'static str,
    /// What it is.
    pub kind: Kind,
    /// Its labels, in order.
    pub labels: &'static [&'static str],
    /// Where the name is from: an MBean of Kafka's, or a program.
    pub from: &'static str,
    /// One sentence.
    pub help: &'static str,
}

/// A table of metrics: a constant for each, and `ROWS` with all of them, in the order of the documentation.
#[macro_export]
macro_rules! metric_rows {
    ($($constant:ident = $name:literal, $kind:ident, $labels:expr, $from:expr, $help:literal;)*) => {
        $(
            #[doc = $help]
            pub const $constant: $crate::metrics::Row =
                $crate::metrics::Row { name: $name, kind: $crate::metrics::Kind::$kind, labels: $labels, from: $from, help: $help };
        )*
        /// All of them, in the order of the documentation.
        pub const ROWS: &[$crate::metrics::Row] = &[$($constant),*];
    };
}

/// The content type of [`Families::text`].
pub const CONTENT_TYPE: &str = prometheus::TEXT_FORMAT;

/// What was gathered, by name.
#[derive(Debug, Default)]
pub struct Families {
    by_name: BTreeMap<&'static str, MetricFamily>,
}

impl Families {
    /// Adds one number. Fewer values than labels leave the last labels out: a total beside its parts, as Kafka has it.
    pub fn add(&mut self, row: &'static Row, values: &[&str], number: f64) {
        let mut metric = labelled(row, values);
        match row.kind {
            Kind::Counter => {
                let mut counter = proto::Counter::default();
                counter.set_value(number);
                metric.set_counter(counter);
            }
            Kind::Gauge | Kind::Histogram => {
                let mut gauge = proto::Gauge::default();
                gauge.set_value(number);
                metric.set_gauge(gauge);
            }
        }
        self.family(row).mut_metric().push(metric);
    }

    /// Adds one count.
    pub fn count(&mut self, row: &'static Row, values: &[&str], number: u64) {
        // A float holds every count up to 2^53.
        self.add(row, values, number as f64);
    }

    /// Adds a histogram.
    pub(super) fn histogram(&mut self, row: &'static Row, values: &[&str], histogram: proto::Histogram) {
        let mut metric = labelled(row, values);
        metric.set_histogram(histogram);
        self.family(row).mut_metric().push(metric);
    }

    /// The names that have at least one value.
    pub fn names(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.by_name.keys().copied()
    }

    /// Prometheus' text format, version 0.0.4.
    #[must_use]
    pub fn text(self) -> String {
        let families: Vec<MetricFamily> = self.by_name.into_values().collect();
        TextEncoder::new().encode_to_string(&families).unwrap_or_else(|error| {
            tracing::error!(%error, "the metrics cannot be written");
            String::new()
        })
    }

    fn family(&mut self, row: &'static Row) -> &mut MetricFamily {
        self.by_name.entry(row.name).or_insert_with(|| {
            let mut family = MetricFamily::default();
            family.set_name(row.name.to_owned());
            family.set_help(row.help.to_owned());
            family.set_field_type(match row.kind {
                Kind::Counter => MetricType::COUNTER,
                Kind::Gauge => MetricType::GAUGE,
                Kind::Histogram => MetricType::HISTOGRAM,
            });
            family
        })
    }
}

fn labelled(row: &Row, values: &[&str]) -> Metric {
    let pairs = row.labels.iter().zip(values).map(|(name, value)| {
        let mut pair = LabelPair::default();
        pair.set_name((*name).to_owned());
        pair.set_value((*value).to_owned());
        pair
    });
    Metric::from_label(pairs.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROW: Row = Row { name: "x_total", kind: Kind::Counter, labels: &["group", "topic"], from: "-", help: "Counts x." };

    #[test]
    fn the_text_escapes_labels_and_leaves_out_what_was_not_given() {
        let mut families = Families::default();
        families.count(&ROW, &["a\"b\\c\nd", "t"], 12_345_678_901);
        families.count(&ROW, &[], 2);
        assert_eq!(
            families.text(),
            "# HELP x_total Counts x.\n# TYPE x_total counter\nx_total{group=\"a\\\"b\\\\c\\nd\",topic=\"t\"} 12345678901\nx_total 2\n"
        );
    }
}
