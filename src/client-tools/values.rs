//! Values of the command line that several commands take: where the library's own words for what it cannot read do not say what is wanted.

use std::net::Ipv6Addr;

/// Kafka's port.
const DEFAULT_PORT: &str = "9092";

/// A whole number that fits where it is to go.
///
/// # Errors
/// What is expected.
pub fn number<T: TryFrom<i64>>(text: &str) -> Result<T, &'static str> {
    let number: i64 = text.parse().map_err(|_| "expected a whole number")?;
    T::try_from(number).map_err(|_| "the number is out of range")
}

/// A broker's id.
///
/// # Errors
/// What is expected.
pub fn broker_id(text: &str) -> Result<i32, &'static str> {
    text.parse().ok().filter(|id| *id >= 0).ok_or("expected a broker id, a whole number such as 1")
}

/// An address, with Kafka's port where none is given.
///
/// # Errors
/// What is expected.
pub fn address(text: &str) -> Result<String, String> {
    let text = text.trim();
    if text.parse::<Ipv6Addr>().is_ok() {
        return Ok(format!("[{text}]:{DEFAULT_PORT}"));
    }
    // In brackets stands an IPv6 address, whose colons are its own.
    let behind = text.rfind(']').map_or(0, |bracket| bracket + 1);
    let (before, rest) = text.split_at(behind);
    let (host, port) = match rest.rsplit_once(':') {
        Some((host, port)) => (host, port),
        None => (rest, DEFAULT_PORT),
    };
    let is_number = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    if (before.is_empty() && host.is_empty()) || host.contains(':') || !is_number {
        return Err("expected HOST:PORT, as 127.0.0.1:9092".to_owned());
    }
    match port.parse::<u16>() {
        Ok(1..) => Ok(format!("{before}{host}:{port}")),
        Ok(0) | Err(_) => Err(format!("port {port} is out of range, which is 1 to 65535")),
    }
}

/// Addresses separated by commas.
///
/// # Errors
/// What is expected.
pub fn addresses(text: &str) -> Result<String, String> {
    let addresses: Result<Vec<String>, String> = text.split(',').filter(|part| !part.trim().is_empty()).map(address).collect();
    match addresses?.join(",") {
        none if none.is_empty() => Err("expected HOST:PORT, as 127.0.0.1:9092".to_owned()),
        addresses => Ok(addresses),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_without_a_port_has_kafkas() {
        for (given, expected) in [
            ("a", "a:9092"),
            ("a:1", "a:1"),
            ("[::1]:7", "[::1]:7"),
            ("::1", "[::1]:9092"),
            ("[::1]", "[::1]:9092"),
            ("127.0.0.1:65535", "127.0.0.1:65535"),
        ] {
            assert_eq!(address(given).as_deref(), Ok(expected));
        }
        assert_eq!(addresses("a, b:1,").as_deref(), Ok("a:9092,b:1"));
    }

    #[test]
    fn an_address_that_is_none_is_refused_with_what_is_wrong() {
        for port in ["0", "65536", "99999"] {
            assert_eq!(address(&format!("h:{port}")), Err(format!("port {port} is out of range, which is 1 to 65535")));
        }
        for text in ["", ":", ":9092", "h:", "h:x", "a:b:1", "[::1]x:", "fe80::1::2"] {
            assert_eq!(address(text).unwrap_err(), "expected HOST:PORT, as 127.0.0.1:9092", "{text}");
        }
        assert!(addresses("").is_err() && addresses(" ,").is_err() && addresses("a,b:x").is_err());
    }

    #[test]
    fn a_number_that_does_not_fit_is_told_from_what_is_none() {
        assert_eq!((number::<i16>("7"), number::<i32>("-1"), number::<u64>("0")), (Ok(7), Ok(-1), Ok(0)));
        assert_eq!(number::<i16>("70000"), Err("the number is out of range"));
        assert_eq!(number::<u64>("-1"), Err("the number is out of range"));
        assert_eq!(number::<i32>("six"), Err("expected a whole number"));
        assert_eq!((broker_id("0"), broker_id("-1").is_err(), broker_id("x").is_err()), (Ok(0), true, true));
    }
}
