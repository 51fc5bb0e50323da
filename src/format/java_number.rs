//! Numbers in the text that Java prints, so that clients receive the same text as from the original.

/// Formats a floating-point number as `Double.toString` of JDK 19 and later: the shortest digits that parse to the number.
pub(super) fn double(number: f64) -> Box<str> {
    if number.is_nan() {
        return "NaN".into();
    }
    if number.is_infinite() {
        return if number > 0.0 { "Infinity" } else { "-Infinity" }.into();
    }
    let (digits, exponent) = shortest(number.abs());
    let sign = if number.is_sign_negative() { "-" } else { "" };
    let text = match exponent {
        -3..=-1 => format!("{sign}0.{}{}", "0".repeat(-exponent as usize - 1), digits),
        0..=6 => plain(sign, &digits, exponent as usize),
        _ => format!("{sign}{}.{}E{exponent}", &digits[..1], fraction(&digits[1..])),
    };
    text.into()
}

/// The shortest digits, and the power of ten of the first digit.
fn shortest(number: f64) -> (String, i32) {
    let mut text = format!("{number:e}");
    if text.find('e') == Some(1) {
        // Java prints at least two digits and chooses the nearest two: 4.9E-324, not 5.0E-324.
        text = format!("{number:.1e}");
    }
    let (mantissa, exponent) = text.split_once('e').expect("the format has an exponent");
    let digits = mantissa.replace('.', "");
    let digits = digits.trim_end_matches('0');
    let digits = if digits.is_empty() { "0" } else { digits };
    (digits.to_owned(), exponent.parse().expect("the exponent of a double is a small integer"))
}

fn plain(sign: &str, digits: &str, exponent: usize) -> String {
    if digits.len() <= exponent {
        return format!("{sign}{digits}{}.0", "0".repeat(exponent + 1 - digits.len()));
    }
    let (whole, rest) = digits.split_at(exponent + 1);
    format!("{sign}{whole}.{}", fraction(rest))
}

fn fraction(digits: &str) -> &str {
    if digits.is_empty() { "0" } else { digits }
}

#[cfg(test)]
mod tests {
    use super::double;

    #[track_caller]
    fn check(number: f64, expected: &str) {
        assert_eq!(&*double(number), expected);
        assert_eq!(&*double(-number), format!("-{expected}"));
    }

    #[test]
    fn numbers_between_a_thousandth_and_ten_million_are_plain() {
        check(0.0, "0.0");
        check(1.0, "1.0");
        check(0.5, "0.5");
        check(1.25, "1.25");
        check(0.001, "0.001");
        check(0.0125, "0.0125");
        check(100.0, "100.0");
        check(685_230.15, "685230.15");
        check(9_999_999.0, "9999999.0");
        check(1_000_000.0, "1000000.0");
    }

    #[test]
    fn other_numbers_have_an_exponent() {
        check(1e7, "1.0E7");
        check(12_345_678.9, "1.23456789E7");
        check(1e-4, "1.0E-4");
        check(0.000_999, "9.99E-4");
        check(2e23, "2.0E23");
        check(f64::MAX, "1.7976931348623157E308");
        check(f64::MIN_POSITIVE, "2.2250738585072014E-308");
    }

    #[test]
    fn a_single_digit_becomes_the_two_nearest() {
        check(5e-324, "4.9E-324");
        check(1e-323, "9.9E-324");
    }

    #[test]
    fn infinities_and_nan_have_names() {
        assert_eq!(&*double(f64::NAN), "NaN");
        assert_eq!(&*double(f64::INFINITY), "Infinity");
        assert_eq!(&*double(f64::NEG_INFINITY), "-Infinity");
    }
}
