//! Each reply kind, success and refusal, at each version that is served: the world fails when one does not encode.

use crate::scripts::run;

#[test]
fn every_reply_encodes_in_every_version_of_its_request() {
    for version in 0..=5 {
        let script = format!(
            "init t v={version}\ninit '' v={version}\nadd t p=1000/0 a-0 b-1 v={version}\nadd t p=1000/1 a-0 v={version}\n\
             end t commit p=1000/1 v={version}\nend t commit p=1000/0 v={version}\ndescribe t u\nrestart\nmarkers t ok\n"
        );
        run(&script);
        if version <= 4 {
            run(&format!("init t\nadd-offsets t g p=1000/0 v={version}\nadd-offsets t g p=1000/1 v={version}\n"));
        }
        if version <= 2 {
            run(&format!("init t\nlist v={version}\nlist states=Nonsense v={version}\n"));
        }
    }
}
