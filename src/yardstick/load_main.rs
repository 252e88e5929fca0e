//! `load produce|consume|latency --address HOST:PORT --topic NAME ...`: one measured load; prints one line of JSON.

use std::io;

use yardstick::client::fault;
use yardstick::load::{Arguments, Load};

fn main() -> io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let verb = arguments.next().unwrap_or_default();
    let load = Load::from_arguments(&Arguments::parse(arguments)?)?;
    let line = match verb.as_str() {
        "produce" => load.produce()?,
        "consume" => load.consume()?,
        "latency" => load.latency()?,
        other => return Err(fault(format!("unknown load {other}; there are produce, consume and latency"))),
    };
    println!("{line}");
    Ok(())
}
