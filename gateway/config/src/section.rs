//! Tables of the file. One declaration makes the type, its reader, the suggestions for misspelt keys and the page
//! docs/CONFIG.md.

use crate::diagnostics::Sink;
use crate::reader::{Item, Kind, Label};
use std::collections::BTreeMap;
use std::ops::Range;
use toml::de::{DeTable, DeValue};

/// A table that can be read.
pub(crate) trait Table: Sized {
    const SECTION: &'static Section;

    fn read(table: &DeTable<'_>, header: Range<usize>, sink: &mut Sink) -> Option<Self> {
        unknown_keys(table, Self::SECTION, sink);
        Self::read_keys(table, Places::of(table, header), sink)
    }

    /// Leaves unknown keys to whoever shares the table.
    fn read_keys(table: &DeTable<'_>, places: Places, sink: &mut Sink) -> Option<Self>;
}

/// What the documentation says of a table.
pub(crate) struct Section {
    pub doc: &'static [&'static str],
    pub keys: fn() -> Vec<Key>,
    /// Words of swanctl.conf that a reader may expect, and why they are not here.
    pub not_yet: &'static [(&'static str, &'static str)],
}

pub(crate) struct Key {
    pub name: &'static str,
    pub shape: String,
    /// TOML text.
    pub default: Option<&'static str>,
    pub required: bool,
    pub doc: &'static [&'static str],
    pub section: Option<&'static Section>,
    pub is_list_of_tables: bool,
}

/// Where the values of a table stand in the file. Two configurations do not differ because of it.
#[derive(Clone, Debug, Default)]
pub struct Places {
    header: Range<usize>,
    keys: BTreeMap<String, (Range<usize>, Vec<Range<usize>>)>,
    /// Keys whose value was refused.
    broken: Vec<&'static str>,
}

impl PartialEq for Places {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Places {}

impl Places {
    pub(crate) fn of(table: &DeTable<'_>, header: Range<usize>) -> Self {
        let mut keys = BTreeMap::new();
        for (key, item) in table {
            let elements = match item.get_ref() {
                DeValue::Array(array) => array.iter().map(|e| e.span()).collect(),
                _ => Vec::new(),
            };
            keys.insert(key.get_ref().to_string(), (item.span(), elements));
        }
        Self { header, keys, broken: Vec::new() }
    }

    /// False where the value of `key` was refused, and is a default or nothing in its place.
    pub(crate) fn is_sound(&self, key: &str) -> bool {
        !self.broken.contains(&key)
    }

    pub(crate) fn is_there(&self, key: &str) -> bool {
        self.keys.contains_key(key)
    }

    /// The value of `key`, or the table's header where the key is absent.
    pub(crate) fn at(&self, key: &str) -> Range<usize> {
        self.keys.get(key).map_or_else(|| self.header.clone(), |(span, _)| span.clone())
    }

    /// Entry `index` of the list `key`.
    pub(crate) fn entry(&self, key: &str, index: usize) -> Range<usize> {
        let entry = self.keys.get(key).and_then(|(_, entries)| entries.get(index));
        entry.cloned().unwrap_or_else(|| self.at(key))
    }
}

pub(crate) fn find<'t, 'i>(table: &'t DeTable<'i>, name: &str) -> Option<&'t Item<'i>> {
    table.iter().find(|(key, _)| key.get_ref() == name).map(|(_, item)| item)
}

/// Reports keys the schema does not know.
pub(crate) fn unknown_keys(table: &DeTable<'_>, section: &Section, sink: &mut Sink) {
    let keys = (section.keys)();
    for (key, _) in table {
        let word: &str = key.get_ref();
        if keys.iter().any(|k| k.name == word) {
            continue;
        }
        if let Some((_, why)) = section.not_yet.iter().find(|(name, _)| *name == word) {
            sink.error(key.span(), format!("\"{word}\" is not supported yet"), *why);
            continue;
        }
        let names: Vec<&str> = keys.iter().map(|k| k.name).collect();
        sink.error(key.span(), format!("unknown key \"{word}\""), suggestion(word, &names));
    }
}

/// "did you mean …", or the list of what there is.
pub(crate) fn suggestion(word: &str, known: &[&str]) -> String {
    nearest(word, known).map_or_else(|| format!("known here: {}", known.join(", ")), did_you_mean)
}

pub(crate) fn did_you_mean(word: &str) -> String {
    format!("did you mean \"{word}\"?")
}

/// The known word that `word` is probably a slip of.
pub(crate) fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    let lower = word.to_lowercase().replace('-', "_");
    let near = known.iter().map(|k| (strsim::damerau_levenshtein(&lower, k), *k)).min();
    // A third of the letters wrong is still a slip.
    let slip = near.filter(|(distance, k)| *distance <= k.len().div_ceil(3) && *distance < k.len()).map(|(_, k)| k);
    let begins = |k: &&&str| k.len() > 1 && lower.len() > 2 && (lower.starts_with(**k) || k.starts_with(&lower));
    slip.or_else(|| known.iter().filter(begins).max_by_key(|k| k.len()).copied())
}

fn missing<K: Kind>(name: &str, header: Range<usize>, sink: &mut Sink) {
    let help = match K::section() {
        None => format!("\"{name}\" must be {}", K::shape()),
        Some(section) => {
            let keys: Vec<String> = (section.keys)().iter().map(|key| format!("{} = …", key.name)).collect();
            format!("write {name} = {{ {} }}", keys.join(", "))
        }
    };
    sink.error(header, format!("\"{name}\" is missing"), help);
}

/// `field ["toml name"]: Type as Kind [= "default in TOML"];` with its documentation above. The default is read by the
/// same kind, so what is documented is what happens. `..field: Type;` at the end takes in keys that several tables have.
macro_rules! section {
    ($(
        $(#[doc = $doc:literal])*
        $name:ident {
            $($(#[doc = $fdoc:literal])+ $field:ident $([$toml:literal])? : $ty:ty as $kind:ty $(= $default:literal)?;)*
            $(..$part:ident: $part_ty:ty;)?
        } $(=> not_yet { $($word:literal => $why:literal,)+ })?
    )+) => { $(
        $(#[doc = $doc])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct $name {
            $($(#[doc = $fdoc])+ pub $field: $ty,)*
            $(pub $part: $part_ty,)?
            pub(crate) places: $crate::section::Places,
        }

        impl $crate::section::Table for $name {
            const SECTION: &'static $crate::section::Section = &$crate::section::Section {
                doc: &[$($doc),*],
                keys: || [vec![$($crate::section::Key {
                    name: section!(@name $field $($toml)?),
                    shape: <$kind as $crate::reader::Kind>::shape(),
                    default: section!(@default $($default)?),
                    required: section!(@default $($default)?).is_none()
                        && <$kind as $crate::reader::Kind>::absent().is_none(),
                    doc: &[$($fdoc),+],
                    section: <$kind as $crate::reader::Kind>::section(),
                    is_list_of_tables: <$kind as $crate::reader::Kind>::is_list_of_tables(),
                },)*], $((<$part_ty as $crate::section::Table>::SECTION.keys)(),)?].into_iter().flatten().collect(),
                not_yet: &[$($(($word, $why),)+)?],
            };

            fn read_keys(
                table: &toml::de::DeTable<'_>,
                mut places: $crate::section::Places,
                sink: &mut $crate::diagnostics::Sink,
            ) -> Option<Self> {
                $(let $part = <$part_ty as $crate::section::Table>::read_keys(table, places.clone(), sink);)?
                $(let $field = $crate::section::read_key::<$kind>(
                    table, section!(@name $field $($toml)?), section!(@default $($default)?), &mut places, sink,
                );)*
                Some(Self { $($field: $field?,)* $($part: $part?,)? places })
            }
        }
    )+ };
    (@name $field:ident) => { stringify!($field) };
    (@name $field:ident $toml:literal) => { $toml };
    (@default) => { None::<&'static str> };
    (@default $default:literal) => { Some($default) };
}

/// A value that is wrong counts as an error and, where there is a default, is replaced with it: the rest of the table
/// can still be checked. [`Places::is_sound`] tells.
pub(crate) fn read_key<K: Kind>(
    table: &DeTable<'_>,
    name: &'static str,
    default: Option<&str>,
    places: &mut Places,
    sink: &mut Sink,
) -> Option<K::Value> {
    let label = Label { key: name, entry: false };
    if let Some(item) = find(table, name) {
        let value = K::read(label, item, sink);
        if value.is_some() {
            return value;
        }
        places.broken.push(name);
    }
    if let Some(text) = default {
        // A default that its own kind refuses is caught by a test over the whole schema.
        return DeValue::parse(text).ok().and_then(|item| K::read(label, &item, &mut Sink::default()));
    }
    let value = K::absent();
    if value.is_none() && places.is_sound(name) {
        missing::<K>(name, places.header.clone(), sink);
    }
    value
}
