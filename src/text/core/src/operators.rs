// SPDX-License-Identifier: Apache-2.0
//! Python's operators as filters. minijinja's own print values their own way, accept what Python
//! refuses, and know no budget; rewrite.rs puts these in their place.
use crate::budget;
use crate::printf::printf;
use crate::pyvalue::{to_str, type_name};
use minijinja::value::{Object, ObjectRepr, Rest, Value, ValueKind};
use minijinja::{Environment, Error, ErrorKind, State};
use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

const VALUE_SIZE: usize = std::mem::size_of::<Value>();

pub fn type_error(message: String) -> Error {
    Error::new(ErrorKind::InvalidOperation, message)
}

/// Undefined takes part in nothing but printing, loops and tests.
fn defined(value: &Value) -> Result<(), Error> {
    if value.is_undefined() {
        return Err(Error::new(ErrorKind::UndefinedError, "an undefined value is used in an expression"));
    }
    Ok(())
}

fn unsupported(operator: &str, a: &Value, b: &Value) -> Error {
    type_error(format!(
        "unsupported operand type(s) for {operator}: '{}' and '{}'",
        type_name(a),
        type_name(b)
    ))
}

pub fn is_list(value: &Value) -> bool {
    value.kind() == ValueKind::Seq
}

fn items(value: &Value) -> Result<Vec<Value>, Error> {
    Ok(value.try_iter()?.collect())
}

/// True, False and integers as one, None for other values.
fn integer(value: &Value) -> Option<i128> {
    match value.kind() {
        ValueKind::Bool => Some(value.is_true() as i128),
        ValueKind::Number if value.is_integer() => i128::try_from(value.clone()).ok(),
        _ => None,
    }
}

fn float(value: &Value) -> Option<f64> {
    match value.kind() {
        ValueKind::Number => f64::try_from(value.clone()).ok(),
        _ => integer(value).map(|i| i as f64),
    }
}

fn from_integer(value: i128) -> Value {
    i64::try_from(value).map_or_else(|_| Value::from(value), Value::from)
}

enum Numbers {
    Integers(i128, i128),
    Floats(f64, f64),
}

fn numbers(operator: &str, a: &Value, b: &Value) -> Result<Numbers, Error> {
    defined(a)?;
    defined(b)?;
    if let (Some(a), Some(b)) = (integer(a), integer(b)) {
        return Ok(Numbers::Integers(a, b));
    }
    match (float(a), float(b)) {
        (Some(a), Some(b)) => Ok(Numbers::Floats(a, b)),
        _ => Err(unsupported(operator, a, b)),
    }
}

fn checked(result: Option<i128>) -> Result<Value, Error> {
    result.map(from_integer).ok_or_else(|| type_error("integer is too large".into()))
}

/// What joins a text that the filter `safe` marked is escaped for HTML, as in Jinja2.
pub fn escaped(text: &str) -> String {
    let escape = |c: char| match c {
        '&' => "&amp;".to_string(),
        '<' => "&lt;".to_string(),
        '>' => "&gt;".to_string(),
        '\'' => "&#39;".to_string(),
        '"' => "&#34;".to_string(),
        c => c.to_string(),
    };
    text.chars().map(escape).collect()
}

pub fn add(a: Value, b: Value) -> Result<Value, Error> {
    if let (Some(left), Some(right)) = (a.as_str(), b.as_str()) {
        budget::check(left.len() + right.len())?;
        return Ok(match (a.is_safe(), b.is_safe()) {
            (false, false) => Value::from([left, right].concat()),
            (true, true) => Value::from_safe_string([left, right].concat()),
            (true, false) => Value::from_safe_string(format!("{left}{}", escaped(right))),
            (false, true) => Value::from_safe_string(format!("{}{right}", escaped(left))),
        });
    }
    if is_list(&a) && is_list(&b) {
        budget::check_product(a.len().unwrap_or(0) + b.len().unwrap_or(0), VALUE_SIZE)?;
        let mut all = items(&a)?;
        all.extend(b.try_iter()?);
        return Ok(Value::from(all));
    }
    match numbers("+", &a, &b)? {
        Numbers::Integers(a, b) => checked(a.checked_add(b)),
        Numbers::Floats(a, b) => Ok(Value::from(a + b)),
    }
}

fn repeat(value: &Value, count: i128) -> Result<Option<Value>, Error> {
    let count = usize::try_from(count.max(0)).unwrap_or(usize::MAX);
    if let Some(text) = value.as_str() {
        budget::check_product(count, text.len())?;
        return Ok(Some(Value::from(text.repeat(count))));
    }
    if is_list(value) {
        let once = items(value)?;
        budget::check_product(count, once.len() * VALUE_SIZE)?;
        let total = if once.is_empty() { 0 } else { once.len() * count };
        return Ok(Some(Value::from(once.into_iter().cycle().take(total).collect::<Vec<_>>())));
    }
    Ok(None)
}

fn multiply(a: Value, b: Value) -> Result<Value, Error> {
    for (value, count) in [(&a, &b), (&b, &a)] {
        if let Some(count) = integer(count) {
            if let Some(repeated) = repeat(value, count)? {
                return Ok(repeated);
            }
        }
    }
    match numbers("*", &a, &b)? {
        Numbers::Integers(a, b) => checked(a.checked_mul(b)),
        Numbers::Floats(a, b) => Ok(Value::from(a * b)),
    }
}

fn zero_division() -> Error {
    type_error("division by zero".into())
}

fn divide(a: Value, b: Value) -> Result<Value, Error> {
    let (a, b) = match numbers("/", &a, &b)? {
        Numbers::Integers(a, b) => (a as f64, b as f64),
        Numbers::Floats(a, b) => (a, b),
    };
    if b == 0.0 {
        return Err(zero_division());
    }
    Ok(Value::from(a / b))
}

fn floor_divide(a: Value, b: Value) -> Result<Value, Error> {
    match numbers("//", &a, &b)? {
        Numbers::Integers(_, 0) => Err(zero_division()),
        Numbers::Integers(a, b) => {
            let quotient = a.checked_div(b);
            checked(quotient.map(|q| if a % b != 0 && (a < 0) != (b < 0) { q - 1 } else { q }))
        }
        Numbers::Floats(_, b) if b == 0.0 => Err(zero_division()),
        Numbers::Floats(a, b) => Ok(Value::from((a / b).floor())),
    }
}

fn remainder(a: Value, b: Value) -> Result<Value, Error> {
    if let Some(format) = a.as_str() {
        // A tuple is a list here; one conversion takes a list of another length whole.
        let conversions = format.replace("%%", "").matches('%').count();
        let several = is_list(&b) && (conversions != 1 || b.len() == Some(1));
        let arguments = if several { items(&b)? } else { vec![b] };
        return printf(format, &arguments);
    }
    match numbers("%", &a, &b)? {
        Numbers::Integers(_, 0) => Err(zero_division()),
        Numbers::Integers(a, b) => checked(a.checked_rem(b).map(|r| if r != 0 && (r < 0) != (b < 0) { r + b } else { r })),
        Numbers::Floats(_, b) if b == 0.0 => Err(zero_division()),
        Numbers::Floats(a, b) => Ok(Value::from(a - b * (a / b).floor())),
    }
}

fn concat(a: Value, b: Value) -> Result<Value, Error> {
    let mut text = to_str(&a)?;
    let right = to_str(&b)?;
    budget::check(text.len() + right.len())?;
    text.push_str(&right);
    Ok(Value::from(text))
}

fn order(operator: &str, a: &Value, b: &Value) -> Result<Ordering, Error> {
    defined(a)?;
    defined(b)?;
    let comparable = (float(a).is_some() && float(b).is_some())
        || (a.as_str().is_some() && b.as_str().is_some())
        || (is_list(a) && is_list(b));
    if !comparable {
        return Err(type_error(format!(
            "'{operator}' not supported between instances of '{}' and '{}'",
            type_name(a),
            type_name(b)
        )));
    }
    match (integer(a), integer(b)) {
        (Some(a), Some(b)) => Ok(a.cmp(&b)),
        _ => Ok(a.cmp(b)),
    }
}

fn contains(value: Value, container: Value) -> Result<bool, Error> {
    budget::check(0)?;
    match container.kind() {
        ValueKind::Undefined => Ok(false),
        ValueKind::String => match (value.as_str(), container.as_str()) {
            (Some(part), Some(text)) => Ok(text.contains(part)),
            _ => Err(type_error(format!("'in <string>' requires string as left operand, not {}", type_name(&value)))),
        },
        ValueKind::Map => Ok(container.as_object().is_some_and(|map| map.get_value(&value).is_some())),
        ValueKind::Seq | ValueKind::Iterable => Ok(container.try_iter()?.any(|item| item == value)),
        _ => Err(type_error(format!("argument of type '{}' is not iterable", type_name(&container)))),
    }
}

/// The indices of Python's slice over `length` items.
fn slice_indices(length: usize, start: Option<i128>, stop: Option<i128>, step: i128) -> Vec<usize> {
    let length = length as i128;
    let (low, high) = if step > 0 { (0, length) } else { (-1, length - 1) };
    let clamp = |bound: i128| if bound < 0 { (bound + length).max(low) } else { bound.min(high) };
    let mut at = start.map_or(if step > 0 { low } else { high }, clamp);
    let end = stop.map_or(if step > 0 { high } else { low }, clamp);
    let mut indices = Vec::new();
    while if step > 0 { at < end } else { at > end } {
        indices.push(at as usize);
        at = at.saturating_add(step);
    }
    indices
}

fn slice(value: Value, start: Value, stop: Value, step: Value) -> Result<Value, Error> {
    defined(&value)?;
    let bound = |bound: &Value| match integer(bound) {
        None if !bound.is_none() => {
            Err(type_error("slice indices must be integers or None".into()))
        }
        index => Ok(index.map(|i| i.clamp(i64::MIN as i128, i64::MAX as i128))),
    };
    let (start, stop, step) = (bound(&start)?, bound(&stop)?, bound(&step)?.unwrap_or(1));
    if step == 0 {
        return Err(type_error("slice step cannot be zero".into()));
    }
    if let Some(text) = value.as_str() {
        budget::check_product(text.len(), 16)?;
        let characters: Vec<char> = text.chars().collect();
        let indices = slice_indices(characters.len(), start, stop, step);
        return Ok(Value::from(indices.into_iter().map(|i| characters[i]).collect::<String>()));
    }
    if !matches!(value.kind(), ValueKind::Seq | ValueKind::Iterable) {
        return Err(type_error(format!("'{}' object is not subscriptable", type_name(&value))));
    }
    let all = items(&value)?;
    let indices = slice_indices(all.len(), start, stop, step);
    Ok(Value::from(indices.into_iter().map(|i| all[i].clone()).collect::<Vec<_>>()))
}

/// What a loop goes over: none is no empty list, and a string's last character is known.
pub fn each(value: Value) -> Result<Value, Error> {
    budget::check(0)?;
    match value.kind() {
        ValueKind::None | ValueKind::Bool | ValueKind::Number => {
            Err(type_error(format!("'{}' object is not iterable", type_name(&value))))
        }
        ValueKind::String => {
            let text = value.as_str().unwrap_or("");
            budget::check_product(text.len(), VALUE_SIZE)?;
            Ok(Value::from(text.chars().map(Value::from).collect::<Vec<_>>()))
        }
        ValueKind::Iterable => Ok(Value::from(items(&value)?)),
        _ => Ok(value),
    }
}

/// A dict's method that is named but not called: it hides an item of the same name.
#[derive(Debug)]
struct DictMethod {
    name: &'static str,
    of: Value,
}

impl Object for DictMethod {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }
    fn call(self: &Arc<Self>, state: &State, args: &[Value]) -> Result<Value, Error> {
        self.of.call_method(state, self.name, args)
    }
    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<built-in method {} of dict object>", self.name)
    }
}

/// Names and the filters that stand for them, sorted.
pub const DICT_METHODS: [(&str, &str); 11] = [
    ("clear", "attribute.clear"),
    ("copy", "attribute.copy"),
    ("fromkeys", "attribute.fromkeys"),
    ("get", "attribute.get"),
    ("items", "attribute.items"),
    ("keys", "attribute.keys"),
    ("pop", "attribute.pop"),
    ("popitem", "attribute.popitem"),
    ("setdefault", "attribute.setdefault"),
    ("update", "attribute.update"),
    ("values", "attribute.values"),
];

fn dict_method(of: Value, name: &'static str) -> Result<Value, Error> {
    let is_namespace = of.as_object().is_some_and(|object| object.type_name().contains("Namespace"));
    if of.kind() == ValueKind::Map && !is_namespace {
        return Ok(Value::from_object(DictMethod { name, of }));
    }
    of.get_attr(name)
}

pub fn register(env: &mut Environment) {
    env.add_filter("operator.add", add);
    env.add_filter("operator.multiply", multiply);
    env.add_filter("operator.divide", divide);
    env.add_filter("operator.floor_divide", floor_divide);
    env.add_filter("operator.remainder", remainder);
    env.add_filter("operator.concat", concat);
    env.add_filter("operator.lt", |a: Value, b: Value| order("<", &a, &b).map(Ordering::is_lt));
    env.add_filter("operator.lte", |a: Value, b: Value| order("<=", &a, &b).map(Ordering::is_le));
    env.add_filter("operator.gt", |a: Value, b: Value| order(">", &a, &b).map(Ordering::is_gt));
    env.add_filter("operator.gte", |a: Value, b: Value| order(">=", &a, &b).map(Ordering::is_ge));
    env.add_filter("operator.in", contains);
    env.add_filter("operator.slice", slice);
    env.add_filter("operator.each", each);
    for (name, filter) in DICT_METHODS {
        env.add_filter(filter, move |value: Value| dict_method(value, name));
    }
    env.add_filter("format", |format: Value, arguments: Rest<Value>| printf(&to_str(&format)?, &arguments));
}
