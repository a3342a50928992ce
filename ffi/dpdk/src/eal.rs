//! The environment abstraction layer: started once, never stopped.

use core::ffi::{CStr, c_char, c_int};
use core::marker::PhantomData;
use std::ffi::CString;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

use crate::errno::Errno;

/// Where packet buffers lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Memory {
    /// Huge pages, as needed. No file is left behind, not even after a crash.
    HugePages,
    /// Ordinary memory, this many MiB, taken at the start. Cards cannot reach it without an IOMMU; virtual devices can.
    /// DPDK lets no packet buffer cross a page of it, so that each takes whole pages.
    Plain { mib: u32 },
}

/// How to start.
#[derive(Clone, Debug)]
pub struct EalConfig {
    pub memory: Memory,
    /// Tells several DPDK processes of one machine apart.
    pub file_prefix: String,
    /// Where DPDK's own threads may run: the cores that are no worker's. Workers are the caller's threads.
    pub cores: Vec<usize>,
    /// DPDK's own scale: 1 emergency .. 4 error, 5 warning, 6 notice, 7 info, 8 debug. Goes to standard error.
    pub log_level: u8,
    /// Further arguments in DPDK's words, such as `--iova-mode=va`.
    pub extra: Vec<String>,
}

/// Why DPDK did not start, or would not know a thread.
#[derive(Debug, thiserror::Error)]
pub enum EalError {
    #[error("DPDK was started before in this process, which it allows once only")]
    AlreadyStarted,
    #[error("DPDK's argument {0:?} holds a NUL")]
    BadArgument(String),
    #[error("no thread could be started for DPDK: {0}")]
    Thread(std::io::Error),
    #[error("DPDK did not start: {0}")]
    Init(Errno),
    #[error("DPDK has no room for another thread: {0}")]
    Register(Errno),
}

/// The proof that DPDK runs.
#[derive(Clone, Debug)]
pub struct Eal {
    _started: (),
}

static STARTED: AtomicBool = AtomicBool::new(false);

/// DPDK's functions for setting up and closing devices are not for several threads at once. Holds the numbers of the
/// ports that are open, for DPDK would open one twice.
static CONTROL: Mutex<Vec<u16>> = Mutex::new(Vec::new());

pub(crate) fn control() -> MutexGuard<'static, Vec<u16>> {
    CONTROL.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Eal {
    /// Starts DPDK. A process can try once.
    ///
    /// No device is probed; see [`crate::Device::probe`]. The calling thread keeps its affinity: DPDK pins the thread
    /// that starts it, so that is one of its own.
    pub fn start(config: &EalConfig) -> Result<Self, EalError> {
        let arguments = arguments(config)?;
        if STARTED.swap(true, Ordering::AcqRel) {
            return Err(EalError::AlreadyStarted);
        }
        let thread = thread::Builder::new().name("dpdk-start".to_owned());
        let started = thread.spawn(move || init(arguments)).map_err(EalError::Thread)?.join();
        started.unwrap_or(Err(Errno::INVAL)).map_err(EalError::Init)?;
        Ok(Self { _started: () })
    }

    /// Gives the calling thread caches of its own in every pool. Without it the thread may do all the same, slower.
    pub fn register_thread(&self) -> Result<RegisteredThread, EalError> {
        // SAFETY: DPDK has started.
        match unsafe { dpdk_sys::rte_thread_register() } {
            0 => Ok(RegisteredThread { _not_send: PhantomData }),
            _ => Err(EalError::Register(Errno::last())),
        }
    }

    /// Ticks of [`rdtsc`] in a second.
    pub fn tsc_hz(&self) -> u64 {
        // SAFETY: DPDK has started, and measured it.
        unsafe { dpdk_sys::rte_get_tsc_hz() }
    }
}

/// The processor's time stamp counter.
pub fn rdtsc() -> u64 {
    // SAFETY: reads a register; needs no DPDK that runs.
    unsafe { dpdk_sys::rte_rdtsc() }
}

/// Name and number of the DPDK in use.
pub fn version() -> String {
    // SAFETY: returns a constant string; needs no DPDK that runs.
    let text = unsafe { dpdk_sys::rte_version() };
    // SAFETY: a constant string that ends in NUL.
    let text = unsafe { CStr::from_ptr(text) };
    text.to_string_lossy().into_owned()
}

/// Ends the thread's registration when dropped. Stays in its thread.
///
/// ```compile_fail,E0277
/// fn sent<T: Send>() {}
/// sent::<dpdk::RegisteredThread>();
/// ```
#[derive(Debug)]
pub struct RegisteredThread {
    _not_send: PhantomData<*const ()>,
}

impl Drop for RegisteredThread {
    fn drop(&mut self) {
        // SAFETY: this thread was registered, for the value cannot leave it.
        unsafe { dpdk_sys::rte_thread_unregister() }
    }
}

fn arguments(config: &EalConfig) -> Result<Vec<CString>, EalError> {
    let mut words: Vec<String> = ["culvert", "--no-telemetry"].map(str::to_owned).into();
    match config.memory {
        Memory::HugePages => words.push("--in-memory".to_owned()),
        // DPDK refuses --in-memory here, and takes the memory without a file anyway.
        Memory::Plain { mib } => {
            words.extend(["--no-huge", "--no-shconf", "-m"].map(str::to_owned));
            words.push(mib.to_string());
        }
    }
    words.push(format!("--file-prefix={}", config.file_prefix));
    words.push(format!("--log-level={}", config.log_level));
    let cores: Vec<String> = config.cores.iter().map(usize::to_string).collect();
    if !cores.is_empty() {
        words.push(format!("--lcores=0@({})", cores.join(",")));
    }
    // A list of allowed devices on which no network card can stand (the root of the first bus): so none is probed, and
    // each one that is configured can be, later, with an error of its own.
    words.extend(["-a".to_owned(), "0000:00:00.0".to_owned()]);
    words.extend(config.extra.iter().cloned());
    words.into_iter().map(|word| CString::new(word.clone()).map_err(|_| EalError::BadArgument(word))).collect()
}

fn init(arguments: Vec<CString>) -> Result<(), Errno> {
    // SAFETY: standard error stays open; failing leaves DPDK's own stream.
    unsafe { dpdk_sys::culvert_log_to_stderr() };
    // DPDK keeps pointers into its arguments, so they are given away.
    let mut argv: Vec<*mut c_char> = arguments.into_iter().map(CString::into_raw).collect();
    let argc = c_int::try_from(argv.len()).map_err(|_| Errno::INVAL)?;
    argv.push(core::ptr::null_mut());
    let argv = Box::leak(argv.into_boxed_slice());
    // SAFETY: called once in the process (STARTED); argv holds argc strings that live for ever, and a null after them.
    if unsafe { dpdk_sys::rte_eal_init(argc, argv.as_mut_ptr()) } < 0 {
        let reason = Errno::last();
        remove_runtime_dir();
        return Err(reason);
    }
    remove_runtime_dir();
    Ok(())
}

/// DPDK makes a directory for files that are not written with these arguments, and never takes it away.
fn remove_runtime_dir() {
    // SAFETY: DPDK has started or given up; the string is its own static one, empty where it came to nothing.
    let dir = unsafe { dpdk_sys::rte_eal_get_runtime_dir() };
    if dir.is_null() {
        return;
    }
    // SAFETY: not null, and ends in NUL.
    let dir = unsafe { CStr::from_ptr(dir) };
    if let Ok(dir) = dir.to_str() {
        // Fails where something is in it, and then that is in use.
        _ = std::fs::remove_dir(dir);
    }
}
