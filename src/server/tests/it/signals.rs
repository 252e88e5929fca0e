use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;

use crate::{Running, klamm, output};

#[test]
fn a_broker_says_where_it_is_answers_and_ends_cleanly_on_sigterm() {
    let data = tempfile::tempdir().expect("a directory");
    let directory = data.path().join("data").display().to_string();
    let running = Running::start(&mut klamm(&["--listen", "127.0.0.1:0", "--data", &directory]));
    assert!(running.ready_line.ends_with(&format!("(data in {directory})")), "{}", running.ready_line);
    let health = output(&mut klamm(&["health", "--address", &running.address]));
    assert!(health.status.success(), "{health:?}");
    assert!(String::from_utf8_lossy(&health.stdout).starts_with(&format!("{} is ready: cluster ", running.address)));
    running.signal("TERM");
    assert!(running.wait().success());
    assert!(std::fs::read_dir(&directory).expect("data stays").count() > 0);
}

#[test]
fn two_signals_in_a_row_as_timeout_sends_them_end_it_cleanly() {
    let running = Running::start(&mut klamm(&["--ephemeral", "--listen", "127.0.0.1:0"]));
    let id = running.child.id();
    let status = std::process::Command::new("sh").args(["-c", &format!("kill -TERM {id}; kill -INT {id}")]).status().expect("runs");
    assert!(status.success());
    let status = running.wait();
    assert!(status.success(), "{status}");
}

#[test]
fn an_ephemeral_broker_leaves_nothing_behind() {
    for signal in ["TERM", "INT"] {
        let temporary = tempfile::tempdir().expect("a directory");
        let running = Running::start(klamm(&["--ephemeral", "--listen", "127.0.0.1:0"]).env("TMPDIR", temporary.path()));
        assert_eq!(std::fs::read_dir(temporary.path()).expect("readable").count(), 1);
        running.signal(signal);
        assert!(running.wait().success());
        assert_eq!(std::fs::read_dir(temporary.path()).expect("readable").count(), 0);
    }
}

#[test]
fn what_a_killed_ephemeral_broker_leaves_goes_at_a_later_start() {
    let temporary = tempfile::tempdir().expect("a directory");
    let start = |more: &[&str]| {
        let arguments = [&["--listen", "127.0.0.1:0"][..], more].concat();
        Running::start(klamm(&arguments).env("TMPDIR", temporary.path()).env("KLAMM_LOG", "info"))
    };
    let folders = || std::fs::read_dir(temporary.path()).expect("readable").count();
    let living = start(&["--ephemeral"]);
    for brokers in ["1", "2"] {
        let killed = start(&["--ephemeral", "--brokers", brokers]);
        assert_eq!(folders(), 2);
        killed.signal("KILL");
        assert!(!killed.wait().success());
        assert_eq!(folders(), 2, "it had no time to remove anything");
        let data = tempfile::tempdir().expect("a directory");
        let mut later = start(&["--data", &data.path().display().to_string()]);
        let lines = BufReader::new(later.child.stderr.take().expect("piped")).lines().map(|line| line.expect("text"));
        let told: Vec<_> = lines.filter(|line| line.contains("removed the data of ephemeral brokers that were killed")).take(1).collect();
        assert!(told[0].contains("count=1"), "{told:?}");
        assert_eq!(folders(), 1);
        assert!(output(&mut klamm(&["health", "--address", &living.address])).status.success());
    }
    living.signal("TERM");
    assert!(living.wait().success());
    assert_eq!(folders(), 0);
}

#[test]
fn a_broker_that_was_killed_starts_again_on_its_data() {
    let data = tempfile::tempdir().expect("a directory");
    let directory = data.path().display().to_string();
    for _ in 0..3 {
        let running = Running::start(&mut klamm(&["--listen", "127.0.0.1:0", "--data", &directory]));
        running.signal("KILL");
        assert!(!running.wait().success());
    }
    let running = Running::start(&mut klamm(&["--listen", "127.0.0.1:0", "--data", &directory]));
    assert!(output(&mut klamm(&["health", "--address", &running.address])).status.success());
}

#[test]
fn health_fails_where_no_broker_answers() {
    let free = TcpListener::bind("127.0.0.1:0").expect("binds");
    let address = free.local_addr().expect("bound").to_string();
    drop(free);
    let health = output(&mut klamm(&["health", "--address", &address]));
    assert_eq!(health.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&health.stderr).starts_with(&format!("klamm: {address} is not ready: ")), "{health:?}");
}

#[test]
fn a_server_takes_kafkas_file_and_kafkas_variables() {
    let data = tempfile::tempdir().expect("a directory");
    let file = data.path().join("server.properties");
    let text = "process.roles=broker,controller\nnode.id=7\ncontroller.quorum.voters=7@localhost:9093\n\
                listeners=PLAINTEXT://127.0.0.1:0,BROKER://127.0.0.1:0,CONTROLLER://127.0.0.1:9093\n\
                listener.security.protocol.map=PLAINTEXT:PLAINTEXT,BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT\n\
                inter.broker.listener.name=BROKER\ncontroller.listener.names=CONTROLLER\nlog.segmnt.bytes=1\n";
    std::fs::write(&file, text).expect("written");
    let directory = data.path().join("data").display().to_string();
    let mut command = klamm(&["server", "-c", &file.display().to_string()]);
    let running =
        Running::start(command.env("KAFKA_LOG_DIRS", &directory).env("KAFKA_UNKNOWN", "1").env("CLUSTER_ID", "4L6g3nShT-eMCtK--X86sw"));
    assert!(running.ready_line.contains(" (BROKER) (data in "), "{}", running.ready_line);
    let health = output(&mut klamm(&["health", "--address", &running.address]));
    assert!(String::from_utf8_lossy(&health.stdout).contains("cluster 4L6g3nShT-eMCtK--X86sw"), "{health:?}");
}
