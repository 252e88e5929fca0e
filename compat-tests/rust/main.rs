//! Plays the named scenarios with the crates rdkafka and rskafka. README.md in the folder above tells the contract with the runner.

mod groups;
mod player;
mod rdkafka_driver;
mod rskafka_driver;
mod scenarios;
mod transactions;

fn main() -> player::Played {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["rdkafka"] => {
            let table = [scenarios::table(), rdkafka_driver::table(), groups::table(), transactions::table()].concat();
            player::play(&rdkafka_driver::Rdkafka::new()?, &table);
        }
        // rskafka has no consumer groups, no topic's configuration, no acks but all, no repeated header, no partitioner and no idempotent producer,
        // and what it asks about is created by that.
        ["rskafka"] => player::play(&rskafka_driver::Rskafka::new()?, &scenarios::table()),
        ["member", group, topic] => groups::child_member(group, topic)?,
        _ => return Err("rust-client rdkafka | rskafka".into()),
    }
    Ok(())
}
