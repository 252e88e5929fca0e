//! `load produce|consume|latency|transactions --address HOST:PORT --topic NAME ...`: one measured load; prints one line of JSON.

use std::io;

use yardstick::client::fault;
use yardstick::load::{Arguments, Load};
use yardstick::transactions::Transactions;

fn main() -> io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let verb = arguments.next().unwrap_or_default();
    let arguments = Arguments::parse(arguments)?;
    if verb == "transactions" {
        println!("{}", Transactions::from_arguments(&arguments)?.run()?);
        return Ok(());
    }
    let load = Load::from_arguments(&arguments)?;
    let line = match verb.as_str() {
        "produce" => load.produce()?,
        "consume" => load.consume()?,
        "latency" => load.latency()?,
        other => return Err(fault(format!("unknown load {other}; there are produce, consume, latency and transactions"))),
    };
    println!("{line}");
    Ok(())
}
