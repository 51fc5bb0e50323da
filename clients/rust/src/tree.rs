//! The effective properties as a tree. Views of it treat the relaxed spellings of one name as one node.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use crate::effective::Effective;
use crate::names::{self, Part};

/// The tree of all keys. Nodes refer to properties by position, so the tree contains no value.
#[derive(Debug)]
pub(crate) struct Tree {
    nodes: Vec<Node>,
}

#[derive(Debug)]
struct Node {
    name: String,
    bracket: bool,
    /// The position of the property with exactly this key.
    property: Option<usize>,
    /// The most specific source of a property at or below this node.
    source: usize,
    children: Vec<usize>,
}

/// One or more nodes with the same meaning, such as `maxItems` of one source and `max-items` of another.
#[derive(Debug, Clone, Default)]
pub(crate) struct View(Vec<usize>);

/// A child of a view, with its name as it was sent.
#[derive(Debug)]
pub(crate) struct Child<'a> {
    pub(crate) name: &'a str,
    pub(crate) bracket: bool,
    pub(crate) view: View,
}

const ROOT: usize = 0;

impl Tree {
    pub(crate) fn new(properties: &[Effective]) -> Tree {
        let mut tree = Tree { nodes: vec![Node::new(Part::Name(""), usize::MAX)] };
        let mut known = HashMap::<(usize, Part<'_>), usize>::new();
        for (position, property) in properties.iter().enumerate() {
            let mut at = ROOT;
            for part in names::parts(&property.key) {
                let parent = at;
                at = *known
                    .entry((parent, part))
                    .or_insert_with(|| tree.push(parent, part, property.source));
                let node = &mut tree.nodes[at];
                node.source = node.source.min(property.source);
            }
            tree.nodes[at].property = Some(position);
        }
        // The tree lives as long as the configuration and does not grow.
        tree.nodes.shrink_to_fit();
        tree
    }

    fn push(&mut self, parent: usize, part: Part<'_>, source: usize) -> usize {
        let child = self.nodes.len();
        self.nodes.push(Node::new(part, source));
        self.nodes[parent].children.push(child);
        child
    }

    pub(crate) fn root(&self) -> View {
        View(vec![ROOT])
    }

    /// Returns the view of `key` in any relaxed spelling. `None` when there is no property at or below it.
    pub(crate) fn find(&self, key: &str) -> Option<View> {
        let mut view = self.root();
        for part in names::parts(key) {
            let matching = self.children(&view).into_iter().filter(|child| child.matches(part));
            view = self.merge(matching.map(|child| child.view).collect())?;
        }
        Some(view)
    }

    /// Returns the position of the property at the view itself.
    pub(crate) fn property(&self, view: &View) -> Option<usize> {
        let holders = view.0.iter().filter(|&&node| self.nodes[node].property.is_some());
        holders
            .min_by_key(|&&node| self.nodes[node].source)
            .and_then(|&node| self.nodes[node].property)
    }

    pub(crate) fn has_children(&self, view: &View) -> bool {
        view.0.iter().any(|&node| !self.nodes[node].children.is_empty())
    }

    /// Returns the children in the order of the properties. Children with the same spelling share one view.
    pub(crate) fn children(&self, view: &View) -> Vec<Child<'_>> {
        if let [node] = view.0[..] {
            // The children of one node all have different names.
            return self.nodes[node].children.iter().map(|&node| self.child(node)).collect();
        }
        let mut children = Vec::<Child<'_>>::new();
        let mut known = HashMap::<_, usize>::new();
        for &node in view.0.iter().flat_map(|&node| &self.nodes[node].children) {
            let Node { name, bracket, .. } = &self.nodes[node];
            match known.entry((name, *bracket)) {
                Entry::Occupied(at) => children[*at.get()].view.0.push(node),
                Entry::Vacant(new) => {
                    new.insert(children.len());
                    children.push(self.child(node));
                }
            }
        }
        children
    }

    fn child(&self, node: usize) -> Child<'_> {
        let Node { name, bracket, .. } = &self.nodes[node];
        Child { name, bracket: *bracket, view: View(vec![node]) }
    }

    /// Merges the views of several spellings. Lists are never mixed: the most specific one replaces the others.
    pub(crate) fn merge(&self, views: Vec<View>) -> Option<View> {
        let nodes: Vec<usize> = views.into_iter().flat_map(|view| view.0).collect();
        let is_list = |&node: &usize| {
            let children = &self.nodes[node].children;
            !children.is_empty() && children.iter().all(|&child| self.nodes[child].bracket)
        };
        if nodes.len() > 1 && nodes.iter().any(is_list) {
            return nodes
                .into_iter()
                .min_by_key(|&node| self.nodes[node].source)
                .map(|node| View(vec![node]));
        }
        (!nodes.is_empty()).then_some(View(nodes))
    }
}

impl Node {
    fn new(part: Part<'_>, source: usize) -> Node {
        Node {
            name: part.text().to_owned(),
            bracket: matches!(part, Part::Bracket(_)),
            property: None,
            source,
            children: Vec::new(),
        }
    }
}

/// Returns the children as list elements, ordered by index. `None` when they are not a list.
pub(crate) fn elements(children: &[Child<'_>]) -> Option<Vec<(usize, View)>> {
    let index = |child: &Child<'_>| child.bracket.then(|| child.name.parse().ok()).flatten();
    let elements = children.iter().map(|child| Some((index(child)?, child.view.clone())));
    let mut elements: Vec<_> = elements.collect::<Option<_>>()?;
    elements.sort_by_key(|&(index, _)| index);
    (!elements.is_empty()).then_some(elements)
}

impl Child<'_> {
    fn matches(&self, part: Part<'_>) -> bool {
        match part {
            Part::Bracket(text) => self.bracket && self.name == text,
            Part::Name(text) if self.bracket => self.name == text,
            Part::Name(text) => names::are_same(self.name, text),
        }
    }
}
