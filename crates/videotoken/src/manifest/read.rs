//! Parses a text into objects with the location of each field.

use super::files::Text;
use super::json;
use super::path::{Path, Step};
use super::scalar;
use super::unquoted::{self, NO_KEY, NOT_YAML};
use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Span, Tag};
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Line and column in a file, both from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct SourceLocation {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
}

impl From<Marker> for SourceLocation {
    fn from(marker: Marker) -> Self {
        Self { line: marker.line(), column: marker.col() + 1 }
    }
}

/// Text that isn't YAML or isn't an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadError {
    /// Location in the file.
    pub place: SourceLocation,
    /// Message.
    pub message: String,
}

/// Content of a file.
#[derive(Default)]
pub struct Manifest {
    /// Objects. The items of a `List` are objects of their own.
    pub objects: Vec<Object>,
    /// Parts that can't be read, or that kubectl reads differently.
    pub faults: Vec<ReadError>,
}

/// One object. It may be a Secret, so it has no `Debug`.
pub struct Object {
    /// Name of the file.
    pub file: Arc<str>,
    /// The whole object.
    pub value: Value,
    places: Places,
}

impl Object {
    fn text(&self, pointer: &str) -> &str {
        self.value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
    }

    /// Returns `apiVersion`, or an empty string.
    pub fn api_version(&self) -> &str {
        self.text("/apiVersion")
    }

    /// Returns `kind`, or an empty string.
    pub fn kind(&self) -> &str {
        self.text("/kind")
    }

    /// Returns `metadata.name`, or an empty string.
    pub fn name(&self) -> &str {
        self.text("/metadata/name")
    }

    /// Returns `metadata.namespace`, if it is set.
    pub fn namespace(&self) -> Option<&str> {
        Some(self.text("/metadata/namespace")).filter(|namespace| !namespace.is_empty())
    }

    /// Returns true if the object has this API version and kind.
    pub fn is(&self, api_version: &str, kind: &str) -> bool {
        self.api_version() == api_version && self.kind() == kind
    }

    /// Returns the location of the object.
    pub fn start(&self) -> SourceLocation {
        self.places.value
    }

    /// Returns the location of a field, or of the nearest existing field that contains it: of a scalar's value, else of the
    /// key.
    pub fn place(&self, path: &Path) -> SourceLocation {
        let found = self.places.nearest(path);
        if found.names.is_empty() && found.items.is_empty() { found.value } else { found.key }
    }

    /// Returns the location of the key of a field, or of the nearest existing field that contains it.
    pub fn key_place(&self, path: &Path) -> SourceLocation {
        self.places.nearest(path).key
    }
}

/// Locations of a node and of all nodes below it.
#[derive(Clone, Default)]
struct Places {
    key: SourceLocation,
    value: SourceLocation,
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

/// Reads all objects of a text. Empty documents are skipped.
pub fn read(text: &Text) -> Manifest {
    let file: Arc<str> = text.name.as_str().into();
    let mut manifest = Manifest::default();
    match json::objects(&text.text) {
        Err((at, message)) => manifest.faults.push(ReadError { place: place_of(&text.text, at), message }),
        Ok((objects, rest)) => {
            for (range, value) in objects {
                let origin = place_of(&text.text, range.start);
                let same_places = json::without_halves(&text.text[range]);
                let mut reader = Reader::new(&same_places, origin);
                match reader.document() {
                    Ok(Some(node)) => manifest.add(&file, Node { value, places: node.places }),
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
            let message = "the text isn't UTF-8, so kubectl stores U+FFFD instead. Save the file as UTF-8.".to_owned();
            manifest.faults.push(ReadError { place, message });
        }
    }
    for fault in &mut manifest.faults {
        unquoted::explain(fault, &text.text);
    }
    manifest
}

/// Returns the location of a byte.
fn place_of(text: &str, at: usize) -> SourceLocation {
    let before = &text[..at];
    let line = before.rfind('\n').map_or(0, |end| end + 1);
    SourceLocation { line: before.matches('\n').count() + 1, column: before[line..].chars().count() + 1 }
}

/// Returns what this parser accepts and kubectl rejects.
fn refused_by_kubectl(text: &str, origin: SourceLocation) -> Vec<ReadError> {
    let mut faults = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let from = if number == 0 { origin.column - 1 } else { 0 };
        let mut fault = |column: usize, message: &str| {
            let place = SourceLocation { line: origin.line + number, column: from + column };
            faults.push(ReadError { place, message: message.to_owned() });
        };
        if let Some(rest) = line.strip_prefix("---").map(str::trim)
            && !rest.is_empty()
            && !rest.starts_with('#')
        {
            fault(4, "kubectl accepts only a comment after ---. Begin a new line.");
        }
        if line.starts_with('%') {
            fault(1, "kubectl accepts no directives. Remove this line.");
        }
        if let Some(at) = line.chars().position(is_control) {
            fault(at + 1, "kubectl accepts no control characters, not even in comments.");
        }
    }
    faults
}

/// Returns true for characters that YAML defines as not printable.
fn is_control(c: char) -> bool {
    (c.is_control() && !['\t', '\r', '\u{85}'].contains(&c)) || c == '\u{feff}'
}

/// Replaces a tab after a colon, which kubectl accepts but this parser rejects, with a space.
fn spaced(text: &str) -> Cow<'_, str> {
    let mut text = Cow::Borrowed(text);
    // each iteration replaces the tabs of one line
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

/// Maximum number of bytes to parse, because each search begins at the start: 1000 tabs in a text of 100 kB.
const MOST_READ: usize = 100_000_000;

/// Returns the byte at a location.
fn byte_of(text: &str, place: SourceLocation) -> Option<usize> {
    let mut start = 0;
    for _ in 1..place.line {
        start += text[start..].find('\n')? + 1;
    }
    let line = &text[start..];
    line.char_indices().map(|(at, _)| at).chain([line.len()]).nth(place.column - 1).map(|at| start + at)
}

impl Places {
    /// Returns the location of the first text in which bytes were replaced.
    fn first_replaced(&self, value: &Value) -> Option<SourceLocation> {
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
    fn take_yaml(&mut self, file: &Arc<str>, text: &str, origin: SourceLocation) {
        let text = spaced(text);
        let mut reader = Reader::new(&text, origin);
        reader.faults.extend(refused_by_kubectl(&text, origin));
        loop {
            match reader.document() {
                Ok(Some(Node { value: Value::Null, .. })) => {}
                Ok(Some(node)) => self.add(file, node),
                Ok(None) => break,
                Err(fault) => {
                    reader.faults.push(fault);
                    break;
                }
            }
        }
        self.faults.append(&mut reader.faults);
    }

    fn add(&mut self, file: &Arc<str>, node: Node) {
        let Node { mut value, mut places } = node;
        if !value.is_object() {
            let message = "not an object: apiVersion, kind and metadata are missing".to_owned();
            self.faults.push(ReadError { place: places.value, message });
            return;
        }
        let is_list = value["kind"].as_str().is_some_and(|kind| kind.ends_with("List"));
        match value.get_mut("items").map(Value::take) {
            Some(Value::Array(items)) if is_list => {
                let below = places.names.remove("items").unwrap_or_default().items;
                for (value, places) in items.into_iter().zip(below) {
                    self.add(file, Node { value, places });
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

/// A value and the locations of its fields.
#[derive(Clone)]
struct Node {
    value: Value,
    places: Places,
}

struct Reader<'a> {
    /// Location of the text in its file.
    origin: SourceLocation,
    events: Parser<'a, saphyr_parser::StrInput<'a>>,
    anchors: HashMap<usize, Node>,
    nodes: usize,
    faults: Vec<ReadError>,
}

/// Maximum number of nodes, because nested aliases can expand without limit.
const MOST_NODES: usize = 1_000_000;

/// Maximum depth of an object.
const DEEPEST: usize = 100;

type Next<'a> = (Event<'a>, Span);

impl<'a> Reader<'a> {
    fn new(text: &'a str, origin: SourceLocation) -> Self {
        let events = Parser::new_from_str(text);
        Self { origin, events, anchors: HashMap::new(), nodes: 0, faults: Vec::new() }
    }

    fn place(&self, marker: Marker) -> SourceLocation {
        let at = SourceLocation::from(marker);
        let column = if at.line == 1 { at.column + self.origin.column - 1 } else { at.column };
        SourceLocation { line: at.line + self.origin.line - 1, column }
    }

    fn next(&mut self) -> Result<Next<'a>, ReadError> {
        match self.events.next_event() {
            Some(Ok(next)) => Ok(next),
            Some(Err(error)) => {
                Err(ReadError { place: self.place(*error.marker()), message: format!("{NOT_YAML}: {}", error.info()) })
            }
            None => Ok((Event::StreamEnd, Span::default())),
        }
    }

    /// Returns the next document, or `None` after the last one.
    fn document(&mut self) -> Result<Option<Node>, ReadError> {
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

    fn node(&mut self, (event, span): Next<'a>, depth: usize) -> Result<Node, ReadError> {
        let place = self.place(span.start);
        let fault = |message: &str| ReadError { place, message: message.to_owned() };
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
                let mut node = self.anchors.get(&anchor).cloned().ok_or_else(|| fault("the alias has no anchor"))?;
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

    fn count(&mut self, nodes: usize, place: SourceLocation) -> Result<(), ReadError> {
        self.nodes = self.nodes.saturating_add(nodes);
        if self.nodes > MOST_NODES {
            return Err(ReadError {
                place,
                message: "the file has too many values, perhaps from nested aliases".to_owned(),
            });
        }
        Ok(())
    }

    fn sequence(&mut self, place: SourceLocation, depth: usize) -> Result<Node, ReadError> {
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

    fn mapping(&mut self, place: SourceLocation, depth: usize) -> Result<Node, ReadError> {
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
            let name = key_name(&key.value).map_err(|message| ReadError { place: at, message })?;
            node.places.key = at;
            if values.contains_key(&name) {
                self.faults.push(ReadError { place: at, message: format!("the key {name} is duplicated") });
            }
            values.insert(name.clone(), node.value);
            names.insert(name, node.places);
        }
        for (at, node) in merged {
            merge(node, &mut values, &mut names).map_err(|message| ReadError { place: at, message })?;
        }
        Ok(Node { value: values.into(), places: Places { key: place, value: place, names, ..Places::default() } })
    }
}

/// Merges `<<: *base`: adds the keys that the mapping doesn't have.
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
        _ => Err("<< requires a mapping or a list of mappings".to_owned()),
    }
}

fn size(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(size).sum::<usize>(),
        Value::Object(members) => 1 + members.values().map(size).sum::<usize>(),
        _ => 1,
    }
}

/// Returns the key as in JSON.
fn key_name(key: &Value) -> Result<String, String> {
    match key {
        Value::String(name) => Ok(name.clone()),
        Value::Bool(_) | Value::Number(_) => Ok(key.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => Err(NO_KEY.to_owned()),
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
    if fits { Ok(value) } else { Err(wrong("has a tag that no object needs. Remove the tag.")) }
}
