//! Notes the requests of one deserialization as a tree of the fields that the target type has.
//!
//! The tree is built over several reads. A [`Probe`] makes a read differ from a plain one: it hides a field that the
//! configuration has, or offers one that the configuration does not have. An offered field has no value, so that its
//! deserializer fails after it has requested a type. No deserializer receives an invented value.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, HashMap};

use headwater_wire::{CONTRACT_KEYS_MAX, ValueType};

/// A node of the recorded tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct NodeId(usize);

/// The position of a node below its parent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Step {
    Root,
    Field(&'static str),
    /// Any element of a list.
    Element,
}

#[derive(Debug)]
pub(super) struct Node {
    pub(super) parent: Option<NodeId>,
    pub(super) step: Step,
    /// `None` until a deserializer has requested a type.
    pub(super) value_type: Option<ValueType>,
    /// Set when the target is an `Option`.
    pub(super) is_optional: bool,
    /// Set when the configuration has a value at or below the node.
    pub(super) is_present: bool,
    /// Set when the target may read any key at or below the node.
    pub(super) is_open: bool,
}

/// The difference between a read and a plain one.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) enum Probe {
    #[default]
    None,
    /// The node is treated as absent.
    Hidden(NodeId),
    /// The nodes of this path, from the root to the offered one, are treated as present.
    Offered(Vec<NodeId>),
}

/// The requests of the reads of one type.
#[derive(Debug)]
pub(crate) struct Recorder {
    nodes: RefCell<Vec<Node>>,
    known: RefCell<HashMap<(NodeId, Step), NodeId>>,
    probe: RefCell<Probe>,
    /// The keys that placeholders in the read values refer to.
    referenced: RefCell<BTreeSet<String>>,
    /// The number of recorded requests, as a measure of the work of all reads.
    request_count: Cell<usize>,
    /// Set when the type has more fields than a contract may have keys.
    is_full: Cell<bool>,
}

impl Default for Recorder {
    fn default() -> Recorder {
        Recorder {
            nodes: RefCell::new(vec![Node::new(None, Step::Root)]),
            known: RefCell::default(),
            probe: RefCell::default(),
            referenced: RefCell::default(),
            request_count: Cell::new(0),
            is_full: Cell::new(false),
        }
    }
}

impl Node {
    fn new(parent: Option<NodeId>, step: Step) -> Node {
        Node {
            parent,
            step,
            value_type: None,
            is_optional: false,
            is_present: false,
            is_open: false,
        }
    }
}

impl Recorder {
    pub(crate) const ROOT: NodeId = NodeId(0);

    /// Returns the node of a field of a struct. `None` when there are too many fields, or no key can have this name.
    pub(crate) fn field(&self, parent: NodeId, name: &'static str) -> Option<NodeId> {
        let is_part = !name.is_empty() && !name.contains(['.', '[', ']']);
        if is_part { self.below(parent, Step::Field(name)) } else { None }
    }

    /// Returns the node of all elements of a list.
    pub(crate) fn element(&self, parent: NodeId) -> Option<NodeId> {
        self.below(parent, Step::Element)
    }

    fn below(&self, parent: NodeId, step: Step) -> Option<NodeId> {
        if let Some(known) = self.known.borrow().get(&(parent, step)) {
            return Some(*known);
        }
        let mut nodes = self.nodes.borrow_mut();
        if nodes.len() > CONTRACT_KEYS_MAX {
            self.is_full.set(true);
            return None;
        }
        let id = NodeId(nodes.len());
        nodes.push(Node::new(Some(parent), step));
        self.known.borrow_mut().insert((parent, step), id);
        Some(id)
    }

    /// Records that the configuration has a value at or below a node.
    pub(crate) fn record_present(&self, node: NodeId) {
        self.nodes.borrow_mut()[node.0].is_present = true;
    }

    /// Records a requested type. Two different types make it [`ValueType::Any`].
    pub(crate) fn record_type(&self, node: NodeId, requested: ValueType) {
        self.request_count.set(self.request_count.get() + 1);
        let known = &mut self.nodes.borrow_mut()[node.0].value_type;
        *known = match *known {
            Some(known) if known != requested => Some(ValueType::Any),
            _ => Some(requested),
        };
    }

    pub(crate) fn record_optional(&self, node: NodeId) {
        self.nodes.borrow_mut()[node.0].is_optional = true;
    }

    /// Records that the target may read any key at or below a node.
    pub(crate) fn record_open(&self, node: NodeId) {
        self.nodes.borrow_mut()[node.0].is_open = true;
    }

    /// Records a key to which a placeholder in a read value refers.
    pub(crate) fn record_referenced(&self, key: &str) {
        let mut referenced = self.referenced.borrow_mut();
        if referenced.len() < CONTRACT_KEYS_MAX {
            referenced.insert(key.to_owned());
        }
    }

    pub(crate) fn is_hidden(&self, node: NodeId) -> bool {
        *self.probe.borrow() == Probe::Hidden(node)
    }

    pub(crate) fn is_offered(&self, node: NodeId) -> bool {
        matches!(&*self.probe.borrow(), Probe::Offered(path) if path.contains(&node))
    }

    pub(super) fn set_probe(&self, probe: Probe) {
        self.probe.replace(probe);
    }

    pub(super) fn request_count(&self) -> usize {
        self.request_count.get()
    }

    pub(super) fn is_full(&self) -> bool {
        self.is_full.get()
    }

    pub(super) fn referenced(&self) -> Vec<String> {
        self.referenced.borrow().iter().cloned().collect()
    }

    /// Returns the number of nodes so far. Nodes are never removed.
    pub(super) fn len(&self) -> usize {
        self.nodes.borrow().len()
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = NodeId> + use<> {
        (0..self.len()).map(NodeId)
    }

    /// Returns what a function reads from a node.
    pub(super) fn with<R>(&self, node: NodeId, read: impl FnOnce(&Node) -> R) -> R {
        read(&self.nodes.borrow()[node.0])
    }

    /// Returns the path from the root to a node.
    pub(super) fn path(&self, node: NodeId) -> Vec<NodeId> {
        let mut path = vec![node];
        while let Some(parent) = self.with(path[path.len() - 1], |node| node.parent) {
            path.push(parent);
        }
        path.reverse();
        path
    }

    /// Returns the sibling field with this name.
    pub(super) fn sibling(&self, node: NodeId, name: &str) -> Option<NodeId> {
        let parent = self.with(node, |node| node.parent)?;
        let is_it = |id: &NodeId| {
            self.with(*id, |it| {
                it.parent == Some(parent) && matches!(it.step, Step::Field(field) if field == name)
            })
        };
        self.ids().find(is_it)
    }
}
