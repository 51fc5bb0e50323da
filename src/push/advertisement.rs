//! The references that a listing shows to a pusher that may not clone. It may push some of them only, or see them all.

use bytes::Bytes;

/// The bytes of a line's length.
const LENGTH_BYTES: usize = 4;
/// The capability that makes git send complete objects, because the server rejects differences from its own objects.
const NO_THIN: &[u8] = b" no-thin";
/// The name that stands for no reference, so that the capabilities have a line.
const NO_REFERENCE: &[u8] = b"0000000000000000000000000000000000000000 capabilities^{}";

/// Removes the references that are not shown, and asks for complete objects. Returns `None` for bytes that are no listing of git.
pub(super) fn reduced(listed: &[u8], is_shown: impl Fn(&str) -> bool) -> Option<Bytes> {
    let (mut rest, mut capabilities) = (listed, None);
    let mut lines: Vec<&[u8]> = Vec::new();
    while let Some((line, after)) = next(rest)? {
        rest = after;
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let at = line.iter().position(|byte| *byte == 0);
        let reference = &line[..at.unwrap_or(line.len())];
        if let Some(at) = at {
            capabilities = Some(&line[at..]);
        }
        let name = reference.splitn(2, |byte| *byte == b' ').nth(1)?;
        if std::str::from_utf8(name).is_ok_and(&is_shown) {
            lines.push(reference);
        }
    }
    let capabilities = capabilities?;
    if lines.is_empty() {
        lines.push(NO_REFERENCE);
    }
    let mut text = Vec::with_capacity(listed.len());
    for (index, line) in lines.into_iter().enumerate() {
        let end = if index == 0 { [capabilities, NO_THIN].concat() } else { Vec::new() };
        let length = LENGTH_BYTES + line.len() + end.len() + 1;
        text.extend_from_slice(format!("{length:04x}").as_bytes());
        text.extend_from_slice(line);
        text.extend_from_slice(&end);
        text.push(b'\n');
    }
    text.extend_from_slice(b"0000");
    Some(text.into())
}

/// Splits the first line off. `None` for a malformed line, and `Some(None)` at the end of the listing.
fn next(bytes: &[u8]) -> Option<Option<(&[u8], &[u8])>> {
    let (length, rest) = bytes.split_at_checked(LENGTH_BYTES)?;
    let length = usize::from_str_radix(std::str::from_utf8(length).ok()?, 16).ok()?;
    if length == 0 {
        return Some(None);
    }
    rest.split_at_checked(length.checked_sub(LENGTH_BYTES)?).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

    fn listing(lines: &[String]) -> String {
        let lines = lines.iter().map(|line| format!("{:04x}{line}", line.len() + 4));
        lines.collect::<String>() + "0000"
    }

    #[test]
    fn hidden_references_are_removed_and_the_capabilities_stay() {
        let all = listing(&[
            format!("{A} refs/heads/other\0report-status atomic\n"),
            format!("{A} refs/heads/main\n"),
            format!("{A} .have\n"),
        ]);
        let shown = reduced(all.as_bytes(), |name| name == "refs/heads/main").unwrap();
        let expected = listing(&[format!("{A} refs/heads/main\0report-status atomic no-thin\n")]);
        assert_eq!(String::from_utf8_lossy(&shown), expected);
        let none = reduced(all.as_bytes(), |_| false).unwrap();
        let zero = "0".repeat(40);
        let expected =
            listing(&[format!("{zero} capabilities^{{}}\0report-status atomic no-thin\n")]);
        assert_eq!(String::from_utf8_lossy(&none), expected);
        assert_eq!(reduced(b"00zz", |_| true), None);
        assert_eq!(reduced(b"0000", |_| true), None);
    }
}
