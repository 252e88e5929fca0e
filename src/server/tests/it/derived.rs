//! Documents that are derived from tables of the code. `UPDATE=1` (scripts/fix) rewrites them.

use std::fmt::Write as _;
use std::path::Path;

use broker::config::{Mode, UNDESCRIBED_ROWS, broker_rows, is_without_effect};
use metadata::configs::TOPIC_ROWS;
use model::config::{Kind, Row};
use tidy::readme::check_section;

#[test]
fn the_readmes_support_table_is_what_the_broker_answers() {
    let mut table = String::from("\n| Key | API | Versions |\n|---:|---|---|\n");
    for row in apis::table::support() {
        writeln!(table, "| {} | {} | {} - {} |", row.key, row.name, row.version_min, row.version_max).expect("fits");
    }
    table.push('\n');
    check_section(Path::new("README.md"), "support", &table);
}

#[test]
fn the_readmes_table_of_metrics_is_what_a_broker_exports() {
    let mut table = String::from("\n| Metric | Kind | Labels | Name from | Meaning |\n|---|---|---|---|---|\n");
    for row in broker::metrics::rows::ROWS.iter().chain(server::http::rows::ROWS) {
        let kind = format!("{:?}", row.kind).to_lowercase();
        let from = if row.from.contains(':') { format!("`{}`", row.from) } else { row.from.to_owned() };
        writeln!(table, "| `{}` | {kind} | {} | {from} | {} |", row.name, row.labels.join(", "), row.help).expect("fits");
    }
    table.push('\n');
    check_section(Path::new("README.md"), "metrics", &table);
}

#[test]
fn the_documents_of_the_configuration_are_what_the_rows_say() {
    let file = Path::new("src/broker/config/README.md");
    let (without_effect, mut others): (Vec<Row>, Vec<Row>) = broker_rows().into_iter().partition(|row| is_without_effect(row.name));
    others.extend(UNDESCRIBED_ROWS);
    others.sort_by_key(|row| row.name);
    check_section(file, "broker keys", &table(&others));
    check_section(file, "keys without effect", &table(&without_effect));
    let (idle, acting): (Vec<Row>, Vec<Row>) =
        TOPIC_ROWS.iter().copied().partition(|row| row.doc.ends_with(broker::config::WITHOUT_EFFECT));
    check_section(file, "topic keys", &table(&acting));
    check_section(file, "topic keys without effect", &table(&idle));
    let mut developer = String::from("\n| Key | `klamm` | `klamm server` |\n|---|---|---|\n");
    for (key, value) in Mode::Developer.defaults() {
        let rows = broker_rows();
        let kafkas = rows.iter().find(|row| row.name == *key).and_then(|row| row.default).unwrap_or("");
        writeln!(developer, "| `{key}` | {value} | {kafkas} |").expect("fits");
    }
    developer.push('\n');
    check_section(file, "developer defaults", &developer);
}

fn table(rows: &[Row]) -> String {
    let mut table = String::from("\n| Key | Type | Default | Meaning |\n|---|---|---|---|\n");
    for row in rows {
        let default =
            row.default.map_or("-".to_owned(), |default| if default.is_empty() { "empty".to_owned() } else { format!("`{default}`") });
        writeln!(
            table,
            "| `{}` | {} | {default} | {} |",
            row.name,
            kind(&row.kind),
            row.doc.trim_end_matches(broker::config::WITHOUT_EFFECT)
        )
        .expect("fits");
    }
    table.push('\n');
    table
}

fn kind(kind: &Kind) -> String {
    let bound = |number: i64| match number {
        i64::MIN | i64::MAX => String::new(),
        _ if number == i64::from(i32::MIN) || number == i64::from(i32::MAX) || number == i64::from(i16::MAX) => String::new(),
        other => other.to_string(),
    };
    let range = |low: i64, high: i64| match (bound(low), bound(high)) {
        (low, high) if low.is_empty() && high.is_empty() => String::new(),
        (low, high) if high.is_empty() => format!(" from {low}"),
        (low, high) => format!(" from {low} to {high}"),
    };
    match kind {
        Kind::Boolean => "boolean".to_owned(),
        Kind::Short(low, high) => format!("short{}", range(*low, *high)),
        Kind::Int(low, high) => format!("int{}", range(*low, *high)),
        Kind::Long(low, high) => format!("long{}", range(*low, *high)),
        Kind::Double(low, high) if *high == f64::MAX => format!("double from {low}"),
        Kind::Double(low, high) => format!("double from {low} to {high}"),
        Kind::Text | Kind::NonEmptyText => "text".to_owned(),
        Kind::OneOf(words) | Kind::OneOfAnyCase(words) => words.join(", "),
        Kind::List([]) => "list".to_owned(),
        Kind::List(words) => format!("list of {}", words.join(", ")),
        Kind::Class => "class".to_owned(),
        Kind::Password => "password".to_owned(),
    }
}
