//! Objects at rest in an object store or a folder: what is imported, not what is written.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use deltalake::logstore::object_store::path::Path as Key;
use deltalake::logstore::object_store::{ObjectStore, ObjectStoreExt, parse_url_opts};
use futures::{StreamExt, TryStreamExt};
use tokio::io::AsyncWriteExt;
use url::Url;

/// Why objects could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ObjectsError {
    /// The URL names no store that is known.
    #[error("{url:?} is not the URL of an object store (s3://, gs://, az://): {why}")]
    BadUrl {
        /// What was given.
        url: String,
        /// What is wrong with it.
        why: String,
    },
    /// The store did not do what was asked.
    #[error("the store at {url} failed: {cause}")]
    Store {
        /// The URL.
        url: String,
        /// What the store said.
        cause: deltalake::logstore::object_store::Error,
    },
    /// A copy could not be written.
    #[error("{to} cannot be written: {cause}")]
    Copy {
        /// The file.
        to: String,
        /// What the system said.
        cause: std::io::Error,
    },
}

/// One object of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// Its key below the prefix, with slashes; the last part of the key when the prefix is the object itself.
    pub name: String,
    /// Its size.
    pub size_bytes: u64,
    key: Key,
}

/// A URL without user, password, query and fragment: those may be secrets, and what an object is called goes into logs and
/// evidence. Any other text is left as it is.
pub fn without_secrets(text: &str) -> String {
    let Ok(mut url) = Url::parse(text) else { return text.to_owned() };
    // Both fail on URLs that have neither.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.set_query(None);
    url.set_fragment(None);
    url.into()
}

/// The objects under a prefix of a store.
#[derive(Debug, Clone)]
pub struct Objects {
    store: Arc<dyn ObjectStore>,
    prefix: Key,
    url: Url,
}

/// Environment variables with these prefixes are options of the stores.
const STORE_VARIABLES: [&str; 4] = ["AWS_", "GOOGLE_", "AZURE_", "GCP_"];

impl Objects {
    /// The objects under a URL. `options` are the store's (`AWS_ENDPOINT_URL`, ...); those of the environment are taken
    /// as well, and give way.
    ///
    /// # Errors
    ///
    /// [`ObjectsError::BadUrl`]. The store is not contacted yet.
    pub fn open(url: &str, options: &HashMap<String, String>) -> Result<Self, ObjectsError> {
        let bad = |why: String| ObjectsError::BadUrl { url: without_secrets(url), why };
        let parsed = Url::parse(url).map_err(|error| bad(error.to_string()))?;
        let is_option = |name: &String| STORE_VARIABLES.iter().any(|prefix| name.starts_with(prefix));
        let variables = std::env::vars().filter(|(name, _)| is_option(name));
        let options = variables.chain(options.clone()).map(|(name, value)| (name.to_ascii_lowercase(), value));
        let (store, prefix) = parse_url_opts(&parsed, options).map_err(|error| bad(error.to_string()))?;
        let url = Url::parse(&without_secrets(url)).map_err(|error| bad(error.to_string()))?;
        Ok(Self { store: Arc::from(store), prefix, url })
    }

    /// The URL, without what may be secret in it.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// All objects under the prefix, ordered by name.
    ///
    /// # Errors
    ///
    /// [`ObjectsError::Store`] when the store fails.
    pub async fn list(&self) -> Result<Vec<Object>, ObjectsError> {
        // A prefix may be an object itself; stores do not list that one.
        if let Ok(meta) = self.store.head(&self.prefix).await {
            let name = self.prefix.filename().unwrap_or_default().to_owned();
            return Ok(vec![Object { name, size_bytes: meta.size, key: self.prefix.clone() }]);
        }
        self.list_from(&self.prefix).await
    }

    /// Whether there is an object of this name under the prefix.
    ///
    /// # Errors
    ///
    /// [`ObjectsError::Store`] when the store fails otherwise than by not having it.
    pub async fn find(&self, name: &str) -> Result<Option<Object>, ObjectsError> {
        let key = name.split('/').fold(self.prefix.clone(), |key, part| key.join(part));
        match self.store.head(&key).await {
            Ok(meta) => Ok(Some(Object { name: name.to_owned(), size_bytes: meta.size, key })),
            Err(deltalake::logstore::object_store::Error::NotFound { .. }) => Ok(None),
            Err(cause) => Err(self.failed(cause)),
        }
    }

    /// The objects below a folder of the prefix, named from the prefix on.
    ///
    /// # Errors
    ///
    /// [`ObjectsError::Store`] when the store fails.
    pub async fn list_below(&self, folder: &str) -> Result<Vec<Object>, ObjectsError> {
        let prefix = folder.split('/').fold(self.prefix.clone(), |key, part| key.join(part));
        self.list_from(&prefix).await
    }

    async fn list_from(&self, folder: &Key) -> Result<Vec<Object>, ObjectsError> {
        let listed = self.store.list(Some(folder)).map_ok(|meta| {
            let below = meta.location.prefix_match(&self.prefix);
            let parts: Vec<_> = below.into_iter().flatten().map(|part| part.as_ref().to_owned()).collect();
            Object { name: parts.join("/"), size_bytes: meta.size, key: meta.location }
        });
        let mut objects: Vec<Object> = listed.try_collect().await.map_err(|cause| self.failed(cause))?;
        objects.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(objects)
    }

    /// Copies an object into a file, a piece at a time.
    ///
    /// # Errors
    ///
    /// [`ObjectsError::Store`] when the store fails, [`ObjectsError::Copy`] when the file cannot be written.
    pub async fn download(&self, object: &Object, to: &Path) -> Result<(), ObjectsError> {
        let copy = |cause| ObjectsError::Copy { to: to.display().to_string(), cause };
        let mut file = tokio::fs::File::create(to).await.map_err(copy)?;
        let got = self.store.get(&object.key).await.map_err(|cause| self.failed(cause))?;
        let mut pieces = got.into_stream();
        while let Some(piece) = pieces.next().await {
            file.write_all(&piece.map_err(|cause| self.failed(cause))?).await.map_err(copy)?;
        }
        file.flush().await.map_err(copy)
    }

    fn failed(&self, cause: deltalake::logstore::object_store::Error) -> ObjectsError {
        ObjectsError::Store { url: self.url.to_string(), cause }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn objects_of_a_folder_are_listed_by_name_found_and_copied() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("b")).unwrap();
        std::fs::write(folder.path().join("b/2"), "two").unwrap();
        std::fs::write(folder.path().join("a"), "one").unwrap();
        let url = Url::from_directory_path(folder.path()).unwrap();
        let objects = Objects::open(url.as_str(), &HashMap::new()).unwrap();
        let listed = objects.list().await.unwrap();
        let seen: Vec<_> = listed.iter().map(|object| (object.name.as_str(), object.size_bytes)).collect();
        assert_eq!(seen, [("a", 3), ("b/2", 3)]);
        let found = objects.find("b/2").await.unwrap().unwrap();
        let copy = folder.path().join("copy");
        objects.download(&found, &copy).await.unwrap();
        assert_eq!(std::fs::read(copy).unwrap(), b"two");
        assert_eq!(objects.find("c").await.unwrap(), None);

        let one = Objects::open(url.join("b/2").unwrap().as_str(), &HashMap::new()).unwrap();
        let listed = one.list().await.unwrap();
        assert_eq!((listed.len(), listed[0].name.as_str()), (1, "2"));
        assert!(matches!(Objects::open("nowhere", &HashMap::new()), Err(ObjectsError::BadUrl { .. })));
    }
}
