//! What the tests share: a real broker, the binary and its ledger, a client of its HTTP face.

pub(crate) mod custody;
pub(crate) mod http;
pub(crate) mod kafka;
pub(crate) mod numbered;
pub(crate) mod open;
pub(crate) mod opensearch;
pub(crate) mod s3;
