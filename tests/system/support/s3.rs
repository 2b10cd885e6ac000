//! A real S3-compatible server for tests: SeaweedFS on free loopback ports, from `tests/s3/fetch.sh`.
//!
//! It refuses the second of two writers of one key (`If-None-Match: *`), which is what a commit rests on.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use super::custody::{Process, skip, stderr, wait_until};
use super::kafka::unique;

const READY_WITHIN: Duration = Duration::from_secs(60);
const KEY: &str = "custody-test";
const SECRET: &str = "custody-test-secret";

/// The server; killed when it is dropped.
pub(crate) struct S3 {
    server: Option<Child>,
    folder: TempDir,
    ports: [u16; 10],
}

impl S3 {
    /// A server of the test's own, or `None` where there is none to be had: that is said loudly.
    pub(crate) fn start_or_skip(test: &str) -> Option<Self> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/s3/fetch.sh");
        let output = Command::new("bash").arg(script).stdin(Stdio::null()).output().expect("bash");
        if !output.status.success() {
            skip(test, &format!("no S3 server: {}", stderr(&output).trim()));
            return None;
        }
        // Sockets are named in this folder, and their names may not be long.
        let folder = TempDir::with_prefix("s3-").expect("a folder");
        let mut s3 = Self { server: None, folder, ports: free_ports() };
        s3.run(String::from_utf8_lossy(&output.stdout).trim());
        Some(s3)
    }

    fn run(&mut self, weed: &str) {
        let data = self.folder.path().join("data");
        std::fs::create_dir_all(&data).expect("a folder");
        let log = std::fs::File::create(self.folder.path().join("log")).expect("a log");
        let mut command = Command::new(weed);
        command
            .args(["-v=0", "-logtostderr=true", "mini", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-bucket=custody"])
            .args(["-master.telemetry=false", "-webdav=false", "-admin.ui=false"])
            .args(["-s3.port.iceberg=0", "-s3.port.lance=0"])
            .arg(format!("-dir={}", data.display()))
            .arg(format!("-filer.localSocket={}", self.folder.path().join("f.sock").display()))
            .arg(format!("-s3.localSocket={}", self.folder.path().join("s.sock").display()))
            .envs([("AWS_ACCESS_KEY_ID", KEY), ("AWS_SECRET_ACCESS_KEY", SECRET), ("GOMEMLIMIT", "200MiB")])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        let names = ["master", "volume", "filer", "s3", "admin"]
            .map(|name| [format!("{name}.port"), format!("{name}.port.grpc")]);
        for (name, port) in names.iter().flatten().zip(self.ports) {
            command.arg(format!("-{name}={port}"));
        }
        self.server = Some(command.spawn().expect("SeaweedFS"));
    }

    /// A place in the bucket that nobody has used.
    pub(crate) fn place(&self) -> String {
        format!("s3://custody/{}", unique("ledger"))
    }

    /// Where the server is, and who asks, as `[store]` and as variables.
    pub(crate) fn options(&self) -> Vec<(&'static str, String)> {
        vec![
            ("AWS_ENDPOINT_URL", format!("http://127.0.0.1:{}", self.ports[6])),
            ("AWS_ACCESS_KEY_ID", KEY.to_owned()),
            ("AWS_SECRET_ACCESS_KEY", SECRET.to_owned()),
            ("AWS_REGION", "us-east-1".to_owned()),
            ("AWS_ALLOW_HTTP", "true".to_owned()),
            ("AWS_VIRTUAL_HOSTED_STYLE_REQUEST", "false".to_owned()),
        ]
    }

    /// Kills the server, as a power failure of its process would.
    pub(crate) fn kill(&mut self) {
        if let Some(mut server) = self.server.take() {
            server.kill().expect("SeaweedFS");
            server.wait().expect("a child");
        }
    }

    /// Starts it again after [`S3::kill`].
    pub(crate) fn start_again(&mut self) {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/s3/fetch.sh");
        let output = Command::new("bash").arg(script).stdin(Stdio::null()).output().expect("bash");
        self.run(String::from_utf8_lossy(&output.stdout).trim());
    }

    /// Returns once a process has made its ledger here: the server is up some time before it can be written to.
    pub(crate) fn wait_for(&self, process: &mut Process, what: &str) {
        wait_until("the S3 server", READY_WITHIN, || {
            process.assert_runs();
            process.logged(what).first().map(|_| ()).ok_or_else(|| process.log())
        });
    }
}

impl Drop for S3 {
    fn drop(&mut self) {
        self.kill();
        // It leaves these, whatever it is told.
        for name in ["master", "volume", "filer", "s3", "admin"] {
            for port in self.ports {
                let _ = std::fs::remove_file(std::env::temp_dir().join(format!("seaweedfs-{name}-grpc-{port}.sock")));
            }
        }
    }
}

fn free_ports() -> [u16; 10] {
    // Held together, so that they are different, and let go together.
    let held = std::array::from_fn::<_, 10, _>(|_| TcpListener::bind(("127.0.0.1", 0)).expect("a free port"));
    held.map(|listener| listener.local_addr().expect("an address").port())
}
