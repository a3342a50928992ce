//! The file: made once, checked always, and one process per role.

use culvert_link::{ControlEnd, DataplaneEnd, LAYOUT_VERSION, Layout, LinkError, MIN_RING_BYTES, Region, Role};
use culvert_model::SlotIndex;
use std::fs::{OpenOptions, Permissions};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Barrier;
use std::sync::atomic::Ordering;

const LAYOUT: Layout = Layout { slots: 16, ring_bytes: MIN_RING_BYTES };

struct Scratch {
    _directory: tempfile::TempDir,
    path: PathBuf,
}

fn scratch() -> Scratch {
    let directory = tempfile::tempdir().expect("a directory");
    Scratch { path: directory.path().join("link"), _directory: directory }
}

fn write_word(path: &Path, word: u64, value: u64) {
    let file = OpenOptions::new().write(true).open(path).expect("the file");
    file.write_all_at(&value.to_ne_bytes(), word * 8).expect("written");
}

fn refused(path: &Path, layout: Layout) -> LinkError {
    Region::create_or_attach(path, layout).err().expect("refused")
}

#[test]
fn the_file_is_private_and_whole() {
    let s = scratch();
    let first = Region::create_or_attach(&s.path, LAYOUT).expect("made");
    let meta = s.path.metadata().expect("it is there");
    assert_eq!(meta.mode() & 0o7777, 0o600);
    assert!(meta.blocks() * 512 >= meta.len(), "memory is reserved, so that a full tmpfs is no SIGBUS");
    let second = Region::create_or_attach(&s.path, LAYOUT).expect("attached");
    first.worker_counters(63).expect("63 is the last")[255].store(5, Ordering::Relaxed);
    first.port_counters(0).expect("0 is the first")[0].store(6, Ordering::Relaxed);
    assert_eq!(second.worker_counters(63).expect("63 is the last")[255].load(Ordering::Relaxed), 5);
    assert_eq!(second.port_counters(0).expect("0 is the first")[0].load(Ordering::Relaxed), 6);
    assert!(second.worker_counters(64).is_none() && second.port_counters(64).is_none());
    assert!(second.slot(SlotIndex(15)).is_some() && second.slot(SlotIndex(16)).is_none());
}

/// Whoever is faster makes the file; the others attach to that one.
#[test]
fn many_create_at_once() {
    for _ in 0..20 {
        let s = scratch();
        let barrier = Barrier::new(8);
        std::thread::scope(|scope| {
            for worker in 0..8 {
                let (barrier, path) = (&barrier, &s.path);
                scope.spawn(move || {
                    barrier.wait();
                    let region = Region::create_or_attach(path, LAYOUT).expect("made or attached");
                    region.worker_counters(worker).expect("it exists")[0].store(1, Ordering::Relaxed);
                });
            }
        });
        let region = Region::create_or_attach(&s.path, LAYOUT).expect("attached");
        let seen: u64 = (0..8).map(|w| region.worker_counters(w).expect("it exists")[0].load(Ordering::Relaxed)).sum();
        assert_eq!(seen, 8, "all wrote to one file");
        let entries = s.path.parent().expect("a directory").read_dir().expect("readable").count();
        assert_eq!(entries, 1, "nothing half made is left");
    }
}

#[test]
fn impossible_sizes() {
    let s = scratch();
    for slots in [0, 1, 3, 65_535, 1 << 23] {
        assert!(matches!(refused(&s.path, Layout { slots, ..LAYOUT }), LinkError::BadSlots { .. }));
    }
    for ring_bytes in [0, 4096, MIN_RING_BYTES + 8, 1 << 31] {
        assert!(matches!(refused(&s.path, Layout { ring_bytes, ..LAYOUT }), LinkError::BadRingBytes { .. }));
    }
    assert!(!s.path.exists());
}

#[test]
fn other_sizes_name_both() {
    let s = scratch();
    Region::create_or_attach(&s.path, LAYOUT).expect("made");
    let error = refused(&s.path, Layout { slots: 32, ..LAYOUT });
    assert!(matches!(error, LinkError::Mismatch { field: "sa_slots", expected: 32, found: 16, .. }), "{error}");
    let error = refused(&s.path, Layout { ring_bytes: MIN_RING_BYTES * 2, ..LAYOUT });
    assert!(matches!(error, LinkError::Mismatch { field: "ring_bytes", .. }), "{error}");
    let text = error.to_string();
    for part in ["131072", "262144", "stop both planes", s.path.to_str().expect("plain")] {
        assert!(text.contains(part), "{text}");
    }
}

#[test]
fn other_versions_and_other_files() {
    let s = scratch();
    Region::create_or_attach(&s.path, LAYOUT).expect("made");
    write_word(&s.path, 1, LAYOUT_VERSION + 1);
    let error = refused(&s.path, LAYOUT);
    assert!(matches!(error, LinkError::Version { expected: LAYOUT_VERSION, .. }), "{error}");
    write_word(&s.path, 0, 0x0a21_7368);
    assert!(matches!(refused(&s.path, LAYOUT), LinkError::NotALink { found: 0x0a21_7368, .. }));
}

#[test]
fn a_file_cut_short_is_refused_before_it_is_touched() {
    let s = scratch();
    Region::create_or_attach(&s.path, LAYOUT).expect("made");
    let whole = s.path.metadata().expect("it is there").len();
    let file = OpenOptions::new().write(true).open(&s.path).expect("the file");
    for length in [whole + 4096, whole - 1, whole - 4096, 4096, 40, 39, 8, 7, 0] {
        file.set_len(length).expect("cut");
        let error = refused(&s.path, LAYOUT);
        assert!(
            matches!(error, LinkError::Size { expected, found, .. } if expected == whole && found == length),
            "{length}: {error}"
        );
    }
}

#[test]
fn files_of_others_are_refused() {
    let s = scratch();
    Region::create_or_attach(&s.path, LAYOUT).expect("made");
    std::fs::set_permissions(&s.path, Permissions::from_mode(0o640)).expect("changed");
    assert!(matches!(refused(&s.path, LAYOUT), LinkError::OpenToOthers { mode: 0o640, .. }));

    let link = s.path.with_extension("symlink");
    symlink(&s.path, &link).expect("made");
    assert!(matches!(refused(&link, LAYOUT), LinkError::Io { action: "open", .. }));

    let directory = s.path.parent().expect("a directory");
    assert!(matches!(refused(directory, LAYOUT), LinkError::Io { action: "open", .. }));
    assert!(matches!(refused(Path::new("/dev/null"), LAYOUT), LinkError::NotAFile { .. }));
    let nowhere = directory.join("no/such/directory");
    assert!(matches!(refused(&nowhere, LAYOUT), LinkError::Io { action: "create", .. }));
}

#[test]
fn one_process_per_role() {
    let s = scratch();
    let file = Region::create_or_attach(&s.path, LAYOUT).expect("made");
    // Another mapping, as another process has it.
    let other = Region::create_or_attach(&s.path, LAYOUT).expect("attached");
    let memory = Region::anonymous(LAYOUT).expect("memory");
    for (first, second) in [(&file, &other), (&memory, &memory)] {
        let control = ControlEnd::attach(first).expect("nobody has it");
        assert!(matches!(ControlEnd::attach(second), Err(LinkError::InUse { role: Role::Control, .. })));
        assert!(!control.dataplane_alive());
        assert_eq!(control.dataplane_generation(), 0);
        let dataplane = DataplaneEnd::attach(second).expect("nobody has it");
        assert!(matches!(DataplaneEnd::attach(first), Err(LinkError::InUse { role: Role::Dataplane, .. })));
        assert!(control.dataplane_alive() && dataplane.control_alive());
        assert_eq!((control.dataplane_generation(), dataplane.control_generation()), (1, 1));

        // One ring kept is the role kept.
        let ControlEnd { events, commands, inject, punt, .. } = control;
        drop((commands, inject, punt));
        assert!(dataplane.control_alive());
        assert!(ControlEnd::attach(second).is_err());
        drop(events);
        assert!(!dataplane.control_alive());
        let control = ControlEnd::attach(second).expect("it is free again");
        assert_eq!((control.generation, dataplane.control_generation()), (2, 2));
    }
}

/// The file is removed under a living data plane: control must not start on another one, where all numbers begin again.
#[test]
fn a_replaced_file_is_noticed() {
    let s = scratch();
    let old = Region::create_or_attach(&s.path, LAYOUT).expect("made");
    let dataplane = DataplaneEnd::attach(&old).expect("nobody has it");
    std::fs::remove_file(&s.path).expect("removed");
    let new = Region::create_or_attach(&s.path, LAYOUT).expect("made anew");
    let error = ControlEnd::attach(&new).err().expect("refused");
    assert!(matches!(error, LinkError::Replaced { role: Role::Dataplane, .. }), "{error}");
    drop(dataplane);
    let control = ControlEnd::attach(&new).expect("the data plane is gone");
    DataplaneEnd::attach(&new).expect("a data plane with the new file");
    drop(control);
}

/// A peer that keeps asking whether the role is held does not keep anyone from taking it.
#[test]
fn asking_does_not_hold() {
    let s = scratch();
    let region = Region::create_or_attach(&s.path, LAYOUT).expect("made");
    let dataplane = DataplaneEnd::attach(&region).expect("nobody has it");
    let peer = dataplane.peer.clone();
    std::thread::scope(|scope| {
        let asking = scope.spawn(move || (0..20_000).filter(|_| peer.alive()).count());
        for _ in 0..100 {
            ControlEnd::attach(&region).expect("nobody has it");
        }
        asking.join().expect("done asking");
    });
}

#[test]
fn secrets_do_not_stay() {
    let s = scratch();
    let region = Region::create_or_attach(&s.path, LAYOUT).expect("made");
    let mut control = ControlEnd::attach(&region).expect("nobody has it");
    let mut dataplane = DataplaneEnd::attach(&region).expect("nobody has it");
    let secret = *b"a key that nobody may find again";
    let holds_secret = || {
        let file = std::fs::read(&s.path).expect("readable");
        file.windows(secret.len()).any(|w| w == secret)
    };
    let mut buffer = Vec::new();
    for _ in 0..3 {
        control.commands.push(&secret).expect("room");
        assert!(holds_secret(), "the test can see it");
        assert_eq!(dataplane.commands.pop(&mut buffer).expect("honest"), Some(&secret[..]));
        dataplane.commands.commit();
        assert!(!holds_secret());
    }
    // A consumer that died before wiping: its successor does it.
    control.commands.push(&secret).expect("room");
    dataplane.commands.pop(&mut buffer).expect("honest");
    drop(dataplane);
    let mut dataplane = DataplaneEnd::attach(&region).expect("the old one is gone");
    assert_eq!(dataplane.commands.pop(&mut buffer).expect("honest"), Some(&secret[..]));
    dataplane.commands.commit();
    assert!(!holds_secret());
}
