//! What an SA does with headers and sizes: the keys that children and manual SAs share.

use crate::kinds::{NumberOr, NumberOrWord, Word, Words};
use crate::reader::{Flag, Int, List, Maybe, Refusal, Text};
use crate::words::CopyDscp;
use culvert_model::{DfHandling, DscpHandling, DscpMap, FragmentWhen, Handling, MssClamp, Tfc};

section! {
    /// Headers and sizes of an SA. In transport mode there is no outer header, and only `fragment` and `mss_clamp` count.
    Headers {
        /// The outer "don't fragment" bit: from the inner header, always set, or never (RFC 4301 §8.1).
        df: DfHandling as Word<DfHandling> = "\"copy\"";
        /// Copy the traffic class (DSCP): "out" from the inner header to the outer one, "in" on the way back, "yes" both,
        /// "no" neither.
        copy_dscp: CopyDscp as Word<CopyDscp> = "\"out\"";
        /// The outer DSCP where it is not copied. Left out: 0.
        dscp: Option<u8> as Maybe<Int<u8, 0, 63>>;
        /// Outer DSCP by the inner one where it is copied: "46=34" sends what is marked 46 with 34 outside. What is not named
        /// is copied as it is.
        dscp_map: Vec<(u8, u8)> as List<DscpPair> = "[]";
        /// Carry congestion marks across the tunnel (RFC 6040); false hides them.
        copy_ecn: bool as Flag = "true";
        /// Outer time to live or hop limit; "copy" takes the inner one.
        hop_limit: Option<u8> as NumberOr<Option<u8>> = "64";
        /// Copy the inner IPv6 flow label to an outer IPv6 header.
        copy_flow_label: bool as Flag = "false";
        /// Where a packet that does not fit is cut: "before" sealing, so that the peer need not put ESP together, or
        /// "after" it.
        fragment: FragmentWhen as Word<FragmentWhen> = "\"before\"";
        /// Pad inner packets to this many octets, or to what the path carries with "mtu", so that their lengths tell
        /// nothing (ESP in tunnel mode); 0 does not.
        tfc_padding: Tfc as NumberOr<Tfc> = "0";
        /// Send this many dummy packets a second (ESP); 0 sends none.
        dummy_packets: u16 as Int<u16, 0, 10_000> = "0";
        /// Lower TCP's maximum segment size in SYN packets: "auto" to what fits the path, or to this many octets.
        mss_clamp: MssClamp as NumberOr<MssClamp> = "\"off\"";
    }
}

impl Headers {
    pub fn handling(&self) -> Handling {
        let copies_out = matches!(self.copy_dscp, CopyDscp::Out | CopyDscp::Yes);
        Handling {
            df: self.df,
            dscp: if copies_out { self.mapped() } else { DscpHandling::Set(self.dscp.unwrap_or(0)) },
            dscp_inbound: matches!(self.copy_dscp, CopyDscp::In | CopyDscp::Yes),
            ecn: self.copy_ecn,
            ttl: self.hop_limit,
            flow_label: self.copy_flow_label,
            fragment: self.fragment,
            tfc: self.tfc_padding,
            dummies: self.dummy_packets,
            mss_clamp: self.mss_clamp,
            // Of manual SAs both ends are the administrator's; where there is IKE, it says.
            later_fragments: true,
        }
    }

    fn mapped(&self) -> DscpHandling {
        if self.dscp_map.is_empty() {
            return DscpHandling::Copy;
        }
        let mut map = *DscpMap::IDENTITY.octets();
        for (inner, outer) in &self.dscp_map {
            if let Some(place) = map.get_mut(usize::from(*inner)) {
                *place = *outer;
            }
        }
        // The reader has refused what is above 63.
        DscpMap::new(map).map_or(DscpHandling::Copy, DscpHandling::Map)
    }

    /// `dscp` is for a header that nothing is copied to.
    pub(crate) fn dscp_is_lost(&self) -> bool {
        self.dscp.is_some() && !matches!(self.handling().dscp, DscpHandling::Set(_))
    }
}

pub(crate) struct DscpPair;

impl Text for DscpPair {
    type Value = (u8, u8);
    const SHAPE: &'static str = "two DSCPs from 0 to 63, such as \"46=34\"";

    fn parse(text: &str) -> Result<(u8, u8), Refusal> {
        let dscp = |text: &str| text.trim().parse().ok().filter(|dscp| *dscp < 64);
        let pair = text.split_once('=').and_then(|(inner, outer)| Some((dscp(inner)?, dscp(outer)?)));
        pair.ok_or_else(|| (format!("{text:?} is not {}", Self::SHAPE), "write inner=outer".to_owned()))
    }
}

impl Words for DfHandling {
    const WORDS: &'static [(&'static str, Self)] = &[("copy", Self::Copy), ("set", Self::Set), ("clear", Self::Clear)];
    const NOT_YET: &'static [(&'static str, &'static str)] = &[];
}

impl Words for FragmentWhen {
    const WORDS: &'static [(&'static str, Self)] = &[("before", Self::Before), ("after", Self::After)];
    const NOT_YET: &'static [(&'static str, &'static str)] = &[];
}

/// A hop limit; `None` copies.
impl NumberOrWord for Option<u8> {
    const WORDS: &'static [(&'static str, Self)] = &[("copy", None)];
    const MIN: u16 = 1;
    const MAX: u16 = 255;

    fn number(value: u16) -> Self {
        u8::try_from(value).ok()
    }
}

impl NumberOrWord for Tfc {
    const WORDS: &'static [(&'static str, Self)] = &[("mtu", Self::ToMtu)];
    const MIN: u16 = 0;
    const MAX: u16 = 9216;

    fn number(value: u16) -> Self {
        if value == 0 { Self::Off } else { Self::To(value) }
    }
}

impl NumberOrWord for MssClamp {
    const WORDS: &'static [(&'static str, Self)] = &[("off", Self::Off), ("auto", Self::Auto)];
    const MIN: u16 = 64;
    const MAX: u16 = 9216;

    fn number(value: u16) -> Self {
        Self::To(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnostics::Sink;
    use crate::section::Table;
    use toml::de::DeTable;

    fn read(text: &str) -> Result<Handling, String> {
        let document = DeTable::parse(text).expect("TOML");
        let mut sink = Sink::default();
        let headers = Headers::read(document.get_ref(), 0..0, &mut sink);
        let found = sink.finish("c.toml", text);
        if found.is_empty() { Ok(headers.expect("read").handling()) } else { Err(found.to_string()) }
    }

    #[test]
    fn nothing_said_is_the_models_default() {
        assert_eq!(read(""), Ok(Handling::default()));
    }

    #[test]
    fn each_word_has_its_meaning() {
        let base = Handling::default();
        let mut map = *DscpMap::IDENTITY.octets();
        map[46] = 34;
        let map = DscpMap::new(map).expect("all below 64");
        for (text, wanted) in [
            ("df = \"set\"", Handling { df: DfHandling::Set, ..base }),
            ("df = \"clear\"", Handling { df: DfHandling::Clear, ..base }),
            ("copy_dscp = \"yes\"", Handling { dscp_inbound: true, ..base }),
            ("dscp_map = [\"46=34\"]", Handling { dscp: DscpHandling::Map(map), ..base }),
            ("copy_dscp = \"no\"", Handling { dscp: DscpHandling::Set(0), ..base }),
            ("copy_dscp = \"in\"\ndscp = 46", Handling { dscp: DscpHandling::Set(46), dscp_inbound: true, ..base }),
            ("copy_ecn = false", Handling { ecn: false, ..base }),
            ("hop_limit = \"copy\"", Handling { ttl: None, ..base }),
            ("hop_limit = 255", Handling { ttl: Some(255), ..base }),
            ("copy_flow_label = true", Handling { flow_label: true, ..base }),
            ("fragment = \"after\"", Handling { fragment: FragmentWhen::After, ..base }),
            ("tfc_padding = \"mtu\"", Handling { tfc: Tfc::ToMtu, ..base }),
            ("tfc_padding = 1280", Handling { tfc: Tfc::To(1280), ..base }),
            ("dummy_packets = 10", Handling { dummies: 10, ..base }),
            ("mss_clamp = \"auto\"", Handling { mss_clamp: MssClamp::Auto, ..base }),
            ("mss_clamp = 1360", Handling { mss_clamp: MssClamp::To(1360), ..base }),
        ] {
            assert_eq!(read(text), Ok(wanted), "{text}");
        }
    }

    #[test]
    fn what_is_no_value() {
        for text in [
            "df = \"yes\"",
            "copy_dscp = true",
            "dscp = 64",
            "hop_limit = 0",
            "hop_limit = 256",
            "hop_limit = \"64\"",
            "tfc_padding = 9217",
            "tfc_padding = -1",
            "tfc_padding = \"max\"",
            "mss_clamp = 63",
            "mss_clamp = 65_600",
            "fragment = \"never\"",
        ] {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
