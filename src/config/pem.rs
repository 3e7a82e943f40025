//! Certificates in PEM text (RFC 7468).

const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";

/// The certificates of a PEM text, as DER. The error says what would be right.
///
/// Text around them is skipped, as RFC 7468 section 2 says. Of a certificate only the outer frame is checked.
pub(crate) fn certificates(pem: &[u8]) -> Result<Vec<Vec<u8>>, String> {
    if pem.starts_with(&[0x30, 0x82]) {
        return Err("is a DER file: convert it with `openssl x509 -inform der -outform pem`".into());
    }
    let text = String::from_utf8_lossy(pem);
    let mut found = Vec::new();
    let mut rest: &str = &text;
    while let Some((_, after)) = rest.split_once(BEGIN) {
        let number = found.len() + 1;
        let (body, after) =
            after.split_once(END).ok_or_else(|| format!("certificate {number} has no line \"{END}\""))?;
        let base64: String = body.split_ascii_whitespace().collect();
        let der = data_encoding::BASE64
            .decode(base64.as_bytes())
            .map_err(|_| format!("certificate {number} is not base64 between its BEGIN and END lines"))?;
        if !is_sequence(&der) {
            return Err(format!("certificate {number} is cut or not an X.509 certificate"));
        }
        found.push(der);
        rest = after;
    }
    if found.is_empty() {
        return Err(format!("has no certificate: expected PEM text with a line \"{BEGIN}\""));
    }
    Ok(found)
}

/// Whether the bytes are one DER sequence, and nothing behind it (X.690 section 8.1).
fn is_sequence(der: &[u8]) -> bool {
    let [0x30, length, rest @ ..] = der else { return false };
    let (length, rest) = match usize::from(*length) {
        short @ 0..0x80 => (short, rest),
        long => {
            let Some((length, rest)) = rest.split_at_checked(long - 0x80) else { return false };
            if length.is_empty() || length.len() > 4 {
                return false;
            }
            (length.iter().fold(0_usize, |sum, byte| sum << 8 | usize::from(*byte)), rest)
        }
    };
    rest.len() == length
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_certificates() {
        let one = format!("subject=x\n{BEGIN}\r\nMAMC\r\nAQE=\r\n{END}\n");
        assert_eq!(certificates(one.as_bytes()), Ok(vec![vec![0x30, 3, 2, 1, 1]]));
        assert_eq!(certificates(one.repeat(3).as_bytes()).unwrap().len(), 3);
        let long = [&[0x30, 0x82, 1, 0][..], &[0; 256]].concat();
        let pem = format!("{BEGIN}\n{}\n{END}", data_encoding::BASE64.encode(&long));
        assert_eq!(certificates(pem.as_bytes()), Ok(vec![long]));
    }

    #[test]
    fn refuses_what_is_none() {
        for wrong in [
            "".to_owned(),
            "hello".to_owned(),
            "-----BEGIN PRIVATE KEY-----\nMAMC\n-----END PRIVATE KEY-----".to_owned(),
            format!("{BEGIN}\nMAMCAQE=\n"),
            format!("{BEGIN}\n???\n{END}"),
            format!("{BEGIN}\n\n{END}"),
            format!("{BEGIN}\nMAMC\n{END}"),
            format!("{BEGIN}\nMP8=\n{END}"),
            format!("{BEGIN}\nMIA=\n{END}"),
        ] {
            assert!(certificates(wrong.as_bytes()).is_err(), "{wrong}");
        }
        assert!(certificates(&[0x30, 0x82, 1, 0]).unwrap_err().contains("DER"));
        assert!(certificates(&[0xFF; 9]).is_err());
    }
}
