// SPDX-License-Identifier: Apache-2.0
//! Filters, tests and functions where Jinja2 and transformers differ from minijinja.
use crate::budget;
use crate::builtins::{bind, flag};
use crate::json::BigInteger;
use crate::operators::{each, type_error};
use crate::pyvalue::{is_space, to_json, to_str, type_name, write_str, JsonStyle};
use crate::strftime::Moment;
use minijinja::value::{from_args, Kwargs, Rest, Value, ValueKind};
use minijinja::{Environment, Error, State};

/// The variable that strftime_now reads its moment from.
pub const NOW: &str = "__now";

fn tojson(value: Value, args: Rest<Value>) -> Result<String, Error> {
    let [ensure_ascii, indent, separators, sort_keys] =
        bind(&args, ["ensure_ascii", "indent", "separators", "sort_keys"])?;
    let indent = match indent {
        Some(v) if v.is_integer() => Some(" ".repeat(i64::try_from(v)?.clamp(0, 32) as usize)),
        Some(v) if v.kind() == ValueKind::String => Some(v.to_string()),
        _ => None,
    };
    let mut style = JsonStyle {
        ensure_ascii: flag(&ensure_ascii),
        item_separator: if indent.is_some() { "," } else { ", " }.into(),
        key_separator: ": ".into(),
        sort_keys: flag(&sort_keys),
        indent,
    };
    if let Some(separators) = separators.filter(|pair| pair.kind() == ValueKind::Seq && pair.len() == Some(2)) {
        style.item_separator = separators.get_item_by_index(0)?.to_string();
        style.key_separator = separators.get_item_by_index(1)?.to_string();
    }
    to_json(&value, &style)
}

fn length(value: Value) -> Result<usize, Error> {
    let count = match value.kind() {
        ValueKind::Undefined => Some(0),
        ValueKind::Iterable => None,
        _ => value.len(),
    };
    count.ok_or_else(|| type_error(format!("object of type '{}' has no len()", type_name(&value))))
}

fn strip(text: &str, chars: Option<&str>, from_start: bool, from_end: bool) -> String {
    let matches = |c: char| chars.map_or_else(|| is_space(c), |chars| chars.contains(c));
    let text = if from_start { text.trim_start_matches(matches) } else { text };
    let text = if from_end { text.trim_end_matches(matches) } else { text };
    text.to_string()
}

/// str.strip, lstrip and rstrip.
pub fn strip_method(text: &str, name: &str, chars: Option<&str>) -> String {
    strip(text, chars, name != "rstrip", name != "lstrip")
}

fn trim(value: Value, chars: Option<String>) -> Result<String, Error> {
    Ok(strip(&to_str(&value)?, chars.as_deref(), true, true))
}

/// `of` joined by `separator`; at most as long as a value may be.
pub fn join_all(of: Value, separator: &str, print: impl Fn(&mut String, &Value) -> Result<(), Error>) -> Result<String, Error> {
    let mut out = String::new();
    for (i, item) in each(of)?.try_iter()?.enumerate() {
        if i > 0 {
            out.push_str(separator);
        }
        print(&mut out, &item)?;
        budget::check(out.len())?;
    }
    Ok(out)
}

fn join(value: Value, args: Rest<Value>) -> Result<String, Error> {
    let (separator, kwargs): (Option<Value>, Kwargs) = from_args(&args)?;
    let separator = separator.or(kwargs.get::<Option<Value>>("d")?).unwrap_or_else(|| Value::from(""));
    let attribute = kwargs.get::<Option<Value>>("attribute")?;
    kwargs.assert_all_used()?;
    join_all(value, &to_str(&separator)?, |out, item| match &attribute {
        None => write_str(out, item),
        Some(name) => match name.as_str() {
            Some(path) => write_str(out, &path.split('.').try_fold(item.clone(), |at, key| at.get_attr(key))?),
            None => write_str(out, &item.get_item(name)?),
        },
    })
}

/// str.replace.
pub fn replace_in(text: &str, old: &str, new: &str, count: Option<i64>) -> Result<String, Error> {
    let count = count.filter(|n| *n >= 0).map_or(usize::MAX, |n| n as usize);
    if new.len() > old.len() {
        let found = if old.is_empty() { text.chars().count() + 1 } else { text.matches(old).count() };
        let added = found.min(count).saturating_mul(new.len() - old.len());
        budget::check(text.len().saturating_add(added))?;
    }
    Ok(text.replacen(old, new, count))
}

fn replace(value: Value, old: Value, new: Value, count: Option<i64>) -> Result<String, Error> {
    replace_in(&to_str(&value)?, &to_str(&old)?, &to_str(&new)?, count)
}

fn capitalize(value: Value) -> Result<String, Error> {
    let text = to_str(&value)?;
    let mut chars = text.chars();
    Ok(chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars.as_str().to_lowercase().chars()).collect()))
}

/// Jinja2's own: a word begins after a blank, a dash or an opening bracket.
fn title(value: Value) -> Result<String, Error> {
    let mut out = String::new();
    let mut begins = true;
    for c in to_str(&value)?.chars() {
        if begins {
            out.extend(c.to_uppercase());
        } else {
            out.extend(c.to_lowercase());
        }
        begins = is_space(c) || "-({[<".contains(c);
    }
    Ok(out)
}

fn list(value: Value) -> Result<Value, Error> {
    let value = each(value)?;
    budget::check_product(value.len().unwrap_or(0), std::mem::size_of::<Value>())?;
    Ok(value.try_iter()?.collect::<Vec<_>>().into())
}

fn items(value: Value) -> Result<Value, Error> {
    match value.kind() {
        ValueKind::Undefined => Ok(Value::make_iterable(std::iter::empty::<Value>)),
        ValueKind::Map => minijinja::filters::items(&value),
        _ => Err(type_error("Can only get item pairs from a mapping.".into())),
    }
}

fn indent(value: Value, args: Rest<Value>) -> Result<String, Error> {
    let (width, first, blank, kwargs): (Option<Value>, Option<bool>, Option<bool>, Kwargs) = from_args(&args)?;
    let width = width.or(kwargs.get::<Option<Value>>("width")?).unwrap_or_else(|| Value::from(4));
    let first = first.or(kwargs.get("first")?).unwrap_or(false);
    let blank = blank.or(kwargs.get("blank")?).unwrap_or(false);
    kwargs.assert_all_used()?;
    let text = to_str(&value)?;
    let lines = text.split('\n').count();
    let pad = match width.as_str() {
        Some(pad) => pad.to_string(),
        None => {
            let width = i64::try_from(width)?.max(0) as usize;
            budget::check_product(lines, width)?;
            " ".repeat(width)
        }
    };
    budget::check(text.len() + lines.saturating_mul(pad.len()))?;
    let mut out = String::new();
    for (i, line) in text.split('\n').enumerate() {
        out.push_str(if i > 0 { "\n" } else { "" });
        if if i == 0 { first } else { blank || !line.is_empty() } {
            out.push_str(&pad);
        }
        out.push_str(line);
    }
    Ok(out)
}

/// A filter of minijinja whose list is a generator in Jinja2: it has no length and is no JSON.
fn add_generator(env: &mut Environment, name: &'static str, filter: Value) {
    env.add_filter(name, move |state: &State, value: Value, args: Rest<Value>| -> Result<Value, Error> {
        let value = if value.is_true() { each(value)? } else { Value::UNDEFINED };
        let all: Vec<Value> = std::iter::once(value).chain(args.iter().cloned()).collect();
        let list = filter.call(state, &all)?;
        Ok(Value::make_object_iterable(list, |list| Box::new(list.try_iter().into_iter().flatten())))
    });
}

/// The number that a text writes, else the default.
fn int(value: Value, args: Rest<Value>) -> Result<Value, Error> {
    let [default, base] = bind(&args, ["default", "base"])?;
    let base = base.map_or(Ok(10), i64::try_from)?;
    let text = value.as_str().map(|text| text.trim_matches(is_space).replace('_', "").to_lowercase());
    let prefix = |base| match base { 2 => "0b", 8 => "0o", 16 => "0x", _ => "" };
    let number = match text {
        Some(text) if (2..=36).contains(&base) && base != 10 => {
            i128::from_str_radix(text.strip_prefix(prefix(base)).unwrap_or(&text), base as u32).ok()
        }
        Some(text) => text.parse().ok().or_else(|| text.parse::<f64>().ok().filter(|x| x.is_finite()).map(|x| x as i128)),
        None if value.kind() == ValueKind::Bool => Some(value.is_true() as i128),
        None if is_integer(&value) => return Ok(value),
        None => f64::try_from(value).ok().filter(|x| x.is_finite()).map(|x| x as i128),
    };
    Ok(match number {
        Some(number) => i64::try_from(number).map_or_else(|_| Value::from(number), Value::from),
        None => default.unwrap_or_else(|| Value::from(0)),
    })
}

fn is_integer(value: &Value) -> bool {
    value.is_integer() || value.downcast_object_ref::<BigInteger>().is_some()
}

fn float(value: Value, default: Option<Value>) -> Value {
    let number = match value.as_str() {
        Some(text) => text.trim_matches(is_space).parse().ok(),
        None if value.kind() == ValueKind::Bool => Some(f64::from(value.is_true())),
        None => f64::try_from(value).ok(),
    };
    number.map_or_else(|| default.unwrap_or_else(|| Value::from(0.0)), Value::from)
}

fn is_iterable(value: &Value) -> bool {
    value.is_undefined() || (!value.is_none() && value.try_iter().is_ok())
}

fn is_sequence(value: &Value) -> bool {
    matches!(value.kind(), ValueKind::Undefined | ValueKind::String | ValueKind::Seq | ValueKind::Map)
}

fn strftime_now(state: &State, pattern: String) -> String {
    let now = state.lookup(NOW).and_then(|v| Moment::parse(v.as_str().unwrap_or("")));
    now.unwrap_or_else(Moment::now).format(&pattern)
}

pub fn register(env: &mut Environment) {
    use minijinja::filters as builtin;
    env.add_filter("tojson", tojson);
    env.add_filter("string", |value: Value| to_str(&value));
    env.add_filter("safe", |value: Value| to_str(&value).map(Value::from_safe_string));
    env.add_filter("length", length);
    env.add_filter("count", length);
    env.add_filter("trim", trim);
    env.add_filter("join", join);
    env.add_filter("replace", replace);
    env.add_filter("upper", |value: Value| to_str(&value).map(|text| text.to_uppercase()));
    env.add_filter("lower", |value: Value| to_str(&value).map(|text| text.to_lowercase()));
    env.add_filter("capitalize", capitalize);
    env.add_filter("title", title);
    env.add_filter("list", list);
    env.add_filter("items", items);
    env.add_filter("indent", indent);
    env.add_filter("int", int);
    env.add_filter("float", float);
    env.add_filter("first", |value: Value| each(value).and_then(|value| builtin::first(&value)));
    add_generator(env, "select", Value::from_function(builtin::select));
    add_generator(env, "reject", Value::from_function(builtin::reject));
    add_generator(env, "selectattr", Value::from_function(builtin::selectattr));
    add_generator(env, "rejectattr", Value::from_function(builtin::rejectattr));
    add_generator(env, "map", Value::from_function(builtin::map));
    env.add_filter("filesizeformat", minijinja_contrib::filters::filesizeformat);
    env.add_filter("wordcount", |value: Value| to_str(&value).map(|text| text.split_whitespace().count()));
    env.add_test("iterable", |value: Value| is_iterable(&value));
    env.add_test("sequence", |value: Value| is_sequence(&value));
    env.add_test("number", |value: Value| {
        matches!(value.kind(), ValueKind::Number | ValueKind::Bool) || is_integer(&value)
    });
    env.add_test("integer", |value: Value| is_integer(&value));
    env.add_test("callable", |value: Value| type_name(&value) == "object");
    env.add_function("raise_exception", |message: Value| -> Result<Value, Error> { Err(type_error(to_str(&message)?)) });
    env.add_function("strftime_now", strftime_now);
    env.add_function("cycler", minijinja_contrib::globals::cycler);
    env.add_function("joiner", minijinja_contrib::globals::joiner);
}
