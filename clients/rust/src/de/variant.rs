//! Deserialization of enums. A variant without content is a value, and one with content is the only entry of a map.

use std::borrow::Cow;

use serde::de::value::StrDeserializer;
use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, IntoDeserializer, VariantAccess, Visitor,
};

use super::{DeError, NodeDeserializer, deserialize_child};
use crate::names;

/// A variant and its content. Its name may have any relaxed spelling.
pub(super) struct Variant<'a> {
    name: Cow<'a, str>,
    content: Option<NodeDeserializer<'a>>,
}

impl<'a> Variant<'a> {
    pub(super) fn unit(name: Cow<'a, str>, variants: &'static [&'static str]) -> Variant<'a> {
        Variant { name: variant_of(name, variants), content: None }
    }

    pub(super) fn with_content(
        name: &'a str,
        variants: &'static [&'static str],
        content: NodeDeserializer<'a>,
    ) -> Variant<'a> {
        Variant { name: variant_of(Cow::Borrowed(name), variants), content: Some(content) }
    }
}

fn variant_of<'a>(name: Cow<'a, str>, variants: &'static [&'static str]) -> Cow<'a, str> {
    let exact = variants.iter().find(|&&variant| variant == name);
    let relaxed = || variants.iter().find(|&&variant| names::are_same(variant, name.trim()));
    exact.or_else(relaxed).map_or(name.clone(), |&variant| Cow::Borrowed(variant))
}

impl<'a> EnumAccess<'a> for Variant<'a> {
    type Error = DeError;
    type Variant = Self;

    fn variant_seed<S: DeserializeSeed<'a>>(self, seed: S) -> Result<(S::Value, Self), DeError> {
        let name: StrDeserializer<'_, DeError> = self.name.as_ref().into_deserializer();
        let variant = seed.deserialize(name)?;
        Ok((variant, self))
    }
}

impl<'a> VariantAccess<'a> for Variant<'a> {
    type Error = DeError;

    fn unit_variant(self) -> Result<(), DeError> {
        match self.content {
            Some(place) if !place.is_empty()? => {
                Err(DeError::found("a variant with content").expected("one without content"))
            }
            _ => Ok(()),
        }
    }

    fn newtype_variant_seed<S: DeserializeSeed<'a>>(self, seed: S) -> Result<S::Value, DeError> {
        let missing = || DeError::found("a variant without content").expected("one with content");
        deserialize_child(seed, self.content.ok_or_else(missing)?, &self.name, false)
    }

    fn tuple_variant<V: Visitor<'a>>(self, length: usize, visitor: V) -> Result<V::Value, DeError> {
        self.content.map_or_else(
            || Err(DeError::missing()),
            |place| Deserializer::deserialize_tuple(place, length, visitor),
        )
    }

    fn struct_variant<V: Visitor<'a>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DeError> {
        self.content.map_or_else(
            || Err(DeError::missing()),
            |place| Deserializer::deserialize_struct(place, "", fields, visitor),
        )
    }
}
