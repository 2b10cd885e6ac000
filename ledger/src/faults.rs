//! A store that fails on purpose, for tests: those of this crate say what fails, and development builds of the binary
//! read it from `CUSTODY_STORE_FAULTS`.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use deltalake::logstore::ObjectStoreRef;
#[cfg(test)]
use deltalake::logstore::object_store::ObjectStoreExt;
use deltalake::logstore::object_store::path::Path;
use deltalake::logstore::object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};

/// A call of the store.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Call<'a> {
    /// `put`, `multipart`, `get`, `list`, `delete` or `copy`.
    pub(crate) verb: &'static str,
    /// What it is about.
    pub(crate) path: &'a str,
    /// How many calls came before it.
    #[cfg_attr(not(test), expect(dead_code, reason = "tests count all calls, rules their own"))]
    pub(crate) number: u64,
}

/// What happens to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It is not done, and fails.
    Fail,
    /// It is done, and its reply is lost.
    LoseReply,
    /// It is done later.
    Delay(Duration),
    /// Of a put: it replaces what is there, whatever it was told.
    #[cfg(test)]
    Overwrite,
    /// Of a put: it is done twice, and the second reply is told.
    #[cfg(test)]
    SendTwice,
    /// The process dies before it is done.
    DieBefore,
    /// The process dies when it is done.
    DieAfter,
}

type Choose = Arc<dyn Fn(Call<'_>) -> Option<Fault> + Send + Sync>;

/// Puts faults before a store.
pub(crate) fn faulty(
    store: ObjectStoreRef,
    choose: impl Fn(Call<'_>) -> Option<Fault> + Send + Sync + 'static,
) -> ObjectStoreRef {
    Arc::new(Faulty { store, choose: Arc::new(choose), calls: AtomicU64::new(0) })
}

/// Reads rules like `die-after put events/_delta_log 3; delay-250 put .parquet`: what, the verb, a part of the path, and
/// which of the calls that fit (all without a number).
pub(crate) fn from_environment(store: ObjectStoreRef) -> ObjectStoreRef {
    let Ok(text) = std::env::var("CUSTODY_STORE_FAULTS") else { return store };
    let rules: Vec<Rule> = text.split(';').filter_map(Rule::read).collect();
    faulty(store, move |call| rules.iter().find_map(|rule| rule.fault(call)))
}

struct Rule {
    fault: Fault,
    verb: String,
    part: String,
    number: Option<u64>,
    seen: AtomicU64,
}

impl Rule {
    fn read(text: &str) -> Option<Self> {
        let mut words = text.split_whitespace();
        let fault = match words.next()? {
            "fail" => Fault::Fail,
            "lose-reply" => Fault::LoseReply,
            "die-before" => Fault::DieBefore,
            "die-after" => Fault::DieAfter,
            other => Fault::Delay(Duration::from_millis(other.strip_prefix("delay-")?.parse().ok()?)),
        };
        let (verb, part) = (words.next()?.to_owned(), words.next()?.to_owned());
        Some(Self { fault, verb, part, number: words.next().and_then(|n| n.parse().ok()), seen: AtomicU64::new(0) })
    }

    fn fault(&self, call: Call<'_>) -> Option<Fault> {
        if call.verb != self.verb || !call.path.contains(&self.part) {
            return None;
        }
        let seen = self.seen.fetch_add(1, Ordering::Relaxed) + 1;
        self.number.is_none_or(|number| number == seen).then_some(self.fault)
    }
}

struct Faulty {
    store: ObjectStoreRef,
    choose: Choose,
    calls: AtomicU64,
}

impl fmt::Debug for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Faulty({:?})", self.store)
    }
}

impl fmt::Display for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Faulty({})", self.store)
    }
}

fn failure() -> Error {
    Error::Generic { store: "faulty", source: "failed on purpose".into() }
}

impl Faulty {
    fn choose(&self, verb: &'static str, path: &str) -> Option<Fault> {
        let number = self.calls.fetch_add(1, Ordering::Relaxed);
        (self.choose)(Call { verb, path, number })
    }

    async fn call<T>(
        &self,
        verb: &'static str,
        path: &Path,
        work: impl Future<Output = Result<T>> + Send,
    ) -> Result<T> {
        let fault = self.choose(verb, path.as_ref());
        match fault {
            Some(Fault::Fail) => return Err(failure()),
            Some(Fault::DieBefore) => std::process::abort(),
            Some(Fault::Delay(time)) => tokio::time::sleep(time).await,
            _ => {}
        }
        let done = work.await;
        match fault {
            Some(Fault::DieAfter) => std::process::abort(),
            Some(Fault::LoseReply) => done.and(Err(failure())),
            _ => done,
        }
    }
}

#[async_trait]
impl ObjectStore for Faulty {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        #[cfg(test)]
        match (self.choose)(Call { verb: "put", path: location.as_ref(), number: u64::MAX }) {
            Some(Fault::Overwrite) => return self.store.put(location, payload).await,
            Some(Fault::SendTwice) => drop(self.store.put_opts(location, payload.clone(), options.clone()).await),
            _ => {}
        }
        self.call("put", location, self.store.put_opts(location, payload, options)).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.call("multipart", location, self.store.put_multipart_opts(location, options)).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.call("get", location, self.store.get_opts(location, options)).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.call("get", location, self.store.get_ranges(location, ranges)).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        match self.choose("delete", "") {
            Some(Fault::Fail) => futures::stream::once(async { Err(failure()) }).boxed(),
            Some(Fault::LoseReply) => {
                self.store.delete_stream(locations).and_then(|_| async { Err(failure()) }).boxed()
            }
            _ => self.store.delete_stream(locations),
        }
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        match self.choose("list", prefix.map(AsRef::as_ref).unwrap_or_default()) {
            Some(Fault::Fail) => futures::stream::once(async { Err(failure()) }).boxed(),
            _ => self.store.list(prefix),
        }
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        match self.choose("list", prefix.map(AsRef::as_ref).unwrap_or_default()) {
            Some(Fault::Fail) => futures::stream::once(async { Err(failure()) }).boxed(),
            _ => self.store.list_with_offset(prefix, offset),
        }
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let at = prefix.cloned().unwrap_or_default();
        self.call("list", &at, self.store.list_with_delimiter(prefix)).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.call("copy", to, self.store.copy_opts(from, to, options)).await
    }
}
