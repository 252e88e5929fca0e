//! Times and durations as ISO 8601 writes them and Kafka's tools read them (`--to-datetime`, `--by-duration`). Pure.

const DAY_MS: i64 = 86_400_000;

/// Milliseconds since 1970 of `YYYY-MM-DDThh:mm:ss[.sss]`, then `Z`, `±hh`, `±hhmm` or `±hh:mm`; without any of these it is UTC, as for Kafka's tools.
pub(crate) fn datetime(text: &str) -> Option<i64> {
    let (date, time) = text.split_once('T')?;
    let mut parts = date.split('-');
    let (year, month, day) = (digits(parts.next()?, 4)?, digits(parts.next()?, 2)?, digits(parts.next()?, 2)?);
    if parts.next().is_some() || !(1..=12).contains(&month) || day < 1 || day > days_in(year, month) {
        return None;
    }
    let (clock, zone_minutes) = zone(time)?;
    let (clock, fraction) = clock.split_once('.').map_or((clock, None), |(clock, fraction)| (clock, Some(fraction)));
    let mut parts = clock.split(':');
    let (hour, minute) = (digits(parts.next()?, 2)?, digits(parts.next()?, 2)?);
    let second = parts.next().map_or(Some(0), |second| digits(second, 2))?;
    if parts.next().is_some() || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let ms = fraction.map_or(Some(0), thousandths)?;
    Some(days_since_1970(year, month, day) * DAY_MS + ((hour * 60 + minute - zone_minutes) * 60 + second) * 1_000 + ms)
}

/// Milliseconds of `PnDTnHnMn.nS`, each part may be left out, but not all.
pub(crate) fn duration(text: &str) -> Option<i64> {
    let text = text.strip_prefix('P')?;
    let (days, times) = text.split_once('T').map_or((text, None), |(days, times)| (days, Some(times)));
    if times == Some("") || (days.is_empty() && times.is_none()) {
        return None;
    }
    let mut total = 0_i64;
    if !days.is_empty() {
        total = whole(days.strip_suffix('D')?)?.checked_mul(DAY_MS)?;
    }
    let mut rest = times.unwrap_or_default();
    for (unit, unit_ms) in [('H', 3_600_000), ('M', 60_000)] {
        if let Some((number, behind)) = rest.split_once(unit) {
            total = total.checked_add(whole(number)?.checked_mul(unit_ms)?)?;
            rest = behind;
        }
    }
    if rest.is_empty() {
        return Some(total);
    }
    let seconds = rest.strip_suffix('S')?;
    let (seconds, fraction) = seconds.split_once('.').map_or((seconds, None), |(seconds, fraction)| (seconds, Some(fraction)));
    let ms = fraction.map_or(Some(0), thousandths)?;
    total.checked_add(whole(seconds)?.checked_mul(1_000)?)?.checked_add(ms)
}

/// A time without its zone, and the zone's minutes east of UTC.
fn zone(time: &str) -> Option<(&str, i64)> {
    if let Some(time) = time.strip_suffix('Z') {
        return Some((time, 0));
    }
    let Some(at) = time.find(['+', '-']) else { return Some((time, 0)) };
    let (time, zone) = time.split_at_checked(at)?;
    let sign = if zone.starts_with('-') { -1 } else { 1 };
    let zone = zone.get(1..)?.replacen(':', "", 1);
    let (hours, minutes) = zone.split_at_checked(2)?;
    let minutes = if minutes.is_empty() { 0 } else { digits(minutes, 2)? };
    Some((time, sign * (digits(hours, 2)? * 60 + minutes)))
}

fn digits(text: &str, count: usize) -> Option<i64> {
    (text.len() == count && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse().ok())?
}

fn whole(text: &str) -> Option<i64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

/// The milliseconds of digits behind a point; finer ones are left out.
fn thousandths(digits: &str) -> Option<i64> {
    if digits.is_empty() || digits.len() > 9 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    format!("{digits:0<3}").get(..3)?.parse().ok()
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_in(year: i64, month: i64) -> i64 {
    match month {
        2 => 28 + i64::from(is_leap(year)),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    // Years that begin in March end with the leap day.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    year * 365 + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + (153 * month + 2) / 5 + day - 719_469
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_milliseconds_since_1970_in_utc_unless_they_say_otherwise() {
        for (text, ms) in [
            ("1970-01-01T00:00:00.000", 0),
            ("1970-01-01T00:00:00", 0),
            ("1970-01-01T01:00:00.000+01:00", 0),
            ("1969-12-31T19:00:00-0500", 0),
            ("1970-01-01T05:00+05", 0),
            ("2026-01-01T00:00:00Z", 1_767_225_600_000),
            ("2024-02-29T23:59:59.9Z", 1_709_251_199_900),
            ("2000-03-01T00:00:00.123456Z", 951_868_800_123),
        ] {
            assert_eq!(datetime(text), Some(ms), "{text}");
        }
        for text in [
            "",
            "2026-01-01",
            "2026-13-01T00:00:00",
            "2023-02-29T00:00:00",
            "2026-01-01T24:00:00",
            "2026-01-01T00:00:00.",
            "2026-1-1T00:00:00",
            "T",
            "2026-01-01T00:00:00+1",
        ] {
            assert_eq!(datetime(text), None, "{text}");
        }
    }

    #[test]
    fn durations_are_javas() {
        for (text, ms) in [
            ("PT1H", 3_600_000),
            ("P1D", DAY_MS),
            ("P2DT3H4M5.006S", 2 * DAY_MS + 3 * 3_600_000 + 4 * 60_000 + 5_006),
            ("PT0S", 0),
            ("PT90M", 90 * 60_000),
        ] {
            assert_eq!(duration(text), Some(ms), "{text}");
        }
        for text in ["", "P", "PT", "1H", "P1H", "PT1D", "PT1S1M", "PTS", "PT1", "P1DT", "PT-1H", "P99999999999999999D"] {
            assert_eq!(duration(text), None, "{text}");
        }
    }
}
