//! Generates the bindings with bindgen, and compiles the C wrappers of DPDK's inline functions.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=wrapper.h");
    #[cfg(feature = "dpdk")]
    dpdk::build();
}

#[cfg(feature = "dpdk")]
mod dpdk {
    use std::env;
    use std::path::PathBuf;
    use std::process::Command;

    const FUNCTIONS: &[&str] = &[
        "culvert_.*",
        "rte_eal_init",
        "rte_eal_get_runtime_dir",
        "rte_dev_probe",
        "rte_eth_dev_(get_port_by_name|info_get|adjust_nb_rx_tx_desc|start|set_mtu|get_mtu|socket_id)",
        "rte_eth_(rx|tx)_queue_setup",
        "rte_eth_(rx|tx)_burst",
        "rte_eth_macaddr_get",
        "rte_eth_dev_default_mac_addr_set",
        "rte_eth_promiscuous_enable",
        "rte_eth_allmulticast_enable",
        "rte_eth_stats_get",
        "rte_mempool_avail_count",
        "rte_pktmbuf_pool_create",
        "rte_pktmbuf_(alloc|copy|free|linearize)",
        "rte_rdtsc",
        "rte_get_tsc_hz",
        "rte_strerror",
        "rte_thread_(un)?register",
        "rte_version",
    ];

    const TYPES: &[&str] =
        &["culvert_.*", "rte_eth_dev_info", "rte_eth_stats", "rte_ether_addr", "rte_mbuf", "rte_mempool"];

    pub fn build() {
        let cflags = match pkg_config_cflags() {
            Ok(flags) => flags,
            Err(reason) => panic!(
                "libdpdk was not found: {reason}. Install it (Debian: apt install libdpdk-dev pkg-config), \
                 or build with --no-default-features"
            ),
        };
        let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
        let wrappers = out.join("wrappers.c");
        generate(&cflags, &out, &wrappers);
        compile(&cflags, &wrappers);
        // After the wrappers, so that a linker that reads from left to right finds what they use.
        pkg_config::Config::new().atleast_version("22.11").probe("libdpdk").expect("libdpdk was found above");
    }

    /// All of them, in order. The pkg-config crate would drop `-include` and `-march`, without which the headers do not
    /// describe the library that is installed.
    fn pkg_config_cflags() -> Result<Vec<String>, String> {
        println!("cargo:rerun-if-env-changed=PKG_CONFIG_PATH");
        let run = Command::new("pkg-config").args(["--cflags", "libdpdk >= 22.11"]).output();
        let output = run.map_err(|e| format!("pkg-config did not run: {e}"))?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).trim().to_owned());
        }
        Ok(String::from_utf8_lossy(&output.stdout).split_whitespace().map(str::to_owned).collect())
    }

    fn generate(cflags: &[String], out: &std::path::Path, wrappers: &std::path::Path) {
        let mut builder = bindgen::Builder::default()
            .header("wrapper.h")
            .clang_args(cflags)
            .wrap_static_fns(true)
            .wrap_static_fns_path(wrappers)
            .rust_edition(bindgen::RustEdition::Edition2024)
            .prepend_enum_name(false)
            .derive_default(true)
            .layout_tests(true)
            .generate_comments(false)
            // Rust has no type that is packed and holds an aligned one.
            .opaque_type("rte_arp_.*|rte_gtp.*|rte_l2tpv2.*")
            // Only ever behind a pointer; their fields move between versions.
            .opaque_type("rte_mbuf|rte_mempool|rte_device");
        for function in FUNCTIONS {
            builder = builder.allowlist_function(function);
        }
        for name in TYPES {
            builder = builder.allowlist_type(name);
        }
        let bindings = builder.allowlist_var("CULVERT_.*").generate().expect("bindgen reads wrapper.h");
        bindings.write_to_file(out.join("bindings.rs")).expect("OUT_DIR can be written");
    }

    fn compile(cflags: &[String], wrappers: &std::path::Path) {
        let mut cc = cc::Build::new();
        cc.file(wrappers).include(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it")).warnings(false);
        // The wrappers are the packet path: never without optimisation.
        cc.opt_level(3);
        for flag in cflags {
            cc.flag(flag);
        }
        cc.compile("culvert_dpdk_wrappers");
    }
}
