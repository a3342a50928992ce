use super::*;
use std::fs::Permissions;

fn id(text: &str) -> Identity {
    text.parse().expect(text)
}

#[test]
fn a_secret_fits_those_it_names() {
    let ids = |words: &[&str]| words.iter().map(|w| id(w)).collect::<Vec<_>>();
    let fits = |words: &[&str], local, remote| fit(&ids(words), &id(local), Some(&id(remote)));
    assert_eq!(fits(&["branch", "HQ"], "hq", "branch"), Some(3));
    assert_eq!(fits(&["branch"], "hq", "branch"), Some(2));
    assert_eq!(fits(&["hq"], "hq", "branch"), Some(1));
    assert_eq!(fits(&[], "hq", "branch"), Some(0));
    assert_eq!(fits(&["hq", "other"], "hq", "branch"), None, "it names another peer");
    assert_eq!(fits(&["foreign", "branch"], "hq", "branch"), None, "it is for two others");
}

#[test]
fn forms_of_swanctl() {
    let read = |text: &[u8]| decode(text).map(|(key, form)| (key.expose().to_vec(), form)).map_err(|e| e.to_string());
    assert_eq!(read(b"sesame\n"), Ok((b"sesame".to_vec(), Form::Text)));
    assert_eq!(read(b"sesame\r\n"), Ok((b"sesame".to_vec(), Form::Text)));
    assert_eq!(read(b" a b \n\n"), Ok((b" a b \n".to_vec(), Form::Text)));
    assert_eq!(read(b"0x00fFa0\n"), Ok((vec![0, 0xff, 0xa0], Form::Binary)));
    for (text, octets) in [("0sZg==", "f"), ("0sZm8=", "fo"), ("0sZm9v", "foo"), ("0sZm9vYg", "foob")] {
        assert_eq!(read(text.as_bytes()), Ok((octets.into(), Form::Binary)), "{text}");
    }
    for bad in ["0x0", "0xzz", "0s!", "0sZ", "0sZg=", "0sZh==", "0sZg==Zg==", "\n", "0x", "0s\n"] {
        assert!(read(bad.as_bytes()).is_err(), "{bad:?}");
    }
}

/// A directory with key files, and a configuration that names them.
struct Fixture {
    dir: tempfile::TempDir,
}

impl Fixture {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().expect("a directory") }
    }

    fn file(&self, name: &str, contents: &str, mode: u32) -> PathBuf {
        let path = self.dir.path().join(name);
        fs::write(&path, contents).expect("written");
        fs::set_permissions(&path, Permissions::from_mode(mode)).expect("mode set");
        path
    }

    fn config(&self, text: &str) -> Config {
        let base = "[[interface]]\nname = \"wan\"\ndevice = \"net_null0\"\naddresses = [\"192.0.2.1/24\"]\n";
        Config::parse(&self.dir.path().join("culvert.toml"), &format!("{base}{text}")).expect("valid")
    }

    fn errors(&self, text: &str) -> Vec<String> {
        let dir = format!("{}/", self.dir.path().display());
        let found = self.config(text).read_secrets().expect_err("refused");
        found.0.iter().map(|e| e.to_string().replace(&dir, "")).collect()
    }
}

#[test]
fn files_that_others_can_read_are_refused_and_told_how_to_be_mended() {
    let fixture = Fixture::new();
    for mode in [0o644, 0o640, 0o604, 0o620, 0o602, 0o601] {
        fixture.file("k", "a long enough secret", mode);
        let errors = fixture.errors("[[secret]]\nfile = \"k\"\n");
        assert_eq!(errors, [format!("k: others can read or write it (mode {mode:04o}); run: chmod 600 k")]);
    }
    fixture.file("k", "a long enough secret", 0o600);
    let secrets = fixture.config("[[secret]]\nfile = \"k\"\n").read_secrets().expect("fine");
    let keys: Vec<_> = secrets.psks().map(|(_, key)| key.expose()).collect();
    assert_eq!(keys, [b"a long enough secret"]);
    assert!(secrets.warnings().is_empty());
    assert!(!format!("{secrets:?}").contains("secret\""));
}

#[test]
fn every_unusable_file_is_reported() {
    let fixture = Fixture::new();
    fixture.file("empty", "", 0o600);
    fixture.file("newline", "\n", 0o600);
    fixture.file("hex", "0xabc\n", 0o600);
    fixture.file("large", &"x".repeat(70_000), 0o600);
    fs::create_dir(fixture.dir.path().join("dir")).expect("a directory");
    let names = ["missing", "empty", "newline", "hex", "large", "dir"];
    let text: String = names.iter().map(|name| format!("[[secret]]\nfile = \"{name}\"\n")).collect();
    let errors = fixture.errors(&text);
    assert_eq!(errors.len(), names.len(), "{errors:#?}");
    assert!(errors[0].starts_with("missing: cannot be read: "), "{}", errors[0]);
    assert_eq!(errors[1], "empty: is empty");
    assert_eq!(errors[2], "newline: is empty");
    assert_eq!(errors[3], "hex: begins with 0x, and what follows is not a row of hexadecimal octets");
    assert_eq!(errors[4], "large: is 70000 bytes long; a key file has at most 65536");
    assert_eq!(errors[5], "dir: is not a regular file");
}

#[test]
fn a_short_secret_is_taken_with_a_warning() {
    let fixture = Fixture::new();
    fixture.file("k", "sesame\n", 0o400);
    let secrets = fixture.config("[[secret]]\nfile = \"k\"\n").read_secrets().expect("fine");
    assert_eq!(secrets.warnings().len(), 1);
    assert!(!secrets.warnings()[0].contains("sesame"));
}

const MANUAL: &str = r#"
[[manual_sa]]
name = "m"
local = "192.0.2.1"
remote = "198.51.100.9"
local_ts = ["10.1.0.0/16"]
remote_ts = ["10.7.0.0/16"]
suite = "aes128gcm16"
spi_in = 0x1000
spi_out = 0x2000
key_in_file = "in"
key_out_file = "out"
"#;

#[test]
fn manual_keys() {
    let fixture = Fixture::new();
    let (one, two) = ("11".repeat(20), "22".repeat(20));
    fixture.file("in", &format!("0x{one}\n"), 0o600);
    fixture.file("out", &format!("0x{two}\n"), 0o600);
    let secrets = fixture.config(MANUAL).read_secrets().expect("fine");
    let keys = secrets.manual("m").expect("there");
    assert_eq!((keys.key_in.expose(), keys.key_out.expose()), (&[0x11; 20][..], &[0x22; 20][..]));

    fixture.file("out", &format!("0x{one}\n"), 0o600);
    let errors = fixture.errors(MANUAL);
    assert!(errors[0].starts_with("out: holds the same key as in;"), "{errors:?}");

    fixture.file("in", "0x00\n", 0o600);
    fixture.file("out", "a passphrase", 0o600);
    let length = "in: holds 1 octets; aes128gcm16 takes 20: 16 of key and 4 of salt for aes128gcm16";
    let form = "out: a manual key must be written 0x and hexadecimal, or 0s and base64";
    assert_eq!(fixture.errors(MANUAL), [length, form]);
}

#[test]
fn the_parts_of_a_key_are_named() {
    let esp = |words| key_parts(Suite::esp_from_words(words).expect(words));
    assert_eq!(esp("aes256ctr-sha1"), "32 of key and 4 of salt for aes256ctr, then 20 of key for sha1");
    assert_eq!(esp("null-sha512"), "64 of key for sha512");
    assert_eq!(esp("aes128-aesxcbc"), "16 of key for aes128, then 16 of key for aesxcbc");
    assert_eq!(key_parts(Suite::ah_from_word("aes256gmac").expect("GMAC")), "32 of key and 4 of salt for aes256gmac");
    for suite in Suite::all() {
        let words = key_parts(suite);
        let total: usize = words.split(' ').filter_map(|word| word.parse::<usize>().ok()).sum();
        assert_eq!(total, suite.key_len(), "{suite}: {words}");
    }
}

#[test]
fn keys_of_ah_and_of_ciphers_with_integrity() {
    let fixture = Fixture::new();
    for (line, len) in [("suite = \"null-sha1\"", 20), ("suite = \"aes256ccm8\"", 35), ("ah = \"sha384\"", 48)] {
        let text = MANUAL.replace("suite = \"aes128gcm16\"", line);
        fixture.file("in", &format!("0x{}\n", "11".repeat(len)), 0o600);
        fixture.file("out", &format!("0x{}\n", "22".repeat(len)), 0o600);
        let secrets = fixture.config(&text).read_secrets().expect(line);
        assert_eq!(secrets.manual("m").map(|keys| keys.key_in.len()), Some(len), "{line}");
        fixture.file("out", &format!("0x{}\n", "22".repeat(len + 1)), 0o600);
        assert!(fixture.errors(&text)[0].contains(&format!("takes {len}: ")), "{line}");
    }
}
