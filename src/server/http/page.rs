//! The status page: what a person wants to see of a broker, in one piece of HTML.
//!
//! Group ids, client ids and names of software come from clients: everything that is not this file's own text is escaped ([`Text`]).

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::sync::Arc;

use broker::metrics::{GroupSummary, Looked};
use broker::partitions::Partition;

use super::Served;
use super::process_figures::ProcessFigures;

/// How many rows a table has at the most; a page that nobody can read is of no use.
const ROWS_MAX: usize = 200;

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// Text of others, safe between tags and in quoted attributes.
struct Text<'a>(&'a str);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in self.0.chars() {
            match character {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                other => f.write_char(other)?,
            }
        }
        Ok(())
    }
}

/// A number with its digits in groups of three.
struct Number(i64);

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.0.unsigned_abs().to_string();
        if self.0 < 0 {
            f.write_str("\u{2212}")?;
        }
        for (place, digit) in digits.chars().enumerate() {
            if place > 0 && (digits.len() - place).is_multiple_of(3) {
                f.write_char('\u{202f}')?;
            }
            f.write_char(digit)?;
        }
        Ok(())
    }
}

/// A size in the unit that gives it one to four digits.
struct Size(u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
        let (mut size, mut unit) = (self.0 as f64, 0);
        while size >= 1024.0 && unit + 1 < UNITS.len() {
            size /= 1024.0;
            unit += 1;
        }
        let digits = usize::from(unit > 0 && size < 100.0);
        write!(f, "{size:.digits$}\u{a0}{}", UNITS.get(unit).copied().unwrap_or("B"))
    }
}

/// A span of time in its two largest units.
struct Span(i64);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.max(0) / 1000;
        match seconds {
            0..60 => write!(f, "{seconds} s"),
            60..3600 => write!(f, "{} min {} s", seconds / 60, seconds % 60),
            3600..86400 => write!(f, "{} h {} min", seconds / 3600, seconds / 60 % 60),
            _ => write!(f, "{} d {} h", seconds / 86400, seconds / 3600 % 24),
        }
    }
}

/// The page.
pub(super) fn html(served: &Served, looked: &Looked, process: &ProcessFigures) -> String {
    let mut page = String::with_capacity(32 << 10);
    let written = write_page(&mut page, served, looked, process);
    debug_assert!(written.is_ok(), "a string takes all that is written");
    page
}

fn write_page(page: &mut String, served: &Served, looked: &Looked, process: &ProcessFigures) -> fmt::Result {
    let broker = &served.broker;
    let told = served.addresses.iter().map(|address| address.advertised.to_string()).collect::<Vec<_>>().join(", ");
    let up = broker.clock.now().millis().saturating_sub(served.started.millis());
    write!(
        page,
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>klamm on {}</title><style>{STYLE}</style></head>\n<body><header><h1>klamm</h1><p>{} · broker {} · cluster {}</p>\
         <p class=\"late\" id=\"note\"></p><nav><a href=\"/metrics\">metrics</a><a href=\"/readyz\">ready?</a></nav></header>\n<main>",
        Text(&told),
        Text(&told),
        broker.config.broker_id,
        Text(looked.image.cluster_id().unwrap_or("without an id")),
    )?;
    tiles(page, served, looked, process, up)?;
    topics(page, looked)?;
    groups(page, looked)?;
    transactions(page, looked, broker.clock.now().millis())?;
    page.push_str("<div class=\"halves\"><div>");
    clients(page, served)?;
    page.push_str("</div><div>");
    requests(page, served)?;
    writeln!(page, "</div></div></main><script>{SCRIPT}</script></body></html>")
}

fn tiles(page: &mut String, served: &Served, looked: &Looked, process: &ProcessFigures, up_ms: i64) -> fmt::Result {
    let traffic = &served.broker.metrics.all_topics;
    let disk = served.broker.partitions.space_bytes();
    let stored: u64 = looked.partitions.iter().map(|partition| partition.size_bytes()).sum();
    let count = |count: u64| Number(i64::try_from(count).unwrap_or(i64::MAX)).to_string();
    let tiles = [
        (Span(up_ms).to_string(), "up"),
        (count(traffic.messages_in.get()), "records in"),
        (Size(traffic.bytes_in.get()).to_string(), "bytes in"),
        (Size(traffic.bytes_out.get()).to_string(), "bytes out"),
        (Size(stored).to_string(), "stored in logs"),
        (disk.map_or_else(|| "?".to_owned(), |(_, usable)| Size(usable).to_string()), "free on the disk"),
        (process.resident_bytes.map_or_else(|| "?".to_owned(), |bytes| Size(bytes).to_string()), "resident memory"),
        (count(u64::try_from(served.server.connections()).unwrap_or(0)), "connections"),
    ];
    page.push_str("<div class=\"tiles\">");
    for (number, label) in tiles {
        write!(page, "<div class=\"tile\"><b>{number}</b><span>{label}</span></div>")?;
    }
    page.push_str("</div>\n");
    Ok(())
}

/// The beginning of a section: its title, how many rows there are, and what stands there if there are none.
fn begin(page: &mut String, title: &str, rows: usize, otherwise: &str) -> fmt::Result {
    let more = if rows > ROWS_MAX { format!(", the first {ROWS_MAX} of them") } else { String::new() };
    write!(page, "<h2>{title}<small>{rows}{more}</small></h2><div class=\"card\">")?;
    if rows == 0 {
        write!(page, "<p class=\"empty\">{otherwise}</p>")?;
    }
    Ok(())
}

fn topics(page: &mut String, looked: &Looked) -> fmt::Result {
    let mut topics: BTreeMap<(bool, &str), Vec<&Arc<Partition>>> = BTreeMap::new();
    for partition in &looked.partitions {
        let name = partition.topic().as_str();
        // Internal topics stand last.
        topics.entry((name.starts_with("__"), name)).or_default().push(partition);
    }
    begin(page, "Topics", topics.len(), "No topic yet. Producing to one makes it.")?;
    if !topics.is_empty() {
        page.push_str(
            "<table><tr><th>topic<th class=\"n\">partitions<th class=\"n\">records<th class=\"n\">size<th class=\"n\">in<th class=\"n\">out</tr>",
        );
    }
    for (row, ((is_internal, name), partitions)) in topics.iter().take(ROWS_MAX).enumerate() {
        let records: i64 = partitions.iter().map(|one| one.offsets().log_end().get() - one.offsets().log_start().get()).sum();
        let size: u64 = partitions.iter().map(|one| one.size_bytes()).sum();
        let traffic = partitions.first().map(|one| one.traffic().topic());
        let (bytes_in, bytes_out) = traffic.map_or((0, 0), |traffic| (traffic.bytes_in.get(), traffic.bytes_out.get()));
        write!(
            page,
            "<tr{}><td class=\"name\"><button data-row=\"t{row}\" aria-expanded=\"false\">{}</button><td class=\"n\">{}<td class=\"n\">{}\
             <td class=\"n\">{}<td class=\"n\">{}<td class=\"n\">{}</tr><tr id=\"t{row}\" hidden><td class=\"inner\" colspan=\"6\"><table>\
             <tr><th>partition<th class=\"n\">first offset<th class=\"n\">end<th class=\"n\">high watermark<th class=\"n\">size<th>leader</tr>",
            if *is_internal { " class=\"soft\"" } else { "" },
            Text(name),
            partitions.len(),
            Number(records),
            Size(size),
            Size(bytes_in),
            Size(bytes_out),
        )?;
        for partition in partitions.iter().take(ROWS_MAX) {
            partition_row(page, looked, partition)?;
        }
        more(page, partitions.len())?;
        page.push_str("</table></tr>");
    }
    end(page, topics.is_empty());
    Ok(())
}

/// The last row of a table inside another one, if it does not hold all.
fn more(page: &mut String, rows: usize) -> fmt::Result {
    match rows.checked_sub(ROWS_MAX) {
        None | Some(0) => Ok(()),
        Some(left_out) => write!(page, "<tr><td class=\"soft\" colspan=\"6\">and {left_out} more</tr>"),
    }
}

fn partition_row(page: &mut String, looked: &Looked, partition: &Partition) -> fmt::Result {
    let offsets = partition.offsets();
    let leader = looked.image.partition(partition.id()).and_then(|state| state.leader);
    write!(
        page,
        "<tr><td>{}<td class=\"n\">{}<td class=\"n\">{}<td class=\"n\">{}<td class=\"n\">{}<td>{}</tr>",
        partition.id().partition,
        Number(offsets.log_start().get()),
        Number(offsets.log_end().get()),
        Number(offsets.high_watermark().get()),
        Size(partition.size_bytes()),
        leader.map_or_else(|| "<span class=\"late\">none</span>".to_owned(), |id| format!("broker {id}")),
    )
}

fn groups(page: &mut String, looked: &Looked) -> fmt::Result {
    begin(page, "Groups", looked.groups.len(), "No consumer group yet.")?;
    if !looked.groups.is_empty() {
        page.push_str("<table><tr><th>group<th>state<th class=\"n\">members<th class=\"n\">partitions<th class=\"n\">lag</tr>");
    }
    for (row, group) in looked.groups.iter().take(ROWS_MAX).enumerate() {
        let lags = group.offsets.iter().filter_map(|(topic, partition, committed)| looked.lag(topic, *partition, *committed));
        let lag: i64 = lags.sum();
        write!(
            page,
            "<tr><td class=\"name\"><button data-row=\"g{row}\" aria-expanded=\"false\">{}</button><td><span class=\"state {}\">{}</span>\
             <td class=\"n\">{}<td class=\"n\">{}<td class=\"n{}\">{}</tr>",
            Text(&group.group_id),
            group.state,
            group.state,
            group.members,
            group.offsets.len(),
            if lag > 0 { " late" } else { "" },
            // Who has committed nothing has no lag that anybody knows.
            if group.offsets.is_empty() { "\u{2013}".to_owned() } else { Number(lag).to_string() },
        )?;
        group_offsets(page, looked, group, row)?;
    }
    end(page, looked.groups.is_empty());
    Ok(())
}

fn group_offsets(page: &mut String, looked: &Looked, group: &GroupSummary, row: usize) -> fmt::Result {
    write!(page, "<tr id=\"g{row}\" hidden><td class=\"inner\" colspan=\"5\">")?;
    if group.offsets.is_empty() {
        page.push_str("<p class=\"soft\">Nothing committed.</p></tr>");
        return Ok(());
    }
    page.push_str("<table><tr><th>topic<th class=\"n\">partition<th class=\"n\">committed<th class=\"n\">lag</tr>");
    for (topic, partition, committed) in group.offsets.iter().take(ROWS_MAX) {
        let lag = looked.lag(topic, *partition, *committed);
        write!(
            page,
            "<tr><td>{}<td class=\"n\">{partition}<td class=\"n\">{}<td class=\"n{}\">{}</tr>",
            Text(topic),
            Number(*committed),
            if lag.is_some_and(|lag| lag > 0) { " late" } else { "" },
            lag.map_or_else(|| "?".to_owned(), |lag| Number(lag).to_string()),
        )?;
    }
    more(page, group.offsets.len())?;
    page.push_str("</table></tr>");
    Ok(())
}

/// Left out where nobody has used transactions.
fn transactions(page: &mut String, looked: &Looked, now_ms: i64) -> fmt::Result {
    if looked.transactions.is_empty() {
        return Ok(());
    }
    begin(page, "Transactions", looked.transactions.len(), "")?;
    page.push_str(
        "<table><tr><th>transactional id<th>state<th class=\"n\">producer, epoch<th class=\"n\">partitions<th class=\"n\">open for</tr>",
    );
    for transaction in looked.transactions.iter().take(ROWS_MAX) {
        let open_ms = transaction.open_since.map(|since| now_ms.saturating_sub(since.millis()));
        write!(
            page,
            "<tr><td class=\"name\">{}<td><span class=\"state {}\">{}</span><td class=\"n\">{}, {}<td class=\"n\">{}<td class=\"n\">{}</tr>",
            Text(&transaction.transactional_id),
            transaction.state,
            transaction.state,
            transaction.producer_id,
            transaction.producer_epoch,
            transaction.partitions,
            open_ms.map_or_else(|| "\u{2013}".to_owned(), |open_ms| Span(open_ms).to_string()),
        )?;
    }
    end(page, false);
    Ok(())
}

fn clients(page: &mut String, served: &Served) -> fmt::Result {
    let open = served.server.open();
    begin(page, "Clients", open.len(), "Nobody is connected.")?;
    if !open.is_empty() {
        page.push_str("<table><tr><th>client id<th>software<th>from<th>listener</tr>");
    }
    for connection in open.iter().take(ROWS_MAX) {
        let software = connection.client_software().map(|software| format!("{} {}", software.name, software.version));
        write!(
            page,
            "<tr><td class=\"name\">{}<td class=\"soft\">{}<td>{}<td class=\"soft\">{}</tr>",
            Text(connection.client_id().filter(|id| !id.is_empty()).unwrap_or("\u{2013}")),
            Text(software.as_deref().unwrap_or("\u{2013}")),
            connection.peer(),
            Text(connection.listener().as_str()),
        )?;
    }
    end(page, open.is_empty());
    Ok(())
}

fn requests(page: &mut String, served: &Served) -> fmt::Result {
    let apis = served.broker.metrics.requests.all();
    // The two kinds of fetch are counted as Fetch too.
    let mut used: Vec<_> = apis.filter(|api| api.answered() > 0 && !matches!(api.name(), "FetchConsumer" | "FetchFollower")).collect();
    used.sort_by_key(|api| std::cmp::Reverse(api.answered()));
    begin(page, "Requests", used.len(), "No request yet.")?;
    if !used.is_empty() {
        page.push_str("<table><tr><th>API<th class=\"n\">answered<th class=\"n\">error codes<th class=\"n\">mean time</tr>");
    }
    for api in &used {
        let errors: u64 = api.codes().filter(|(code, _)| *code != 0).map(|(_, count)| count).sum();
        let count = |count: u64| Number(i64::try_from(count).unwrap_or(i64::MAX));
        write!(
            page,
            "<tr><td>{}<td class=\"n\">{}<td class=\"n{}\">{}<td class=\"n\">{:.2}\u{a0}ms</tr>",
            api.name(),
            count(api.answered()),
            if errors > 0 { " late" } else { " soft" },
            count(errors),
            api.mean_time_ms(),
        )?;
    }
    end(page, used.is_empty());
    Ok(())
}

fn end(page: &mut String, is_empty: bool) {
    page.push_str(if is_empty { "</div>\n" } else { "</table></div>\n" });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_clients_cannot_become_markup() {
        assert_eq!(Text("<script>\"a\" & 'b'").to_string(), "&lt;script&gt;&quot;a&quot; &amp; &#39;b&#39;");
    }

    #[test]
    fn numbers_sizes_and_spans_are_written_for_people() {
        assert_eq!(Number(1_234_567).to_string(), "1\u{202f}234\u{202f}567");
        assert_eq!(Number(-12).to_string(), "\u{2212}12");
        assert_eq!(Number(123).to_string(), "123");
        assert_eq!(Size(1023).to_string(), "1023\u{a0}B");
        assert_eq!(Size(1536).to_string(), "1.5\u{a0}KiB");
        assert_eq!(Size(400 << 20).to_string(), "400\u{a0}MiB");
        assert_eq!(Span(59_999).to_string(), "59 s");
        assert_eq!(Span(3_725_000).to_string(), "1 h 2 min");
        assert_eq!(Span(90_000_000).to_string(), "1 d 1 h");
    }
}
