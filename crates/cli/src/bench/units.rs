//! Numbers as people read them.

/// A time of so many nanoseconds.
pub(crate) fn time(nanos: f64) -> String {
    let (value, unit) = match nanos {
        n if n < 999.5e3 => (n / 1e3, "µs"),
        n if n < 999.5e6 => (n / 1e6, "ms"),
        n => (n / 1e9, "s"),
    };
    format!("{} {unit}", three_digits(value))
}

/// So many bytes.
pub(crate) fn bytes(bytes: f64) -> String {
    let (value, unit) = match bytes {
        n if n < 999.5 => return format!("{n:.0} B"),
        n if n < 999.5e3 => (n / 1e3, "kB"),
        n if n < 999.5e6 => (n / 1e6, "MB"),
        n => (n / 1e9, "GB"),
    };
    format!("{} {unit}", three_digits(value))
}

/// A count or a rate, with a comma before each three digits.
pub(super) fn count(number: f64) -> String {
    if number.fract() != 0.0 && number < 100.0 {
        return three_digits(number);
    }
    let digits = format!("{number:.0}");
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn three_digits(value: f64) -> String {
    match value {
        v if v < 9.995 => format!("{v:.2}"),
        v if v < 99.95 => format!("{v:.1}"),
        v => format!("{v:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_digits_and_a_unit() {
        assert_eq!(time(64.0), "0.06 µs");
        assert_eq!(time(12_340.0), "12.3 µs");
        assert_eq!(time(999_600.0), "1.00 ms");
        assert_eq!(time(1.5e9), "1.50 s");
        assert_eq!(bytes(0.0), "0 B");
        assert_eq!(bytes(123_456.0), "123 kB");
        assert_eq!(bytes(5.2e9), "5.20 GB");
        assert_eq!(count(0.0), "0");
        assert_eq!(count(999.0), "999");
        assert_eq!(count(1_234_567.0), "1,234,567");
        assert_eq!(count(31_200.4), "31,200");
        assert_eq!(count(0.5), "0.50");
    }
}
