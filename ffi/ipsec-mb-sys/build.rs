//! Generates the bindings with bindgen, and compiles the accessors of `wrapper.h`.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=wrapper.h");
    #[cfg(feature = "ipsec-mb")]
    ipsec_mb::build();
}

#[cfg(feature = "ipsec-mb")]
mod ipsec_mb {
    use std::env;
    use std::path::{Path, PathBuf};

    const HEADER: &str = "intel-ipsec-mb.h";

    pub fn build() {
        // Debian 12 ships no pkg-config file for it.
        let found = pkg_config::Config::new().cargo_metadata(false).probe("libipsec_mb").ok();
        let include = found.as_ref().map_or_else(search, |library| library.include_paths.clone());
        let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
        let wrappers = out.join("wrappers.c");
        generate(&include, &out, &wrappers);
        cc::Build::new()
            .file(&wrappers)
            .include(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"))
            .includes(&include)
            .warnings(false)
            .compile("culvert_ipsec_mb_wrappers");
        // After the wrappers, so that a linker that reads from left to right finds what they use.
        for path in found.iter().flat_map(|library| &library.link_paths) {
            println!("cargo:rustc-link-search=native={}", path.display());
        }
        println!("cargo:rustc-link-lib=IPSec_MB");
    }

    /// Include paths to give the compiler: none where it looks anyway.
    fn search() -> Vec<PathBuf> {
        let standard = ["/usr/include", "/usr/local/include"].map(Path::new);
        let Some(place) = standard.iter().find(|dir| dir.join(HEADER).exists()) else {
            panic!(
                "{HEADER} was found neither by pkg-config nor in {}. Install it (Debian: apt install libipsec-mb-dev), \
                 or build with --no-default-features",
                standard.map(|dir| dir.display().to_string()).join(" or ")
            );
        };
        println!("cargo:rerun-if-changed={}", place.join(HEADER).display());
        Vec::new()
    }

    fn generate(include: &[PathBuf], out: &Path, wrappers: &Path) {
        let bindings = bindgen::Builder::default()
            .header("wrapper.h")
            .clang_args(include.iter().map(|path| format!("-I{}", path.display())))
            .wrap_static_fns(true)
            .wrap_static_fns_path(wrappers)
            .rust_edition(bindgen::RustEdition::Edition2024)
            .prepend_enum_name(false)
            .generate_comments(false)
            .opaque_type("gcm_.*")
            // Only ever behind a pointer; its fields move between versions.
            .blocklist_type("IMB_MGR")
            .raw_line("#[repr(C)]\n#[derive(Debug)]\npub struct IMB_MGR {\n    _opaque: [u8; 0],\n}")
            .allowlist_function("culvert_.*|alloc_mb_mgr|free_mb_mgr|init_mb_mgr_auto")
            .allowlist_function("imb_get_version_str|imb_clear_mem")
            .blocklist_type("IMB_JOB")
            .raw_line("#[repr(C)]\n#[derive(Debug)]\npub struct IMB_JOB {\n    _opaque: [u8; 0],\n}")
            .allowlist_type("gcm_key_data|gcm_context_data|culvert_task")
            .allowlist_var("CULVERT_.*|IMB_(ARCH|AUTH|CIPHER|DIR|ORDER)_.*")
            .generate()
            .expect("bindgen reads wrapper.h");
        bindings.write_to_file(out.join("bindings.rs")).expect("OUT_DIR can be written");
    }
}
