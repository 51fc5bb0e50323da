//! Transport: which versions of TLS are spoken, that a new certificate is taken up while requests run, and the one token
//! that reading may need.

mod certificate;
mod clients;
mod openssl;
mod token;
