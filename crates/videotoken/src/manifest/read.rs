//! From text to objects, with the place of each field.

use super::files::Text;
use super::json;
use super::path::{Path, Step};
use super::scalar;
use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Span, Tag};
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Where something stands: line and column, both from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// From 1.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
}

impl From<Marker> for Place {
    fn from(marker: Marker) -> Self {
        Self { line: marker.line(), column: marker.col() + 1 }
    }
}

/// Text that isn't YAML, or that no object can be read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Where.
    pub place: Place,
    /// What is wrong.
    pub message: String,
}

/// What a file holds.
#[derive(Default)]
pub struct Manifest {
    /// Its objects; those of a `List` one by one.
    pub objects: Vec<Object>,
    /// What couldn't be read, or not as it stands.
    pub faults: Vec<Fault>,
}

/// One object. It may be a Secret: it has no `Debug`.
pub struct Object {
    /// The file's name.
    pub file: Arc<str>,
    /// All of it.
    pub value: Value,
    places: Places,
}

impl Object {
    fn text(&self, pointer: &str) -> &str {
        self.value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
    }

    /// `apiVersion`; empty if there is none.
    pub fn api_version(&self) -> &str {
        self.text("/apiVersion")
    }

    /// `kind`; empty if there is none.
    pub fn kind(&self) -> &str {
        self.text("/kind")
    }

    /// `metadata.name`; empty if there is none.
    pub fn name(&self) -> &str {
        self.text("/metadata/name")
    }

    /// `metadata.namespace`, if it has one.
    pub fn namespace(&self) -> Option<&str> {
        Some(self.text("/metadata/namespace")).filter(|namespace| !namespace.is_empty())
    }

    /// It is of this API version and kind.
    pub fn is(&self, api_version: &str, kind: &str) -> bool {
        self.api_version() == api_version && self.kind() == kind
    }

    /// Where the object begins.
    pub fn start(&self) -> Place {
        self.places.value
    }

    /// Where a field stands, or the nearest one around it that is there: a plain value itself, else its key.
    pub fn place(&self, path: &Path) -> Place {
        let found = self.places.nearest(path);
        if found.names.is_empty() && found.items.is_empty() { found.value } else { found.key }
    }

    /// Where the key of a field stands, or the nearest one around it.
    pub fn key_place(&self, path: &Path) -> Place {
        self.places.nearest(path).key
    }
}

/// The place of a node and of all below it.
#[derive(Clone, Default)]
struct Places {
    key: Place,
    value: Place,
    names: BTreeMap<String, Places>,
    items: Vec<Places>,
}

impl Places {
    fn nearest(&self, path: &Path) -> &Places {
        let mut at = self;
        for step in path.steps() {
            let below = match step {
                Step::Field(name) | Step::Key(name) => at.names.get(name),
                Step::Item(item) => at.items.get(*item),
            };
            let Some(below) = below else { break };
            at = below;
        }
        at
    }
}

/// Reads all objects of a text. Empty documents are none.
pub fn read(text: &Text) -> Manifest {
    let file: Arc<str> = text.name.as_str().into();
    let mut manifest = Manifest::default();
    match json::objects(&text.text) {
        Err((at, message)) => manifest.faults.push(Fault { place: place_of(&text.text, at), message }),
        Ok((objects, rest)) => {
            for (range, value) in objects {
                let origin = place_of(&text.text, range.start);
                let same_places = json::without_halves(&text.text[range]);
                let mut reader = Reader::new(&same_places, origin);
                match reader.document() {
                    Ok(Some(node)) => manifest.take(&file, Node { value, places: node.places }),
                    Ok(None) => {}
                    Err(fault) => manifest.faults.push(fault),
                }
                manifest.faults.append(&mut reader.faults);
            }
            manifest.take_yaml(&file, &text.text[rest..], place_of(&text.text, rest));
        }
    }
    for object in &manifest.objects {
        if let Some(place) = object.places.first_replaced(&object.value) {
            let message = "this isn't UTF-8: kubectl stores U+FFFD in its place; save the file as UTF-8".to_owned();
            manifest.faults.push(Fault { place, message });
        }
    }
    manifest
}

/// The place of a byte.
fn place_of(text: &str, at: usize) -> Place {
    let before = &text[..at];
    let line = before.rfind('\n').map_or(0, |end| end + 1);
    Place { line: before.matches('\n').count() + 1, column: before[line..].chars().count() + 1 }
}

/// What this parser takes and kubectl refuses.
fn refused_by_kubectl(text: &str, origin: Place) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let from = if number == 0 { origin.column - 1 } else { 0 };
        let mut fault = |column: usize, message: &str| {
            let place = Place { line: origin.line + number, column: from + column };
            faults.push(Fault { place, message: message.to_owned() });
        };
        if let Some(rest) = line.strip_prefix("---").map(str::trim)
            && !rest.is_empty()
            && !rest.starts_with('#')
        {
            fault(4, "kubectl takes nothing but a comment behind ---: begin a new line");
        }
        if line.starts_with('%') {
            fault(1, "kubectl takes no directives: remove this line");
        }
        if let Some(at) = line.chars().position(is_control) {
            fault(at + 1, "a control character: kubectl takes none, not even in a comment");
        }
    }
    faults
}

/// What YAML calls not printable.
fn is_control(c: char) -> bool {
    (c.is_control() && !['\t', '\r', '\u{85}'].contains(&c)) || c == '\u{feff}'
}

/// kubectl takes a tab after a colon, where this parser wants a space: it is made one, which moves nothing.
fn spaced(text: &str) -> Cow<'_, str> {
    let mut text = Cow::Borrowed(text);
    // each turn of this mends one tab
    for _ in 0..text.matches(":\t").count().min(MOST_READ / text.len().max(1)) {
        let wrong = Parser::new_from_str(&text).find_map(|event| event.err().map(|error| *error.marker()));
        let Some(at) = wrong.and_then(|marker| byte_of(&text, marker.into())) else { break };
        let tabs = text[..at].len() - text[..at].trim_end_matches('\t').len();
        let before = &text[..at - tabs];
        let is_first = before.rsplit('\n').next().is_some_and(|line| line.trim() == ":");
        if tabs == 0 || is_first || !before.ends_with(':') {
            break;
        }
        text.to_mut().replace_range(at - tabs..at, &" ".repeat(tabs));
    }
    text
}

/// Each tab is looked for from the beginning: so many bytes are read at most. In 100 kB a thousand tabs are mended.
const MOST_READ: usize = 100_000_000;

/// The byte at a place.
fn byte_of(text: &str, place: Place) -> Option<usize> {
    let mut start = 0;
    for _ in 1..place.line {
        start += text[start..].find('\n')? + 1;
    }
    let line = &text[start..];
    line.char_indices().map(|(at, _)| at).chain([line.len()]).nth(place.column - 1).map(|at| start + at)
}

impl Places {
    /// Where the first text stands in which bytes were replaced.
    fn first_replaced(&self, value: &Value) -> Option<Place> {
        let replaced = |text: &str| text.contains(char::REPLACEMENT_CHARACTER);
        match value {
            Value::String(text) => replaced(text).then_some(self.value),
            Value::Array(items) => items.iter().zip(&self.items).find_map(|(item, places)| places.first_replaced(item)),
            Value::Object(members) => members.iter().find_map(|(name, member)| {
                let places = self.names.get(name)?;
                if replaced(name) { Some(places.key) } else { places.first_replaced(member) }
            }),
            _ => None,
        }
    }
}

impl Manifest {
    fn take_yaml(&mut self, file: &Arc<str>, text: &str, origin: Place) {
        let text = spaced(text);
        let mut reader = Reader::new(&text, origin);
        reader.faults.extend(refused_by_kubectl(&text, origin));
        loop {
            match reader.document() {
                Ok(Some(Node { value: Value::Null, .. })) => {}
                Ok(Some(node)) => self.take(file, node),
                Ok(None) => break,
                Err(fault) => {
                    reader.faults.push(fault);
                    break;
                }
            }
        }
        self.faults.append(&mut reader.faults);
    }

    fn take(&mut self, file: &Arc<str>, node: Node) {
        let Node { mut value, mut places } = node;
        if !value.is_object() {
            let message = "not an object: apiVersion, kind and metadata are missing".to_owned();
            self.faults.push(Fault { place: places.value, message });
            return;
        }
        let is_list = value["kind"].as_str().is_some_and(|kind| kind.ends_with("List"));
        match value.get_mut("items").map(Value::take) {
            Some(Value::Array(items)) if is_list => {
                let below = places.names.remove("items").unwrap_or_default().items;
                for (value, places) in items.into_iter().zip(below) {
                    self.take(file, Node { value, places });
                }
            }
            items => {
                if let Some(items) = items {
                    value["items"] = items;
                }
                self.objects.push(Object { file: file.clone(), value, places });
            }
        }
    }
}

/// A value and where all of it stands.
#[derive(Clone)]
struct Node {
    value: Value,
    places: Places,
}

struct Reader<'a> {
    /// Where the text begins in its file.
    origin: Place,
    events: Parser<'a, saphyr_parser::StrInput<'a>>,
    anchors: HashMap<usize, Node>,
    nodes: usize,
    faults: Vec<Fault>,
}

/// More nodes than any file of objects has: aliases of aliases can make them without end.
const MOST_NODES: usize = 1_000_000;

/// Deeper than any object is.
const DEEPEST: usize = 100;

type Next<'a> = (Event<'a>, Span);

impl<'a> Reader<'a> {
    fn new(text: &'a str, origin: Place) -> Self {
        let events = Parser::new_from_str(text);
        Self { origin, events, anchors: HashMap::new(), nodes: 0, faults: Vec::new() }
    }

    fn place(&self, marker: Marker) -> Place {
        let at = Place::from(marker);
        let column = if at.line == 1 { at.column + self.origin.column - 1 } else { at.column };
        Place { line: at.line + self.origin.line - 1, column }
    }

    fn next(&mut self) -> Result<Next<'a>, Fault> {
        match self.events.next_event() {
            Some(Ok(next)) => Ok(next),
            Some(Err(error)) => {
                Err(Fault { place: self.place(*error.marker()), message: format!("not YAML: {}", error.info()) })
            }
            None => Ok((Event::StreamEnd, Span::default())),
        }
    }

    /// The next document; `None` after the last.
    fn document(&mut self) -> Result<Option<Node>, Fault> {
        loop {
            match self.next()?.0 {
                Event::StreamEnd => return Ok(None),
                Event::DocumentStart(_) => break,
                _ => {}
            }
        }
        self.anchors.clear();
        let next = self.next()?;
        self.node(next, 0).map(Some)
    }

    fn node(&mut self, (event, span): Next<'a>, depth: usize) -> Result<Node, Fault> {
        let place = self.place(span.start);
        let fault = |message: &str| Fault { place, message: message.to_owned() };
        self.count(1, place)?;
        if depth > DEEPEST {
            return Err(fault("nested too deeply"));
        }
        let (anchor, node) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                let value = scalar_value(text, style, tag.as_deref()).map_err(|why| fault(&why))?;
                (anchor, Node { value, places: Places { key: place, value: place, ..Places::default() } })
            }
            Event::SequenceStart(anchor, _) => (anchor, self.sequence(place, depth)?),
            Event::MappingStart(anchor, _) => (anchor, self.mapping(place, depth)?),
            Event::Alias(anchor) => {
                let mut node = self.anchors.get(&anchor).cloned().ok_or_else(|| fault("an alias of nothing"))?;
                self.count(size(&node.value), place)?;
                (node.places.key, node.places.value) = (place, place);
                return Ok(node);
            }
            _ => return Err(fault("a value is missing")),
        };
        if anchor > 0 {
            self.anchors.insert(anchor, node.clone());
        }
        Ok(node)
    }

    fn count(&mut self, nodes: usize, place: Place) -> Result<(), Fault> {
        self.nodes = self.nodes.saturating_add(nodes);
        if self.nodes > MOST_NODES {
            return Err(Fault { place, message: "too many values: aliases of aliases?".to_owned() });
        }
        Ok(())
    }

    fn sequence(&mut self, place: Place, depth: usize) -> Result<Node, Fault> {
        let (mut values, mut items) = (Vec::new(), Vec::new());
        loop {
            let next = self.next()?;
            if matches!(next.0, Event::SequenceEnd) {
                break;
            }
            let Node { value, places } = self.node(next, depth + 1)?;
            values.push(value);
            items.push(places);
        }
        Ok(Node { value: values.into(), places: Places { key: place, value: place, items, ..Places::default() } })
    }

    fn mapping(&mut self, place: Place, depth: usize) -> Result<Node, Fault> {
        let (mut values, mut names) = (Map::new(), BTreeMap::new());
        let mut merged = Vec::new();
        loop {
            let next = self.next()?;
            if matches!(next.0, Event::MappingEnd) {
                break;
            }
            let at = self.place(next.1.start);
            let is_merge = matches!(&next.0, Event::Scalar(text, ScalarStyle::Plain, _, None) if text == "<<");
            let key = self.node(next, depth + 1)?;
            let next = self.next()?;
            let mut node = self.node(next, depth + 1)?;
            if is_merge {
                merged.push((at, node));
                continue;
            }
            let name = key_name(&key.value).map_err(|message| Fault { place: at, message })?;
            node.places.key = at;
            if values.contains_key(&name) {
                self.faults.push(Fault { place: at, message: format!("the key {name} is there twice") });
            }
            values.insert(name.clone(), node.value);
            names.insert(name, node.places);
        }
        for (at, node) in merged {
            merge(node, &mut values, &mut names).map_err(|message| Fault { place: at, message })?;
        }
        Ok(Node { value: values.into(), places: Places { key: place, value: place, names, ..Places::default() } })
    }
}

/// `<<: *base`: what the mapping doesn't say itself.
fn merge(node: Node, values: &mut Map<String, Value>, names: &mut BTreeMap<String, Places>) -> Result<(), String> {
    match node.value {
        Value::Object(base) => {
            let mut places = node.places.names;
            for (name, value) in base {
                if !values.contains_key(&name) {
                    names.insert(name.clone(), places.remove(&name).unwrap_or_default());
                    values.insert(name, value);
                }
            }
            Ok(())
        }
        Value::Array(bases) => {
            for (value, places) in bases.into_iter().zip(node.places.items) {
                merge(Node { value, places }, values, names)?;
            }
            Ok(())
        }
        _ => Err("<< takes a mapping, or a list of mappings".to_owned()),
    }
}

fn size(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(size).sum::<usize>(),
        Value::Object(members) => 1 + members.values().map(size).sum::<usize>(),
        _ => 1,
    }
}

/// A key of JSON.
fn key_name(key: &Value) -> Result<String, String> {
    match key {
        Value::String(name) => Ok(name.clone()),
        Value::Bool(_) | Value::Number(_) => Ok(key.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => Err("a key must be a text".to_owned()),
    }
}

fn scalar_value(text: Cow<'_, str>, style: ScalarStyle, tag: Option<&Tag>) -> Result<Value, String> {
    let core = tag.filter(|tag| tag.is_yaml_core_schema()).map(|tag| tag.suffix.as_str());
    if core == Some("str") || (tag.is_none() && style != ScalarStyle::Plain) {
        return Ok(Value::String(text.into_owned()));
    }
    let wrong = |why: &str| format!("{text} {why}");
    let value = scalar::plain(&text).map_err(wrong)?;
    let fits = match core {
        None => tag.is_none(),
        Some("bool") => value.is_boolean(),
        Some("null") => value.is_null(),
        Some("int") => value.is_i64() || value.is_u64(),
        Some("float") => value.is_number(),
        Some(_) => false,
    };
    if fits { Ok(value) } else { Err(wrong("has a tag that no object needs: remove the tag")) }
}
