//! One live process per role.

use crate::error::LinkError;
use crate::region::{Region, io_error};
use core::fmt;
use core::sync::atomic::Ordering;
use core::time::Duration;
use rustix::fd::OwnedFd;
use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use std::path::{Path, PathBuf};

/// The two processes of the link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Control = 0,
    Dataplane = 1,
}

impl Role {
    pub(crate) const fn other(self) -> Self {
        match self {
            Self::Control => Self::Dataplane,
            Self::Dataplane => Self::Control,
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Control => "control",
            Self::Dataplane => "dataplane",
        })
    }
}

/// Holds a role until dropped. For a file the hold is a `flock` on `PATH.control` or `PATH.dataplane`, which the kernel
/// releases with the process, also after SIGKILL. The lock files stay: removing one would let two processes hold two.
pub(crate) struct RoleGuard {
    region: Region,
    role: Role,
    _lock: Option<OwnedFd>,
}

/// A peer that asks [`is_held`] has the lock for microseconds; attaching outlasts that.
const ATTEMPTS: u32 = 20;
const PAUSE: Duration = Duration::from_millis(5);

impl RoleGuard {
    pub(crate) fn take(region: &Region, role: Role) -> Result<Self, LinkError> {
        let guard = |lock| Self { region: region.clone(), role, _lock: lock };
        let Some(path) = region.path() else {
            if region.local_role(role).swap(true, Ordering::AcqRel) {
                return Err(LinkError::InUse { role, path: PathBuf::from("(anonymous memory)") });
            }
            return Ok(guard(None));
        };
        let lock_path = lock_path(path, role);
        let fd = open_lock(&lock_path).map_err(|e| io_error("open", &lock_path, e))?;
        share_with_owner(path, &fd).map_err(|e| io_error("set the owner of", &lock_path, e))?;
        for attempt in 0..ATTEMPTS {
            match rustix::fs::flock(&fd, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {
                    write_inode(region, &fd).map_err(|e| io_error("write", &lock_path, e))?;
                    check_peer(region, path, role.other())?;
                    return Ok(guard(Some(fd)));
                }
                Err(Errno::WOULDBLOCK) if attempt + 1 < ATTEMPTS => std::thread::sleep(PAUSE),
                Err(Errno::WOULDBLOCK) => break,
                Err(Errno::INTR) => {}
                Err(e) => return Err(io_error("lock", &lock_path, e)),
            }
        }
        Err(LinkError::InUse { role, path: path.to_owned() })
    }
}

impl Drop for RoleGuard {
    fn drop(&mut self) {
        if self.region.path().is_none() {
            self.region.local_role(self.role).store(false, Ordering::Release);
        }
    }
}

/// Does a live process (or, for anonymous memory, a live end) hold the role?
pub(crate) fn is_held(region: &Region, role: Role) -> bool {
    let Some(path) = region.path() else {
        return region.local_role(role).load(Ordering::Acquire);
    };
    let Ok(fd) = open_lock(&lock_path(path, role)) else { return false };
    // Shared, so that several askers do not see each other. Closing `fd` releases it.
    rustix::fs::flock(&fd, FlockOperation::NonBlockingLockShared) == Err(Errno::WOULDBLOCK)
}

fn lock_path(path: &Path, role: Role) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(match role {
        Role::Control => ".control",
        Role::Dataplane => ".dataplane",
    });
    PathBuf::from(name)
}

fn open_lock(path: &Path) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    rustix::fs::open(path, flags, Mode::RUSR | Mode::WUSR)
}

/// Root may run one plane while the other is unprivileged: the lock file belongs to whom the link file belongs to, or
/// the other plane could not ask.
fn share_with_owner(path: &Path, lock: &OwnedFd) -> Result<(), Errno> {
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let owner = rustix::fs::lstat(path)?;
    let (user, group) = (rustix::fs::Uid::from_raw(owner.st_uid), rustix::fs::Gid::from_raw(owner.st_gid));
    rustix::fs::fchown(lock, Some(user), Some(group))
}

/// The lock file says which link file its holder has mapped.
fn write_inode(region: &Region, lock: &OwnedFd) -> Result<(), Errno> {
    let octets = region.inode().to_ne_bytes();
    match rustix::io::pwrite(lock, &octets, 0)? {
        8 => Ok(()),
        _ => Err(Errno::NOSPC),
    }
}

/// Where the link file was removed and made anew while the peer lives, the two would talk past each other, and the SAs'
/// sequence numbers would start again.
fn check_peer(region: &Region, path: &Path, peer: Role) -> Result<(), LinkError> {
    let lock_path = lock_path(path, peer);
    for _ in 0..ATTEMPTS {
        let mut octets = [0; 8];
        let read = open_lock(&lock_path).and_then(|fd| rustix::io::pread(&fd, &mut octets, 0));
        let same = u64::from_ne_bytes(octets) == region.inode();
        if same || read != Ok(octets.len()) || !is_held(region, peer) {
            return Ok(());
        }
        // Perhaps it has just taken the role, and its predecessor's number still stands there.
        std::thread::sleep(PAUSE);
    }
    Err(LinkError::Replaced { role: peer, path: path.to_owned() })
}
