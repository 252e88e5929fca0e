//! Looks at a broker, off the network's threads: the text of a scrape, and the page.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use broker::metrics::{self, Coordinated, Families, Looked};
use broker::read_pool::off_thread;
use wire::clock::timeout_at;

use super::process_figures::{self, ProcessFigures};
use super::{Served, page, rows};

/// How long the coordinators may take to tell of what they have. One that still loads its partition leaves them all out rather than hold up the rest.
const COORDINATORS_WAIT: Duration = Duration::from_secs(5);

/// The text of a scrape; `None` if looking failed.
pub(super) async fn metrics(served: Arc<Served>) -> Option<String> {
    let coordinated = coordinated(&served).await;
    off_thread(move || {
        let looked = metrics::look(&served.broker, coordinated);
        let mut families = Families::default();
        metrics::collect(&served.broker, &looked, &mut families);
        sockets(&served, &mut families);
        process(&served, &process_figures::look(), &mut families);
        families.text()
    })
    .await
}

/// The page; `None` if looking failed.
pub(super) async fn page(served: Arc<Served>) -> Option<String> {
    let coordinated = coordinated(&served).await;
    off_thread(move || {
        let looked: Looked = metrics::look(&served.broker, coordinated);
        page::html(&served, &looked, &process_figures::look())
    })
    .await
}

async fn coordinated(served: &Served) -> Coordinated {
    let (broker, clock) = (&served.broker, &*served.broker.clock);
    let until = clock.monotonic() + COORDINATORS_WAIT;
    let groups = timeout_at(clock, until, broker.groups.summaries()).await.unwrap_or_default();
    let transactions = timeout_at(clock, until, broker.transactions.summaries()).await.unwrap_or_default();
    Coordinated { groups, transactions }
}

fn sockets(served: &Served, families: &mut Families) {
    let mut open: BTreeMap<String, u64> = served.addresses.iter().map(|address| (address.listener.clone(), 0)).collect();
    for connection in served.server.open() {
        *open.entry(connection.listener().as_str().to_owned()).or_default() += 1;
    }
    for (listener, count) in open {
        families.count(&rows::CONNECTIONS, &[&listener], count);
    }
    let size = |bytes: usize| u64::try_from(bytes).unwrap_or(u64::MAX);
    let (total, available) = (served.budget.total_bytes(), served.budget.available_bytes());
    families.count(&rows::MEMORY_AVAILABLE, &[], size(available));
    families.count(&rows::MEMORY_USED, &[], size(total.saturating_sub(available)));
    families.count(&rows::MEMORY_WAITS, &[], served.budget.waits());
    let counters = served.server.counters();
    families.count(&rows::ACCEPTED, &[], counters.accepted_total());
    families.count(&rows::REFUSED, &[], counters.refused_total());
    for (reason, count) in counters.closed_totals() {
        families.count(&rows::CLOSED, &[reason], count);
    }
}

fn process(served: &Served, figures: &ProcessFigures, families: &mut Families) {
    families.count(&rows::BUILD, &[env!("CARGO_PKG_VERSION")], 1);
    if let Some(seconds) = figures.cpu_seconds {
        families.add(&rows::CPU, &[], seconds);
    }
    let numbers = [
        (&rows::RESIDENT, figures.resident_bytes),
        (&rows::VIRTUAL, figures.virtual_bytes),
        (&rows::THREADS, figures.threads),
        (&rows::OPEN_FDS, figures.open_descriptors),
        (&rows::MAX_FDS, figures.descriptors_max),
    ];
    for (row, number) in numbers {
        if let Some(number) = number {
            families.count(row, &[], number);
        }
    }
    families.add(&rows::STARTED, &[], served.started.millis() as f64 / 1000.0);
}
