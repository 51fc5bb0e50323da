//! Private keys in PEM.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use crate::error::KeyError;
use crate::rsa;

const BEGIN: &str = "-----BEGIN ";
const END: &str = "-----END ";
const DASHES: &str = "-----";

/// True for a text that is meant to be a key in a file format, and not a passphrase.
pub(crate) fn is_key_file(text: &str) -> bool {
    text.contains(BEGIN) || text.contains("RSA PRIVATE KEY") || text.starts_with("ssh-")
}

/// Reads the first block as an RSA private key and returns it as PKCS#8.
pub(crate) fn private_key(text: &str) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    let (_, block) = text.split_once(BEGIN).ok_or(KeyError::Pem("it has no BEGIN line"))?;
    let (label, body) =
        block.split_once(DASHES).ok_or(KeyError::Pem("its BEGIN line is incomplete"))?;
    let (body, _) = body.split_once(END).ok_or(KeyError::Pem("it has no END line"))?;
    let is_pkcs1 = match label {
        "RSA PRIVATE KEY" if body.contains("Proc-Type") => {
            return Err(KeyError::Pem("it is encrypted with a password"));
        }
        "RSA PRIVATE KEY" => true,
        "PRIVATE KEY" => false,
        "ENCRYPTED PRIVATE KEY" => return Err(KeyError::Pem("it is encrypted with a password")),
        _ => return Err(KeyError::Pem("it holds no private key")),
    };
    let characters: Zeroizing<Vec<u8>> =
        Zeroizing::new(body.bytes().filter(|byte| !matches!(byte, b'\r' | b'\n')).collect());
    let key = STANDARD.decode(&*characters).map_err(|_| KeyError::Pem("its text is not base64"))?;
    let key = Zeroizing::new(key);
    Ok(if is_pkcs1 { rsa::pkcs8(&key) } else { key })
}
