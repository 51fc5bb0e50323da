//! A `serde` deserializer for the effective properties.
//!
//! The target type determines the conversion: a field `max_items: u32` accepts `max-items: "20"` from a `.properties`
//! file as well as the number from a YAML file. Errors name the key and the expected type, and never the value.

use headwater_wire::ValueType;
use serde::de::{self, DeserializeSeed, IntoDeserializer, Visitor};

use crate::contract::{NodeId, Recorder};
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
    /// Notes what the target type requests.
    pub(crate) recorder: Option<&'a Recorder>,
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
    /// The node of the recorder. `None` below a map, and without a recorder.
    node: Option<NodeId>,
}

impl<'a> NodeDeserializer<'a> {
    /// Creates a deserializer whose requests are not recorded.
    pub(crate) fn new(scope: Scope<'a>, view: View) -> NodeDeserializer<'a> {
        NodeDeserializer { scope, view, value_only: false, node: None }
    }

    /// Creates the deserializer of a whole read.
    pub(crate) fn root(scope: Scope<'a>, view: View) -> NodeDeserializer<'a> {
        let node = scope.recorder.map(|_| Recorder::ROOT);
        let is_hidden = scope.recorder.is_some_and(|it| it.is_hidden(Recorder::ROOT));
        let view = if is_hidden { View::default() } else { view };
        NodeDeserializer::at(scope, view, node)
    }

    fn at(scope: Scope<'a>, view: View, node: Option<NodeId>) -> NodeDeserializer<'a> {
        let place = NodeDeserializer { node, ..NodeDeserializer::new(scope, view) };
        if !place.is_absent() {
            place.record(Recorder::record_present);
        }
        place
    }

    /// Calls a function with the recorder and the node, if requests are recorded here.
    fn record(&self, record: impl FnOnce(&'a Recorder, NodeId)) {
        if let (Some(recorder), Some(node)) = (self.scope.recorder, self.node) {
            record(recorder, node);
        }
    }

    fn record_type(&self, requested: ValueType) {
        self.record(|recorder, node| recorder.record_type(node, requested));
    }

    /// Records that the target may read any key at or below the node.
    fn record_open(&self, requested: ValueType) {
        self.record_type(requested);
        self.record(Recorder::record_open);
    }

    /// Returns whether a probe treats the node as present.
    fn is_offered(&self) -> bool {
        self.scope.recorder.zip(self.node).is_some_and(|(recorder, node)| recorder.is_offered(node))
    }

    fn element(&self) -> Option<NodeId> {
        self.scope.recorder?.element(self.node?)
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
        visitor.visit_seq(Elements::new(self.scope, elements, self.element()))
    }
}

macro_rules! scalars {
    ($($method:ident $requested:ident,)*) => {$(
        fn $method<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, DeError> {
            self.record_type(ValueType::$requested);
            self.expected_scalar()?.$method(visitor)
        }
    )*};
}

impl<'a> de::Deserializer<'a> for NodeDeserializer<'a> {
    type Error = DeError;

    scalars! {
        deserialize_bool Bool,
        deserialize_i8 I8,
        deserialize_i16 I16,
        deserialize_i32 I32,
        deserialize_i64 I64,
        deserialize_i128 I128,
        deserialize_u8 U8,
        deserialize_u16 U16,
        deserialize_u32 U32,
        deserialize_u64 U64,
        deserialize_u128 U128,
        deserialize_f32 Float,
        deserialize_f64 Float,
        deserialize_char Text,
        deserialize_str Text,
        deserialize_string Text,
        deserialize_bytes Text,
        deserialize_byte_buf Text,
        deserialize_identifier Text,
    }

    fn deserialize_any<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, DeError> {
        self.record_open(ValueType::Any);
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
        self.record(Recorder::record_optional);
        if !self.is_offered() && (self.is_absent() || self.is_empty()?) {
            visitor.visit_none()
        } else {
            visitor.visit_some(self)
        }
    }

    fn deserialize_seq<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, DeError> {
        self.record_type(ValueType::List);
        let children = self.children();
        if let Some(elements) = tree::elements(&children) {
            return self.list(elements, visitor);
        }
        if let (Some(recorder), Some(element)) = (self.scope.recorder, self.element())
            && recorder.is_offered(element)
        {
            return self.list(vec![(0, View::default())], visitor);
        }
        if !children.is_empty() {
            return Err(DeError::found("a map").expected("a list"));
        }
        visitor.visit_seq(Pieces::of(self.expected_scalar()?))
    }

    fn deserialize_map<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, DeError> {
        self.record_open(ValueType::Map);
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
        self.record_type(ValueType::Map);
        if !self.has_children() && !self.is_absent() && !self.is_empty()? {
            return Err(self.expected_scalar()?.mismatch("a map"));
        }
        visitor.visit_map(Entries::of_struct(self.scope, self.children(), fields, self.node))
    }

    fn deserialize_enum<V: Visitor<'a>>(
        self,
        _name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DeError> {
        // The content of a variant depends on the value.
        self.record_open(ValueType::Any);
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
        self.record_type(ValueType::Any);
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
