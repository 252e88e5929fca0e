//! A disk whose power can be cut: an ext4 image on a loop device. The file system is shut down without flushing its journal (the ioctl that ext4
//! has for tests), so what was not synced is gone after the next mount, as after a power cut.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// The image is sparse.
const SIZE_BYTES: u64 = 2 << 30;
const DETACHED_WITHIN: Duration = Duration::from_secs(30);
/// `EXT4_IOC_SHUTDOWN` with `EXT4_GOING_FLAGS_NOLOGFLUSH`, once a byte comes.
const CUT: &str = "import fcntl, os, struct, sys; disk = os.open(sys.argv[1], os.O_RDONLY); \
    sys.stdin.read(1); fcntl.ioctl(disk, 0x8004587d, struct.pack('I', 2))";

pub(crate) struct Disk {
    folder: TempDir,
    mounted: bool,
}

fn run(program: &str, arguments: &[&str]) -> Result<(), String> {
    let output = Command::new(program).args(arguments).output().map_err(|error| format!("{program}: {error}"))?;
    let text = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    if output.status.success() { Ok(()) } else { Err(format!("{program} {}: {text}", arguments.join(" "))) }
}

impl Disk {
    /// A fresh one, or why there can be none here.
    pub(crate) fn new() -> Result<Self, String> {
        Self::of_size(SIZE_BYTES)
    }

    /// One of another size.
    pub(crate) fn of_size(size_bytes: u64) -> Result<Self, String> {
        let user = Command::new("id").arg("-u").output().map_err(|error| error.to_string())?;
        if user.stdout != b"0\n" {
            return Err("needs root".to_owned());
        }
        let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
        let mut disk = Self { folder, mounted: false };
        std::fs::create_dir(disk.root()).map_err(|error| error.to_string())?;
        let image = disk.image();
        std::fs::File::create(&image).and_then(|file| file.set_len(size_bytes)).map_err(|error| error.to_string())?;
        run("mkfs.ext4", &["-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0", &image])?;
        disk.mount()?;
        Ok(disk)
    }

    fn image(&self) -> String {
        self.folder.path().join("image").display().to_string()
    }

    /// Where it is mounted.
    pub(crate) fn root(&self) -> PathBuf {
        self.folder.path().join("mounted")
    }

    /// A folder beside it, which no cut concerns.
    pub(crate) fn beside(&self) -> &Path {
        self.folder.path()
    }

    fn mount(&mut self) -> Result<(), String> {
        run("mount", &["-o", "loop", &self.image(), &self.root().display().to_string()])?;
        self.mounted = true;
        Ok(())
    }

    /// Cuts the power. From now on every write and every sync fails.
    pub(crate) fn cut(&self) {
        self.switch().off();
    }

    /// A hand on the switch, so that the cut comes at once when it is wanted.
    pub(crate) fn switch(&self) -> Switch {
        let mut command = Command::new("python3");
        command.args(["-c", CUT, &self.root().display().to_string()]).stdin(Stdio::piped());
        Switch(command.spawn().unwrap())
    }

    /// Switches it on again; nobody may have a file of it open.
    pub(crate) fn restore(&mut self) {
        run("umount", &[&self.root().display().to_string()]).unwrap();
        self.mounted = false;
        self.wait_until_detached();
        self.mount().unwrap();
    }

    /// Waits until the file system is gone for good. The broker had a mount namespace of its own, which lives a moment longer than the broker:
    /// until then the file system may still write to the image, under the one that is mounted anew.
    fn wait_until_detached(&self) {
        let deadline = Instant::now() + DETACHED_WITHIN;
        loop {
            let output = Command::new("losetup").args(["--associated", &self.image()]).output().unwrap();
            assert!(output.status.success(), "{output:?}");
            if output.stdout.is_empty() {
                return;
            }
            assert!(Instant::now() < deadline, "the image is still in use: {}", String::from_utf8_lossy(&output.stdout));
            std::thread::yield_now();
        }
    }
}

/// A process that waits to cut the power.
pub(crate) struct Switch(Child);

impl Switch {
    pub(crate) fn off(mut self) {
        self.0.stdin.take().unwrap().write_all(b"x").unwrap();
        assert!(self.0.wait().unwrap().success());
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if self.mounted {
            // A broker of a failed test may hold it for a moment longer.
            let _lazily = run("umount", &["-l", &self.root().display().to_string()]);
        }
    }
}
