//! Typed reading of TOML values: what each kind of value looks like is said once, for the parser, for its errors and
//! for the documentation.

use crate::diagnostics::Sink;
use crate::section::{Section, Table};
use serde_spanned::Spanned;
use std::fmt;
use std::marker::PhantomData;
use toml::de::DeValue;

pub(crate) type Item<'i> = Spanned<DeValue<'i>>;

/// What a value is called in a message.
#[derive(Clone, Copy)]
pub(crate) struct Label<'a> {
    pub key: &'a str,
    /// One of a list's entries.
    pub entry: bool,
}

impl fmt::Display for Label<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\"{}\"", if self.entry { "each entry of " } else { "" }, self.key)
    }
}

/// A kind of value.
pub(crate) trait Kind {
    type Value;

    /// Completes "must be …", as in "a port number from 1 to 65535".
    fn shape() -> String;

    /// `None` after at least one error in the sink.
    fn read(label: Label<'_>, item: &Item<'_>, sink: &mut Sink) -> Option<Self::Value>;

    /// The value where the key is absent and the schema names no default.
    fn absent() -> Option<Self::Value> {
        None
    }

    /// The tables inside, for the documentation.
    fn section() -> Option<&'static Section> {
        None
    }

    /// Written `[[name]]`.
    fn is_list_of_tables() -> bool {
        false
    }
}

pub(crate) fn type_of(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

pub(crate) fn wrong_type<K: Kind>(label: Label<'_>, item: &Item<'_>, sink: &mut Sink) {
    let found = type_of(item.get_ref());
    sink.error(item.span(), format!("{label} must be {}, not {found}", K::shape()), "");
}

/// What is wrong with a text, and what would be right (may be empty).
pub(crate) type Refusal = (String, String);

/// Kinds written as a TOML string.
pub(crate) trait Text {
    type Value;
    /// Completes "must be …".
    const SHAPE: &'static str;
    fn parse(text: &str) -> Result<Self::Value, Refusal>;
}

impl<T: Text> Kind for T {
    type Value = T::Value;

    fn shape() -> String {
        T::SHAPE.to_owned()
    }

    fn read(label: Label<'_>, item: &Item<'_>, sink: &mut Sink) -> Option<T::Value> {
        let Some(text) = item.get_ref().as_str() else {
            wrong_type::<T>(label, item, sink);
            return None;
        };
        match T::parse(text) {
            Ok(value) => Some(value),
            Err((message, help)) => {
                sink.error(item.span(), message, help);
                None
            }
        }
    }
}

/// `true` or `false`.
pub(crate) struct Flag;

impl Kind for Flag {
    type Value = bool;

    fn shape() -> String {
        "true or false".into()
    }

    fn read(label: Label<'_>, item: &Item<'_>, sink: &mut Sink) -> Option<bool> {
        let value = item.get_ref().as_bool();
        if value.is_none() {
            wrong_type::<Self>(label, item, sink);
        }
        value
    }
}

/// An integer of a range.
pub(crate) struct Int<T, const MIN: u64, const MAX: u64>(PhantomData<T>);

impl<T: TryFrom<u64>, const MIN: u64, const MAX: u64> Kind for Int<T, MIN, MAX> {
    type Value = T;

    fn shape() -> String {
        match MAX {
            u64::MAX => format!("an integer, {MIN} or more"),
            _ => format!("an integer from {MIN} to {MAX}"),
        }
    }

    fn read(label: Label<'_>, item: &Item<'_>, sink: &mut Sink) -> Option<T> {
        let DeValue::Integer(found) = item.get_ref() else {
            wrong_type::<Self>(label, item, sink);
            return None;
        };
        let value = integer(found).filter(|v| (MIN..=MAX).contains(v)).and_then(|v| T::try_from(v).ok());
        if value.is_none() {
            sink.error(item.span(), format!("{label} must be {}, not {found}", Self::shape()), "");
        }
        value
    }
}

/// `None` where the integer is negative or too large.
pub(crate) fn integer(found: &toml::de::DeInteger<'_>) -> Option<u64> {
    u64::from_str_radix(&found.as_str().replace('_', ""), found.radix()).ok()
}

/// A key that may be left out.
pub(crate) struct Maybe<K>(PhantomData<K>);

impl<K: Kind> Kind for Maybe<K> {
    type Value = Option<K::Value>;

    fn shape() -> String {
        K::shape()
    }

    fn read(label: Label<'_>, item: &Item<'_>, sink: &mut Sink) -> Option<Self::Value> {
        K::read(label, item, sink).map(Some)
    }

    fn absent() -> Option<Self::Value> {
        Some(None)
    }

    fn section() -> Option<&'static Section> {
        K::section()
    }
}

/// A TOML array.
pub(crate) struct List<K>(PhantomData<K>);

impl<K: Kind> Kind for List<K> {
    type Value = Vec<K::Value>;

    fn shape() -> String {
        format!("a list, each entry {}", K::shape())
    }

    fn read(label: Label<'_>, item: &Item<'_>, sink: &mut Sink) -> Option<Self::Value> {
        let Some(array) = item.get_ref().as_array() else {
            let message = format!("{label} must be {}, not {}", Self::shape(), type_of(item.get_ref()));
            let help = match item.get_ref() {
                DeValue::String(text) => format!("write {} = [{:?}]", label.key, text.as_ref()),
                DeValue::Integer(value) => format!("write {} = [{value}]", label.key),
                _ => String::new(),
            };
            sink.error(item.span(), message, help);
            return None;
        };
        let entry = Label { entry: true, ..label };
        let values: Vec<_> = array.iter().map(|item| K::read(entry, item, sink)).collect();
        values.into_iter().collect()
    }
}

/// A list that must not be empty.
pub(crate) struct Some1<K>(PhantomData<K>);

impl<K: Kind> Kind for Some1<K> {
    type Value = Vec<K::Value>;

    fn shape() -> String {
        format!("a list of at least one, each entry {}", K::shape())
    }

    fn read(label: Label<'_>, item: &Item<'_>, sink: &mut Sink) -> Option<Self::Value> {
        let values = List::<K>::read(label, item, sink)?;
        if values.is_empty() {
            sink.error(item.span(), format!("{label} is empty"), format!("{label} must be {}", Self::shape()));
            return None;
        }
        Some(values)
    }
}

/// `[name]`, or an inline table.
pub(crate) struct Sub<T>(PhantomData<T>);

impl<T: Table> Kind for Sub<T> {
    type Value = T;

    fn shape() -> String {
        "a table".into()
    }

    fn read(label: Label<'_>, item: &Item<'_>, sink: &mut Sink) -> Option<T> {
        if let DeValue::Array(_) = item.get_ref() {
            sink.error(item.span(), format!("[[{}]] is there once only", label.key), format!("write [{}]", label.key));
            return None;
        }
        let Some(table) = item.get_ref().as_table() else {
            wrong_type::<Self>(label, item, sink);
            return None;
        };
        T::read(table, item.span(), sink)
    }

    fn section() -> Option<&'static Section> {
        Some(T::SECTION)
    }
}

/// `[[name]]`. Reads on after a broken table, and gives those that are whole.
pub(crate) struct Many<T>(PhantomData<T>);

impl<T: Table> Kind for Many<T> {
    type Value = Vec<T>;

    fn shape() -> String {
        "a list of tables".into()
    }

    fn read(label: Label<'_>, item: &Item<'_>, sink: &mut Sink) -> Option<Vec<T>> {
        match item.get_ref() {
            DeValue::Array(array) => Some(array.iter().filter_map(|item| Sub::<T>::read(label, item, sink)).collect()),
            DeValue::Table(_) => {
                sink.error(
                    item.span(),
                    format!("[{}] can be there several times", label.key),
                    format!("write [[{}]]", label.key),
                );
                None
            }
            other => {
                let message = format!("{label} must be {}, not {}", Self::shape(), type_of(other));
                sink.error(item.span(), message, format!("write [[{}]] and its keys below", label.key));
                None
            }
        }
    }

    fn section() -> Option<&'static Section> {
        Some(T::SECTION)
    }

    fn is_list_of_tables() -> bool {
        true
    }
}
