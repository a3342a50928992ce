//! The kinds of value this file knows, beyond TOML's own.

use crate::diagnostics::Sink;
use crate::reader::{Item, Kind, Label, Refusal, Text, integer, type_of, wrong_type};
use crate::section::{did_you_mean, nearest, suggestion};
use culvert_model::{
    Encryption, EsnMode, EspProposal, Identity, IdentityError, IkeProposal, Integrity, KeGroup, Prf, ProposalError,
    Spi, Suite, SuiteError,
};
use ipnet::IpNet;
use std::marker::PhantomData;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;
use toml::de::DeValue;

/// Seconds, or swanctl's `"30s"`, `"10m"`, `"4h"`, `"1d"`.
pub(crate) struct Time;

impl Kind for Time {
    type Value = Duration;

    fn shape() -> String {
        "a time: seconds, or a string such as \"30s\", \"10m\", \"4h\", \"1d\"".into()
    }

    fn read(label: Label<'_>, item: &Item<'_>, sink: &mut Sink) -> Option<Duration> {
        let units = [("s", 1), ("m", 60), ("h", 3600), ("d", 86_400)];
        scaled::<Self>(label, item, sink, &units).map(Duration::from_secs)
    }
}

/// Bytes, or `"10G"` (powers of 1024).
pub(crate) struct Size;

impl Kind for Size {
    type Value = u64;

    fn shape() -> String {
        "a size: bytes, or a string such as \"512M\", \"10G\" (powers of 1024)".into()
    }

    fn read(label: Label<'_>, item: &Item<'_>, sink: &mut Sink) -> Option<u64> {
        scaled::<Self>(label, item, sink, &[("K", 1 << 10), ("M", 1 << 20), ("G", 1 << 30), ("T", 1 << 40)])
    }
}

/// Largest number of seconds or bytes: what other ends can hold too, and far from any overflow.
const SCALED_MAX: u64 = 1 << 53;

fn scaled<K: Kind>(label: Label<'_>, item: &Item<'_>, sink: &mut Sink, units: &[(&str, u64)]) -> Option<u64> {
    let value = match item.get_ref() {
        DeValue::Integer(found) => integer(found),
        DeValue::String(text) => {
            let text = text.trim();
            let unit = units.iter().find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, *factor)));
            let (digits, factor) = unit.unwrap_or((text, 1));
            let digits = digits.trim_end();
            let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
            digits.parse::<u64>().ok().filter(|_| plain).and_then(|n| n.checked_mul(factor))
        }
        _ => {
            wrong_type::<K>(label, item, sink);
            return None;
        }
    };
    let value = value.filter(|v| *v <= SCALED_MAX);
    if value.is_none() {
        let found = match item.get_ref() {
            DeValue::String(text) => format!("{text:?}"),
            DeValue::Integer(found) => found.to_string(),
            other => type_of(other).to_owned(),
        };
        sink.error(item.span(), format!("{label} must be {}, not {found}", K::shape()), "");
    }
    value
}

/// A word of a list.
pub(crate) trait Words: Sized + Copy + 'static {
    const WORDS: &'static [(&'static str, Self)];
    /// Words of swanctl.conf that are not here, and what to do.
    const NOT_YET: &'static [(&'static str, &'static str)];
}

pub(crate) struct Word<E>(PhantomData<E>);

impl<E: Words> Kind for Word<E> {
    type Value = E;

    fn shape() -> String {
        let words: Vec<String> = E::WORDS.iter().map(|(word, _)| format!("\"{word}\"")).collect();
        match words.as_slice() {
            [one] => one.clone(),
            [most @ .., last] => format!("{} or {last}", most.join(", ")),
            [] => String::new(),
        }
    }

    fn read(label: Label<'_>, item: &Item<'_>, sink: &mut Sink) -> Option<E> {
        let Some(text) = item.get_ref().as_str() else {
            wrong_type::<Self>(label, item, sink);
            return None;
        };
        if let Some((_, value)) = E::WORDS.iter().find(|(word, _)| *word == text) {
            return Some(*value);
        }
        if let Some((_, why)) = E::NOT_YET.iter().find(|(word, _)| *word == text) {
            sink.error(item.span(), format!("{} = \"{text}\" is not supported yet", label.key), *why);
            return None;
        }
        let known: Vec<&str> = E::WORDS.iter().map(|(word, _)| *word).collect();
        let message = format!("{label} must be {}, not {text:?}", Self::shape());
        sink.error(item.span(), message, nearest(text, &known).map(did_you_mean).unwrap_or_default());
        None
    }
}

/// A number that one of a few words may stand for.
pub(crate) trait NumberOrWord: Sized + Copy + 'static {
    const WORDS: &'static [(&'static str, Self)];
    const MIN: u16;
    const MAX: u16;
    fn number(value: u16) -> Self;
}

pub(crate) struct NumberOr<E>(PhantomData<E>);

impl<E: NumberOrWord> Kind for NumberOr<E> {
    type Value = E;

    fn shape() -> String {
        let words: Vec<String> = E::WORDS.iter().map(|(word, _)| format!("\"{word}\"")).collect();
        format!("{}, or an integer from {} to {}", words.join(", "), E::MIN, E::MAX)
    }

    fn read(label: Label<'_>, item: &Item<'_>, sink: &mut Sink) -> Option<E> {
        let (value, found) = match item.get_ref() {
            DeValue::Integer(found) => {
                let value = integer(found).and_then(|v| u16::try_from(v).ok());
                (value.filter(|v| (E::MIN..=E::MAX).contains(v)).map(E::number), found.to_string())
            }
            DeValue::String(text) => {
                let word = E::WORDS.iter().find(|(word, _)| word == text);
                (word.map(|(_, value)| *value), format!("{text:?}"))
            }
            _ => {
                wrong_type::<Self>(label, item, sink);
                return None;
            }
        };
        if value.is_none() {
            sink.error(item.span(), format!("{label} must be {}, not {found}", Self::shape()), "");
        }
        value
    }
}

/// A name that may stand in logs, metrics labels and commands.
pub(crate) struct Name;

impl Text for Name {
    type Value = String;
    const SHAPE: &'static str = "a name of letters, digits, \".\", \"_\" and \"-\"";

    fn parse(text: &str) -> Result<String, Refusal> {
        let good = text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
        match text.len() {
            0 => Err(("a name cannot be empty".into(), format!("write {}", Self::SHAPE))),
            1..=64 if good => Ok(text.to_owned()),
            1..=64 => Err((format!("{text:?} is not a name"), format!("write {}", Self::SHAPE))),
            _ => Err((format!("the name {text:?} is too long"), "a name may have 64 characters".into())),
        }
    }
}

/// The name of a manual SA or child; `connection/child` tells children of one name apart.
pub(crate) struct ChildName;

impl Text for ChildName {
    type Value = String;
    const SHAPE: &'static str = "the name of a manual SA or child, or \"connection/child\"";

    fn parse(text: &str) -> Result<String, Refusal> {
        let (first, second) = text.split_once('/').unwrap_or((text, "none"));
        Name::parse(first).and_then(|_| Name::parse(second)).map(|_| text.to_owned())
    }
}

/// What Linux takes for the name of an interface.
pub(crate) struct LinuxName;

impl Text for LinuxName {
    type Value = String;
    const SHAPE: &'static str = "the name of a Linux interface: up to 15 letters, digits, \".\", \"_\" and \"-\"";

    fn parse(text: &str) -> Result<String, Refusal> {
        let name = Name::parse(text)?;
        if name.len() > 15 || name == "." || name == ".." {
            return Err((
                format!("{text:?} cannot be the name of a Linux interface"),
                format!("write {}", Self::SHAPE),
            ));
        }
        Ok(name)
    }
}

pub(crate) struct FilePath;

impl Text for FilePath {
    type Value = PathBuf;
    const SHAPE: &'static str = "a path";

    fn parse(text: &str) -> Result<PathBuf, Refusal> {
        match text {
            "" => Err(("a path cannot be empty".into(), String::new())),
            _ if text.contains('\0') => Err(("a path cannot hold a zero byte".into(), String::new())),
            _ => Ok(text.into()),
        }
    }
}

/// A unicast address.
pub(crate) struct Address;

impl Text for Address {
    type Value = IpAddr;
    const SHAPE: &'static str = "an IPv4 or IPv6 address";

    fn parse(text: &str) -> Result<IpAddr, Refusal> {
        let addr = match text.parse::<IpAddr>() {
            Ok(addr) => addr,
            Err(_) => {
                let help = match text.parse::<IpNet>() {
                    Ok(net) => format!("write \"{}\", without the prefix length", net.addr()),
                    Err(_) => "write an address such as \"192.0.2.1\" or \"2001:db8::1\"".into(),
                };
                return Err((format!("{text:?} is not an IP address"), help));
            }
        };
        unicast(addr).map(|()| addr)
    }
}

fn unicast(addr: IpAddr) -> Result<(), Refusal> {
    let broadcast = matches!(addr, IpAddr::V4(v4) if v4.is_broadcast());
    if addr.is_multicast() || addr.is_unspecified() || addr.is_loopback() || broadcast {
        return Err((format!("{addr} cannot be the address of one host on a network"), String::new()));
    }
    Ok(())
}

/// Addresses, or `%any`, which gives the empty list.
pub(crate) struct Endpoints;

impl Kind for Endpoints {
    type Value = Vec<IpAddr>;

    fn shape() -> String {
        "a list of IPv4 and IPv6 addresses, or [\"%any\"]".into()
    }

    fn read(label: Label<'_>, item: &Item<'_>, sink: &mut Sink) -> Option<Vec<IpAddr>> {
        let Some(array) = item.get_ref().as_array() else {
            let help =
                item.get_ref().as_str().map(|text| format!("write {} = [{text:?}]", label.key)).unwrap_or_default();
            let found = type_of(item.get_ref());
            sink.error(item.span(), format!("{label} must be {}, not {found}", Self::shape()), help);
            return None;
        };
        let any = array.iter().find(|e| e.get_ref().as_str() == Some("%any"));
        if let Some(any) = any.filter(|_| array.len() > 1) {
            sink.error(
                any.span(),
                "\"%any\" stands next to other addresses",
                "write [\"%any\"] alone, or leave it out",
            );
            return None;
        }
        if any.is_some() {
            return Some(Vec::new());
        }
        if array.is_empty() {
            sink.error(item.span(), format!("{label} is empty"), "write [\"%any\"] for any address");
            return None;
        }
        let entry = Label { entry: true, ..label };
        let read: Vec<_> = array.iter().map(|e| endpoint(entry, e, sink)).collect();
        read.into_iter().collect()
    }
}

fn endpoint(label: Label<'_>, item: &Item<'_>, sink: &mut Sink) -> Option<IpAddr> {
    if let Some(text) = item.get_ref().as_str() {
        let no_addr = text.parse::<IpAddr>().is_err();
        if no_addr
            && (text.parse::<IpNet>().is_ok() || text.contains('-') && text.starts_with(|c: char| c.is_ascii_digit()))
        {
            let help = "name each address, or write [\"%any\"] and rely on the peer's id";
            sink.error(item.span(), format!("{text:?}: whole networks are not supported here yet"), help);
            return None;
        }
        let letters = text.contains(|c: char| c.is_ascii_alphabetic()) && !text.contains(':');
        if no_addr && letters {
            let help = "write the address; names are not looked up";
            sink.error(item.span(), format!("{text:?}: host names are not supported yet"), help);
            return None;
        }
    }
    Address::read(label, item, sink)
}

/// An interface's address with its prefix length.
pub(crate) struct HostNet;

impl Text for HostNet {
    type Value = IpNet;
    const SHAPE: &'static str = "an address with its prefix length, such as \"192.0.2.1/24\"";

    fn parse(text: &str) -> Result<IpNet, Refusal> {
        let net = net(text)?;
        unicast(net.addr())?;
        let IpNet::V4(v4) = net else { return Ok(net) };
        // RFC 3021: a /31 has neither.
        if v4.prefix_len() < 31 && v4.addr() == v4.network() {
            return Err((format!("{} is the network itself, not an address in it", net), example_host(net)));
        }
        if v4.prefix_len() < 31 && v4.addr() == v4.broadcast() {
            return Err((format!("{} is the broadcast address of {}", v4.addr(), v4.trunc()), example_host(net)));
        }
        Ok(net)
    }
}

fn example_host(net: IpNet) -> String {
    net.hosts().next().map(|host| format!("such as \"{host}/{}\"", net.prefix_len())).unwrap_or_default()
}

fn net(text: &str) -> Result<IpNet, Refusal> {
    text.parse::<IpNet>().map_err(|_| {
        let help = match text.parse::<IpAddr>() {
            Ok(addr) => format!("add the prefix length, as in \"{addr}/{}\"", if addr.is_ipv4() { 24 } else { 64 }),
            Err(_) => "write for example \"192.0.2.1/24\" or \"2001:db8::1/64\"".into(),
        };
        (format!("{text:?} is not an address with a prefix length"), help)
    })
}

/// A network: no bits set right of the prefix.
pub(crate) struct Prefix;

impl Text for Prefix {
    type Value = IpNet;
    const SHAPE: &'static str = "a network, such as \"10.7.0.0/16\"";

    fn parse(text: &str) -> Result<IpNet, Refusal> {
        let net = net(text)?;
        if net.trunc() != net {
            return Err((format!("{text:?} has bits set after its prefix"), format!("write \"{}\"", net.trunc())));
        }
        Ok(net)
    }
}

pub(crate) struct Listen;

impl Text for Listen {
    type Value = SocketAddr;
    const SHAPE: &'static str = "an address and a port, such as \"127.0.0.1:9469\"";

    fn parse(text: &str) -> Result<SocketAddr, Refusal> {
        let bad = || (format!("{text:?} is not an address and a port"), "write for example \"127.0.0.1:9469\"".into());
        text.parse().map_err(|_| bad())
    }
}

pub(crate) struct Id;

impl Text for Id {
    type Value = Identity;
    const SHAPE: &'static str = "an identity: a domain name, an e-mail address, an IP address, or \"keyid:…\"";

    fn parse(text: &str) -> Result<Identity, Refusal> {
        text.parse().map_err(|e: IdentityError| {
            let help = match e {
                IdentityError::DistinguishedName(_) => "use a domain name or an address as id",
                _ => "write for example \"gw.example\", \"ops@gw.example\", \"192.0.2.1\" or \"keyid:gw\"",
            };
            (e.to_string(), help.into())
        })
    }
}

pub(crate) struct IkeWords;

impl Text for IkeWords {
    type Value = IkeProposal;
    const SHAPE: &'static str = "an IKE proposal, such as \"aes256gcm16-prfsha384-x25519\"";

    fn parse(text: &str) -> Result<IkeProposal, Refusal> {
        let words = Encryption::ALL.iter().filter(|t| t.is_for_ike()).map(|t| t.keyword());
        let words = words.chain(Integrity::ALL.iter().filter(|t| t.is_for_ike()).map(|t| t.keyword()));
        let words = words.chain(Prf::ALL.iter().map(|t| t.keyword()));
        let words: Vec<_> = words.chain(KeGroup::ALL.iter().map(|t| t.keyword())).collect();
        text.parse().map_err(|e| proposal_refusal(text, &e, &words, "aes256gcm16-prfsha384-x25519"))
    }
}

pub(crate) struct EspWords;

impl Text for EspWords {
    type Value = EspProposal;
    const SHAPE: &'static str = "an ESP proposal, such as \"aes256gcm16-x25519\"";

    fn parse(text: &str) -> Result<EspProposal, Refusal> {
        let words = Encryption::ALL.iter().map(|t| t.keyword()).chain(Integrity::ALL.iter().map(|t| t.keyword()));
        let words = words.chain(KeGroup::ALL.iter().map(|t| t.keyword()));
        let words: Vec<_> = words.chain(EsnMode::ALL.iter().map(|t| t.keyword())).collect();
        text.parse().map_err(|e| proposal_refusal(text, &e, &words, "aes256gcm16-x25519"))
    }
}

pub(crate) struct AhWords;

impl Text for AhWords {
    type Value = EspProposal;
    const SHAPE: &'static str = "an AH proposal, such as \"sha256-x25519\"";

    fn parse(text: &str) -> Result<EspProposal, Refusal> {
        let words = Integrity::ALL.iter().map(|t| t.keyword()).chain(KeGroup::ALL.iter().map(|t| t.keyword()));
        let words: Vec<_> = words.chain(EsnMode::ALL.iter().map(|t| t.keyword())).collect();
        EspProposal::ah(text).map_err(|e| proposal_refusal(text, &e, &words, "sha256-x25519"))
    }
}

fn proposal_refusal(text: &str, error: &ProposalError, words: &[&str], example: &str) -> Refusal {
    let help = match error {
        ProposalError::UnknownWord { word } => suggestion(word, words),
        _ => format!("write for example \"{example}\""),
    };
    (format!("proposal {text:?}: {error}"), help)
}

pub(crate) struct SuiteWord;

impl Text for SuiteWord {
    type Value = Suite;
    const SHAPE: &'static str = "an ESP suite, such as \"aes256gcm16\" or \"aes128-sha256\"";

    fn parse(text: &str) -> Result<Suite, Refusal> {
        let known = Encryption::ALL.iter().map(|t| t.keyword()).chain(Integrity::ALL.iter().map(|t| t.keyword()));
        Suite::esp_from_words(text).map_err(|error| suite_refusal(text, &error, known, Self::SHAPE))
    }
}

pub(crate) struct AhWord;

impl Text for AhWord {
    type Value = Suite;
    const SHAPE: &'static str = "an integrity algorithm for AH, such as \"sha256\" or \"aes128gmac\"";

    fn parse(text: &str) -> Result<Suite, Refusal> {
        let known = Integrity::ALL.iter().map(|t| t.keyword());
        Suite::ah_from_word(text).map_err(|error| suite_refusal(text, &error, known, Self::SHAPE))
    }
}

fn suite_refusal(
    text: &str,
    error: &SuiteError,
    known: impl Iterator<Item = &'static str>,
    shape: &'static str,
) -> Refusal {
    let help = match error {
        SuiteError::UnknownWord(word) => suggestion(word, &known.collect::<Vec<_>>()),
        _ => format!("write {shape}"),
    };
    (format!("suite {text:?}: {error}"), help)
}

pub(crate) struct SpiNumber;

impl Kind for SpiNumber {
    type Value = Spi;

    fn shape() -> String {
        "an integer from 0x100 to 0xffffffff".into()
    }

    fn read(label: Label<'_>, item: &Item<'_>, sink: &mut Sink) -> Option<Spi> {
        let DeValue::Integer(found) = item.get_ref() else {
            wrong_type::<Self>(label, item, sink);
            return None;
        };
        let Some(value) = integer(found).and_then(|v| u32::try_from(v).ok()) else {
            sink.error(item.span(), format!("{label} must be {}, not {found}", Self::shape()), "");
            return None;
        };
        Spi::new(value).map_err(|e| sink.error(item.span(), e.to_string(), "")).ok()
    }
}
