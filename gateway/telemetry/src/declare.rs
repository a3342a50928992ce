//! The one macro behind the counter enums.

/// `Variant = "name", "help";` lines become an enum whose order is the order in the counter block.
///
/// With a head `shown as "prefix", [labels]` each variant is the counter `culvert_<prefix>_<name>_total`; lines of
/// `gauges` name their series and the factor to its unit themselves.
macro_rules! declare {
    ($(#[$meta:meta])* $name:ident shown as $prefix:literal, $labels:tt {
        $($variant:ident = $word:literal, $help:literal;)+
    } $(gauges { $($gauge:ident = $gword:literal as $series:literal * $scale:literal, $ghelp:literal;)+ })?) => {
        declare! {
            $(#[$meta])* $name {
                $($variant = $word, $help;)+
                $($($gauge = $gword, $ghelp;)+)?
            }
        }

        impl $name {
            /// The series this is shown as.
            pub const fn metric(self) -> crate::Metric {
                match self {
                    $(Self::$variant => crate::metric::counter(
                        concat!("culvert_", $prefix, "_", $word, "_total"), &$labels, $help,
                    ),)+
                    $($(Self::$gauge => crate::Metric {
                        name: concat!("culvert_", $prefix, "_", $series),
                        kind: crate::Kind::Gauge,
                        labels: &$labels,
                        help: $ghelp,
                        scale: $scale,
                    },)+)?
                }
            }
        }
    };
    ($(#[$meta:meta])* $name:ident { $($variant:ident = $word:literal, $help:literal;)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum $name { $(#[doc = $help] $variant,)+ }

        impl $name {
            /// In declaration order, which is the order of [`Self::index`].
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];
            pub const COUNT: usize = Self::ALL.len();

            /// 0-based, dense.
            pub const fn index(self) -> usize {
                self as usize
            }

            /// `None` where no variant has that index, as from a block written by another version.
            pub fn from_index(index: usize) -> Option<Self> {
                Self::ALL.get(index).copied()
            }

            /// snake_case, as in metrics and `culvert status --json`.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }

            pub fn from_name(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|v| v.name() == name)
            }

            /// One sentence.
            pub const fn help(self) -> &'static str {
                match self { $(Self::$variant => $help,)+ }
            }
        }

        impl core::fmt::Display for $name {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                f.write_str(self.name())
            }
        }
    };
}
