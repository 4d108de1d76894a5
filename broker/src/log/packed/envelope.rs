//! The members every payload begins with: type, id and `processed_at`. All three are known from elsewhere, or fit in eight
//! bytes, so they are written out again when an event is read.

use std::fmt::Write as _;

use perennial_schema::{EventId, Timestamp};

const TYPE: &str = "{\"type\":\"";
const ID: &str = "\",\"id\":\"sevt_";
const AT: &str = "\",\"processed_at\":";
const NULL: &str = "null";
/// `2026-11-21T09:26:53.589793Z`.
const TIME: usize = 27;
/// Length of an envelope, without its kind.
pub(super) const BYTES: usize = TYPE.len() + ID.len() + 32 + AT.len() + TIME + 2;

/// A payload's envelope; none of it but the time is its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Envelope {
    pub(super) at: Option<Stamp>,
}

impl Envelope {
    /// Splits a payload that begins as [`Envelope::before`] would write it.
    pub(super) fn strip<'p>(id: EventId, kind: &str, payload: &'p str) -> Option<(Self, &'p str)> {
        let rest = payload.strip_prefix(TYPE)?.strip_prefix(kind)?.strip_prefix(ID)?;
        let mut digits = [0; 32];
        let rest = rest
            .strip_prefix(&*id.uuid().simple().encode_lower(&mut digits))?
            .strip_prefix(AT)?;
        if let Some(rest) = rest.strip_prefix(NULL) {
            return Some((Self { at: None }, rest));
        }
        let rest = rest.strip_prefix('"')?;
        let (time, rest) = rest.split_at_checked(TIME)?;
        let rest = rest.strip_prefix('"')?;
        Some((
            Self {
                at: Some(Stamp::parse(time.as_bytes())?),
            },
            rest,
        ))
    }

    /// The payload whose envelope this is.
    pub(super) fn before(self, id: EventId, kind: &str, rest: &str) -> String {
        let mut payload = String::with_capacity(BYTES + kind.len() + rest.len());
        payload.push_str(TYPE);
        payload.push_str(kind);
        payload.push_str(ID);
        payload.push_str(id.uuid().simple().encode_lower(&mut [0; 32]));
        payload.push_str(AT);
        match self.at {
            None => payload.push_str(NULL),
            Some(at) => {
                payload.push('"');
                at.write(&mut payload);
                payload.push('"');
            }
        }
        payload.push_str(rest);
        payload
    }
}

/// A time that can be written with four digits of a year: microseconds since the epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp(i64);

const DAY: i64 = 86_400_000_000;

impl Stamp {
    pub(super) fn of(at: Timestamp) -> Self {
        Self(at.micros())
    }

    pub(super) fn time(self) -> Timestamp {
        Timestamp::from_micros(self.0)
    }

    pub(super) fn micros(self) -> i64 {
        self.0
    }

    /// Reads exactly what [`Stamp::write`] writes.
    fn parse(text: &[u8]) -> Option<Self> {
        const FORM: &[u8; TIME] = b"0000-00-00T00:00:00.000000Z";
        let is_digit = |byte: u8, form: u8| {
            if form == b'0' {
                byte.is_ascii_digit()
            } else {
                byte == form
            }
        };
        if text.len() != TIME || !text.iter().zip(FORM).all(|(byte, form)| is_digit(*byte, *form)) {
            return None;
        }
        let number = |from: usize, to: usize| {
            text[from..to]
                .iter()
                .fold(0_i64, |number, digit| number * 10 + i64::from(digit - b'0'))
        };
        let (year, month, day) = (number(0, 4), number(5, 7), number(8, 10));
        let (hour, minute, second) = (number(11, 13), number(14, 16), number(17, 19));
        let days = days(year, month, day);
        if hour > 23 || minute > 59 || second > 59 || date(days) != (year, month, day) {
            return None;
        }
        let seconds = (hour * 60 + minute) * 60 + second;
        Some(Self(days * DAY + seconds * 1_000_000 + number(20, 26)))
    }

    fn write(self, out: &mut String) {
        let (year, month, day) = date(self.0.div_euclid(DAY));
        let micros = self.0.rem_euclid(DAY);
        let (seconds, micros) = (micros / 1_000_000, micros % 1_000_000);
        let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
        if !(0..=9999).contains(&year) {
            // Nothing of ours was written so; a damaged row shows what it has.
            let _ = write!(out, "{}", self.time());
            return;
        }
        for (number, digits, end) in [
            (year, 4, '-'),
            (month, 2, '-'),
            (day, 2, 'T'),
            (hour, 2, ':'),
            (minute, 2, ':'),
            (second, 2, '.'),
            (micros, 6, 'Z'),
        ] {
            let mut power = 10_i64.pow(digits - 1);
            while power > 0 {
                out.push(char::from(b'0' + u8::try_from(number / power % 10).unwrap_or(0)));
                power /= 10;
            }
            out.push(end);
        }
    }
}

/// Days since the epoch of a date in the Gregorian calendar; any numbers give some day.
fn days(year: i64, month: i64, day: i64) -> i64 {
    // Years that begin in March, so that the leap day is the last.
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// Year, month and day of a day.
fn date(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn times_are_written_as_everywhere_else(micros in -62_167_219_200_000_000_i64..253_402_300_800_000_000) {
            let mut text = String::new();
            Stamp(micros).write(&mut text);
            prop_assert_eq!(&text, &Timestamp::from_micros(micros).to_string());
            prop_assert_eq!(Stamp::parse(text.as_bytes()), Some(Stamp(micros)));
        }
    }

    #[test]
    fn other_spellings_of_a_time_are_left_alone() {
        for text in [
            "2026-02-29T00:00:00.000000Z",
            "2026-13-01T00:00:00.000000Z",
            "2026-01-01T24:00:00.000000Z",
            "2026-01-01T00:00:60.000000Z",
            "2026-01-01 00:00:00.000000Z",
            "2026-01-01T00:00:00.000000z",
        ] {
            assert_eq!(Stamp::parse(text.as_bytes()), None, "{text}");
        }
    }
}
