//! Each reply kind, success and refusal, at each version that is served: the world fails when one does not encode.

use crate::scripts::run;

/// A script in which every request has its highest version at or below the given one.
fn script(version: i32) -> String {
    let served = [("join", 0, 9), ("sync", 0, 5), ("heartbeat", 0, 4), ("leave", 0, 5), ("commit", 2, 9), ("fetch", 1, 9)];
    let admin = [("list", 0, 5), ("describe", 0, 6), ("delete", 0, 2), ("delete-offsets", 0, 0)];
    let lines = "\
config delay=0
join
join g session=1
join g member=stranger
A: join g instance=i client=a
A: join g instance=i client=a type=connect
B: join g instance=k client=b
A: join g instance=i client=a
sync
A: sync g gen=2 member=i-#7 assign=i-#7:x,k-#6:y
sync g gen=2 member=stranger
B: sync g gen=2 member=k-#6
heartbeat g
A: heartbeat g gen=2 member=i-#7
A: commit g t-0:5 gen=2 member=i-#7
A: commit g t-0:5:*4097 t-1:5:meta gen=2 member=i-#7
commit g t-0:5 gen=1
fetch g
fetch g t-0,1,2
fetch unknown t-0
fetch unknown
delete-offsets g t-0
delete-offsets unknown t-0
list
describe g unknown
delete g unknown
A: join g instance=i client=a
A: join g instance=i client=a protocols=range:u
C: join g client=c
B: join g instance=k client=b protocols=range:u
fail-append
A: sync g gen=3 member=i-#28 assign=i-#28:x
fail-append
commit simple t-0:5
commit simple t-0:5
fail-append
delete-offsets simple t-0
fail-append
delete simple
leave
leave unknown x member=x
leave g i-#28 stranger member=i-#28
leave g k-#32 member=k-#32
unload
";
    let with_version = |line: &str| {
        let verb = line.split(": ").last().unwrap_or("").split(' ').next().unwrap_or("");
        let row = served.iter().chain(&admin).find(|(name, _, _)| *name == verb);
        row.map_or_else(|| line.to_owned(), |(_, min, max)| format!("{line} version={}", version.clamp(*min, *max)))
    };
    lines.lines().map(|line| with_version(line) + "\n").collect()
}

#[test]
fn every_reply_encodes_at_every_served_version() {
    for version in 0..=9 {
        let out = run(&script(version));
        for seen in ["join ok", "sync ok", "heartbeat ok", "append failed", "InvalidGroupId", "commit t-0 OffsetMetadataTooLarge", "'meta'"]
        {
            assert!(out.contains(seen), "version {version}: no {seen} in\n{out}");
        }
    }
}
