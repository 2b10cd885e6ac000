use serde_json::json;

use super::*;

fn reach(url: &str, private: bool) -> Reach {
    Reach { url: url.to_owned(), private, proxy: None }
}

#[test]
fn an_address_is_refused_that_would_lead_inside_or_be_read_on_its_way() {
    // (address, whether it may be sent to, and with private = true)
    let cases = [
        ("https://siem.example:8088", true, true),
        ("https://8.8.8.8", true, true),
        ("https://192.0.78.9/hook", true, true),
        ("https://[2606:4700::1111]", true, true),
        ("http://siem.example:8088", false, false),
        ("http://8.8.8.8", false, false),
        ("http://10.0.0.1", false, false),
        ("http://127.0.0.1:8088", false, true),
        ("http://localhost", false, true),
        ("http://[::1]:8088", false, true),
        ("http://localhost.siem.example", false, false),
        ("https://localhost", false, true),
        ("https://127.0.0.1", false, true),
        // The same address, as others may write it.
        ("https://127.1", false, true),
        ("https://2130706433", false, true),
        ("https://0x7f.0.0.1", false, true),
        ("https://0177.0.0.1", false, true),
        ("https://１２７.0.0.1", false, true),
        ("https://[::ffff:127.0.0.1]", false, true),
        ("https://[::ffff:7f00:1]", false, true),
        ("https://[0:0:0:0:0:ffff:a9fe:a9fe]", false, true),
        ("https://[64:ff9b::10.0.0.1]", false, true),
        ("https://[64:ff9b:1::1]", false, true),
        ("https://[::127.0.0.1]", false, true),
        ("https://[2002:7f00:1::]", false, true),
        ("https://[2001:0:4136:e378:8000:63bf:3fff:fdd2]", false, true),
        ("https://[fd00::1]", false, true),
        ("https://[fe80::1]", false, true),
        ("https://[fec0::1]", false, true),
        ("https://[::]", false, true),
        ("https://0.0.0.0", false, true),
        ("https://10.1.2.3", false, true),
        ("https://172.31.0.1", false, true),
        ("https://192.168.1.1", false, true),
        ("https://169.254.169.254/latest/meta-data", false, true),
        ("https://100.100.100.200", false, true),
        ("https://192.0.0.192", false, true),
        ("https://198.19.0.1", false, true),
        ("https://255.255.255.255", false, true),
        ("ftp://siem.example", false, false),
        ("file:///etc/passwd", false, false),
        ("siem.example", false, false),
        ("https://", false, false),
        ("https://user@siem.example", false, false),
        ("https://user:hunter2@siem.example", false, false),
    ];
    for (url, public, private) in cases {
        assert_eq!(reach(url, false).url().is_ok(), public, "{url}: {:?}", reach(url, false).url());
        assert_eq!(reach(url, true).url().is_ok(), private, "{url}: {:?}", reach(url, true).url());
    }
}

#[test]
fn a_path_is_added_to() {
    for url in ["https://siem.example/a", "https://siem.example/a/"] {
        let base = reach(url, false).base().unwrap();
        assert_eq!(base.join("_bulk").unwrap().as_str(), "https://siem.example/a/_bulk");
    }
}

#[test]
fn nothing_secret_is_printed() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    std::fs::write(&file, "hunter2\r\n").unwrap();
    assert_eq!(Secret::File { file: file.clone() }.read().unwrap(), "hunter2");
    std::fs::write(&file, "\n").unwrap();
    assert!(Secret::File { file }.read().is_err());
    assert!(Secret::Env { env: "NO_SUCH_VARIABLE_FOR_CUSTODY".to_owned() }.read().is_err());

    let with = |url: &str| json!({"kind": "splunk", "url": url, "private": true, "token": "hunter2", "tls": {"ca": "/none/ca.pem"}});
    let receiver: Receiver = serde_json::from_value(with("https://10.0.0.1")).unwrap();
    let mut printed = format!("{receiver:?} {}", serde_json::to_string(&receiver).unwrap());
    for url in
        ["https://a:hunter2@10.0.0.1", "http://a:hunter2@[", "hunter2://a", "https://10.0.0.1", "http://10.1.1.1"]
    {
        let receiver: Receiver = serde_json::from_value(with(url)).unwrap();
        let refused = receiver.sink(Schema::Ocsf).err().unwrap();
        printed.push_str(&format!("{refused} {refused:?}"));
    }
    let hook = json!({"kind": "webhook", "url": "https://h.example/?hunter2", "secrets": ["hunter2", {"env": "X"}]});
    let hook: Receiver = serde_json::from_value(hook).unwrap();
    printed.push_str(&hook.sink(Schema::Custody).err().unwrap().to_string());
    let private = reach("https://10.0.0.1/?hunter2", false).url().unwrap_err();
    printed.push_str(&private.to_string());
    let proxied = Reach { proxy: Some("http://a:hunter2@proxy".to_owned()), ..reach("https://h.example", false) };
    printed.push_str(&proxied.proxy().unwrap_err().to_string());
    assert!(!printed.contains("hunter2"), "{printed}");
}

#[test]
fn what_is_written_down_is_understood_or_refused() {
    let read = |written| serde_json::from_value::<Receiver>(written).map_err(|error| error.to_string());
    let good = [
        json!({"kind": "splunk", "url": "https://s.example", "token": {"env": "HOME"}, "index": "audit"}),
        json!({"kind": "elasticsearch", "url": "https://e.example", "user": "custody", "password": {"file": "/p"}}),
        json!({"kind": "webhook", "url": "https://w.example/hook", "secrets": ["a", "b"], "proxy": "http://10.0.0.1:3128"}),
        json!({"kind": "syslog", "host": "s.example", "transport": "tcp", "framing": "lines", "unencrypted": true}),
    ];
    for written in good {
        let receiver = read(written.clone()).unwrap();
        // What is printed of it is read again, but for what is masked.
        let again: Receiver = serde_json::from_value(serde_json::to_value(&receiver).unwrap()).unwrap();
        assert_eq!(format!("{again:?}"), format!("{receiver:?}"), "{written}");
        // A name that nobody knows is a mistake, not something to pass over.
        let mut wrong = written.clone();
        wrong["secretz"] = json!(1);
        assert!(read(wrong).unwrap_err().contains("secretz"), "{written}");
    }
    assert!(read(json!({"kind": "carrier-pigeon"})).is_err());

    let refused = [
        (json!({"kind": "syslog", "host": "s.example", "transport": "udp"}), "not encrypted"),
        (json!({"kind": "syslog", "host": "127.0.0.1", "transport": "udp", "facility": 24}), "facility 24"),
        (json!({"kind": "syslog", "host": "s.example", "tls": {"cert": "/c.pem"}}), "belong together"),
        (json!({"kind": "syslog", "host": "s.example", "tls": {"ca": "/dev/null"}}), "no certificate"),
        (json!({"kind": "elasticsearch", "url": "https://e.example", "user": "custody"}), "either api_key"),
        (json!({"kind": "webhook", "url": "https://w.example", "tls": {"ca": "/none"}}), "/none cannot be read"),
    ];
    for (written, why) in refused {
        let error = read(written.clone()).unwrap().sink(Schema::Custody).err().unwrap().to_string();
        assert!(error.contains(why), "{written}: {error}");
    }
    let splunk = read(json!({"kind": "splunk", "url": "https://s.example", "token": "t"})).unwrap();
    for schema in [Schema::Cef, Schema::Leef] {
        assert!(splunk.sink(schema).is_err());
    }
}
