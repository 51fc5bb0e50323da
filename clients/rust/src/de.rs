//! A `serde` deserializer for the effective properties.
//!
//! The target type determines the conversion: a field `max_items: u32` accepts `max-items: "20"` from a `.properties`
//! file as well as the number from a YAML file. Errors name the key and the expected type, and never the value.

use serde::de::{self, DeserializeSeed, IntoDeserializer, Visitor};

use crate::effective::Effective;
use crate::placeholder::Resolver;
use crate::tree::{self, Child, Tree, View};

mod access;
mod error;
mod scalar;
#[cfg(test)]
mod tests;
mod variant;

use access::{Elements, Entries, Pieces};
pub(crate) use error::{DeError, DeErrorKind, MISSING};
use scalar::Scalar;
use variant::Variant;

/// The context that all nodes of one deserialization share.
#[derive(Clone, Copy)]
pub(crate) struct Scope<'a> {
    pub(crate) tree: &'a Tree,
    pub(crate) properties: &'a [Effective],
    /// Resolves placeholders. `None` leaves them unresolved.
    pub(crate) resolver: Option<&'a Resolver>,
    /// Determines the spelling of map keys.
    pub(crate) map_key: fn(&Child<'_>) -> String,
}

/// Spells map keys as they were sent.
pub(crate) fn key_as_sent(child: &Child<'_>) -> String {
    child.name.to_owned()
}

/// Deserializes the node at one view of the tree.
#[derive(Clone)]
pub(crate) struct NodeDeserializer<'a> {
    scope: Scope<'a>,
    view: View,
    /// Ignores the children. It is set for a value that is shown beside its children as another entry of the same map.
    value_only: bool,
}

impl<'a> NodeDeserializer<'a> {
    pub(crate) fn new(scope: Scope<'a>, view: View) -> NodeDeserializer<'a> {
        NodeDeserializer { scope, view, value_only: false }
    }

    /// Returns the resolved value of the node itself.
    fn scalar(&self) -> Result<Option<Scalar<'a>>, DeError> {
        let Some(position) = self.scope.tree.property(&self.view) else {
            return Ok(None);
        };
        Scalar::resolved(self.scope, position).map(Some)
    }

    fn expected_scalar(&self) -> Result<Scalar<'a>, DeError> {
        self.scalar()?.ok_or_else(|| {
            if self.has_children() { DeError::found("a map or a list") } else { DeError::missing() }
        })
    }

    fn has_children(&self) -> bool {
        !self.value_only && self.scope.tree.has_children(&self.view)
    }

    fn children(&self) -> Vec<Child<'a>> {
        if self.value_only { Vec::new() } else { self.scope.tree.children(&self.view) }
    }

    /// Returns whether the node has neither children nor a value, because the requested key does not exist.
    fn is_absent(&self) -> bool {
        !self.has_children() && self.scope.tree.property(&self.view).is_none()
    }

    /// Returns whether the value is empty. An empty value stands for an empty list, an empty map or `None`, which flat keys
    /// cannot distinguish.
    fn is_empty(&self) -> Result<bool, DeError> {
        Ok(!self.has_children() && self.scalar()?.is_some_and(|scalar| scalar.is_empty()))
    }

    fn entries(&self) -> Entries<'a> {
        Entries::of_map(self.scope, self.children())
    }

    fn list<V: Visitor<'a>>(
        &self,
        elements: Vec<(usize, View)>,
        visitor: V,
    ) -> Result<V::Value, DeError> {
        let gap = elements.iter().enumerate().find(|&(at, &(index, _))| at != index);
        if let Some((missing, &(index, _))) = gap {
            return Err(DeError::new(format!("has an element {index} but no element {missing}")));
        }
        visitor.visit_seq(Elements::new(self.scope, elements))
    }
}

macro_rules! scalars {
    ($($method:ident)*) => {$(
        fn $method<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, DeError> {
            self.expected_scalar()?.$method(visitor)
        }
    )*};
}

impl<'a> de::Deserializer<'a> for NodeDeserializer<'a> {
    type Error = DeError;

    scalars! {
        deserialize_bool deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_i128
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_u128 deserialize_f32 deserialize_f64
        deserialize_char deserialize_str deserialize_string deserialize_bytes deserialize_byte_buf deserialize_identifier
    }

    fn deserialize_any<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, DeError> {
        let children = self.children();
        if children.is_empty() {
            return self.expected_scalar()?.deserialize_any(visitor);
        }
        match tree::elements(&children) {
            Some(elements) => self.list(elements, visitor),
            None => visitor.visit_map(self.entries()),
        }
    }

    fn deserialize_option<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, DeError> {
        if self.is_absent() || self.is_empty()? {
            visitor.visit_none()
        } else {
            visitor.visit_some(self)
        }
    }

    fn deserialize_seq<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, DeError> {
        let children = self.children();
        if let Some(elements) = tree::elements(&children) {
            return self.list(elements, visitor);
        }
        if !children.is_empty() {
            return Err(DeError::found("a map").expected("a list"));
        }
        visitor.visit_seq(Pieces::of(self.expected_scalar()?))
    }

    fn deserialize_map<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, DeError> {
        if !self.has_children() && !self.is_empty()? {
            return Err(self.expected_scalar()?.mismatch("a map"));
        }
        visitor.visit_map(self.entries())
    }

    fn deserialize_struct<V: Visitor<'a>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DeError> {
        if !self.has_children() && !self.is_absent() && !self.is_empty()? {
            return Err(self.expected_scalar()?.mismatch("a map"));
        }
        visitor.visit_map(Entries::of_struct(self.scope, self.children(), fields))
    }

    fn deserialize_enum<V: Visitor<'a>>(
        self,
        _name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DeError> {
        let mut children = self.children();
        match children.pop() {
            None => {
                let name = self.expected_scalar()?.into_text()?;
                visitor.visit_enum(Variant::unit(name, variants))
            }
            Some(child) if children.is_empty() => {
                let content = NodeDeserializer::new(self.scope, child.view);
                visitor.visit_enum(Variant::with_content(child.name, variants, content))
            }
            Some(_) => Err(DeError::found("a map of several entries").expected("one variant")),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'a>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, DeError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_tuple<V: Visitor<'a>>(
        self,
        _length: usize,
        visitor: V,
    ) -> Result<V::Value, DeError> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'a>>(
        self,
        _name: &'static str,
        _length: usize,
        visitor: V,
    ) -> Result<V::Value, DeError> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_unit<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, DeError> {
        if self.is_empty()? {
            visitor.visit_unit()
        } else {
            Err(DeError::found("a value").expected("nothing"))
        }
    }

    fn deserialize_unit_struct<V: Visitor<'a>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, DeError> {
        self.deserialize_unit(visitor)
    }

    fn deserialize_ignored_any<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, DeError> {
        visitor.visit_unit()
    }
}

impl<'a> IntoDeserializer<'a, DeError> for NodeDeserializer<'a> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

/// Deserializes a child and prefixes the key of an error with the name of the child.
fn deserialize_child<'a, S: DeserializeSeed<'a>>(
    seed: S,
    child: NodeDeserializer<'a>,
    name: &str,
    bracket: bool,
) -> Result<S::Value, DeError> {
    seed.deserialize(child).map_err(|error| error.below(name, bracket))
}
