// SPDX-License-Identifier: Apache-2.0
//! Python's methods of strings and lists that minijinja-contrib lacks or reads otherwise.
use crate::budget;
use crate::filters::{join_all, replace_in, strip_method};
use crate::operators::{each, type_error};
use crate::pyvalue::{is_space, type_name};
use minijinja::value::{from_args, Kwargs, Value, ValueKind};
use minijinja::{Error, State};

pub fn call(state: &State, value: &Value, name: &str, args: &[Value]) -> Result<Value, Error> {
    let known = match value.kind() {
        ValueKind::String => string_method(value.as_str().unwrap_or(""), name, args)?,
        ValueKind::Seq if name == "index" => Some(index_of(value, args)?),
        ValueKind::Seq | ValueKind::Map if name == "copy" => Some(value.clone()),
        ValueKind::Map if matches!(name, "items" | "keys" | "values") => {
            let all = minijinja_contrib::pycompat::unknown_method_callback(state, value, name, args)?;
            Some(each(all)?)
        }
        _ => None,
    };
    known.map_or_else(|| minijinja_contrib::pycompat::unknown_method_callback(state, value, name, args), Ok)
}

fn index_of(list: &Value, args: &[Value]) -> Result<Value, Error> {
    let (what,): (&Value,) = from_args(args)?;
    let found = list.try_iter()?.position(|item| item == *what);
    found.map(Value::from).ok_or_else(|| type_error("the item is not in the list".into()))
}

fn string_method(text: &str, name: &str, args: &[Value]) -> Result<Option<Value>, Error> {
    Ok(Some(match name {
        "strip" | "lstrip" | "rstrip" => {
            let (chars,): (Option<&str>,) = from_args(args)?;
            Value::from(strip_method(text, name, chars))
        }
        "split" | "rsplit" => split(text, name == "rsplit", args)?,
        "splitlines" => {
            let (keep,): (Option<bool>,) = from_args(args)?;
            Value::from(split_lines(text, keep.unwrap_or(false)))
        }
        "partition" | "rpartition" => partition(text, name == "rpartition", args)?,
        "replace" => {
            let (old, new, count): (&str, &str, Option<i64>) = from_args(args)?;
            Value::from(replace_in(text, old, new, count)?)
        }
        "join" => {
            let (list,): (Value,) = from_args(args)?;
            Value::from(join_all(list, text, |out, item| match item.as_str() {
                Some(part) => Ok(out.push_str(part)),
                None => Err(type_error(format!("sequence item: expected str instance, {} found", type_name(item)))),
            })?)
        }
        "find" | "index" | "rfind" | "rindex" | "count" => find(text, name, args)?,
        "removeprefix" => {
            let (part,): (&str,) = from_args(args)?;
            Value::from(text.strip_prefix(part).unwrap_or(text))
        }
        "removesuffix" => {
            let (part,): (&str,) = from_args(args)?;
            Value::from(text.strip_suffix(part).unwrap_or(text))
        }
        "ljust" | "rjust" | "center" | "zfill" => Value::from(pad(text, name, args)?),
        "swapcase" => Value::from(text.chars().flat_map(swap_case).collect::<String>()),
        "casefold" => Value::from(text.to_lowercase()),
        "isdigit" | "isnumeric" | "isalpha" | "isalnum" | "isspace" | "islower" | "isupper" => classify(text, name),
        _ => return Ok(None),
    }))
}

fn swap_case(c: char) -> Vec<char> {
    if c.is_uppercase() { c.to_lowercase().collect() } else { c.to_uppercase().collect() }
}

fn classify(text: &str, name: &str) -> Value {
    let cased = |wanted: fn(&char) -> bool, other: fn(&char) -> bool| {
        text.chars().any(|c| wanted(&c)) && !text.chars().any(|c| other(&c))
    };
    Value::from(match name {
        "islower" => cased(|c| c.is_lowercase(), |c| c.is_uppercase()),
        "isupper" => cased(|c| c.is_uppercase(), |c| c.is_lowercase()),
        "isspace" => !text.is_empty() && text.chars().all(is_space),
        "isalpha" => !text.is_empty() && text.chars().all(char::is_alphabetic),
        "isalnum" => !text.is_empty() && text.chars().all(char::is_alphanumeric),
        _ => !text.is_empty() && text.chars().all(char::is_numeric),
    })
}

fn split(text: &str, from_end: bool, args: &[Value]) -> Result<Value, Error> {
    let (separator, most, kwargs): (Option<Value>, Option<i64>, Kwargs) = from_args(args)?;
    let separator = separator.or(kwargs.get("sep")?).filter(|separator| !separator.is_none());
    let most = most.or(kwargs.get("maxsplit")?).filter(|most| *most >= 0);
    kwargs.assert_all_used()?;
    let most = most.map_or(usize::MAX, |most| most as usize);
    budget::check_product(text.len(), std::mem::size_of::<Value>() / 2)?;
    let Some(separator) = separator else {
        return Ok(Value::from(split_blanks(text, most, from_end)));
    };
    let Some(separator) = separator.as_str().filter(|separator| !separator.is_empty()) else {
        return Err(type_error("split needs a separator that is not empty".into()));
    };
    let pieces = most.saturating_add(1);
    let mut parts: Vec<Value> = if from_end {
        text.rsplitn(pieces, separator).map(Value::from).collect()
    } else {
        text.splitn(pieces, separator).map(Value::from).collect()
    };
    if from_end {
        parts.reverse();
    }
    Ok(Value::from(parts))
}

/// Split at runs of white space; what is left after `most` cuts keeps its blanks.
fn split_blanks(text: &str, most: usize, from_end: bool) -> Vec<String> {
    let trimmed = |text: &'_ str| -> usize {
        if from_end { text.trim_end_matches(is_space).len() } else { text.len() - text.trim_start_matches(is_space).len() }
    };
    let mut parts = Vec::new();
    let mut rest = text;
    loop {
        rest = if from_end { &rest[..trimmed(rest)] } else { &rest[trimmed(rest)..] };
        if rest.is_empty() {
            break;
        }
        let at = if from_end { rest.rfind(is_space) } else { rest.find(is_space) };
        let Some(at) = at.filter(|_| parts.len() < most) else {
            parts.push(rest.to_string());
            break;
        };
        let blank = rest[at..].chars().next().map_or(1, char::len_utf8);
        parts.push(if from_end { &rest[at + blank..] } else { &rest[..at] }.to_string());
        rest = if from_end { &rest[..at] } else { &rest[at + blank..] };
    }
    if from_end {
        parts.reverse();
    }
    parts
}

fn split_lines(text: &str, keep: bool) -> Vec<String> {
    let ends = |c: char| matches!(c, '\n' | '\r' | '\u{b}' | '\u{c}' | '\u{1c}'..='\u{1e}' | '\u{85}' | '\u{2028}' | '\u{2029}');
    let mut lines = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let at = rest.find(ends).unwrap_or(rest.len());
        let end = match rest[at..].chars().next() {
            None => at,
            Some('\r') if rest[at..].starts_with("\r\n") => at + 2,
            Some(c) => at + c.len_utf8(),
        };
        lines.push(rest[..if keep { end } else { at }].to_string());
        rest = &rest[end..];
    }
    lines
}

fn partition(text: &str, from_end: bool, args: &[Value]) -> Result<Value, Error> {
    let (separator,): (&str,) = from_args(args)?;
    if separator.is_empty() {
        return Err(type_error("empty separator".into()));
    }
    let cut = if from_end { text.rsplit_once(separator) } else { text.split_once(separator) };
    let parts = match (cut, from_end) {
        (Some((head, tail)), _) => [head, separator, tail],
        (None, true) => ["", "", text],
        (None, false) => [text, "", ""],
    };
    Ok(Value::from(parts.map(Value::from).to_vec()))
}

/// Positions count characters.
fn find(text: &str, name: &str, args: &[Value]) -> Result<Value, Error> {
    let (what, start, end): (&str, Option<i64>, Option<i64>) = from_args(args)?;
    let length = text.chars().count() as i64;
    let bound = |at: i64| if at < 0 { (at + length).max(0) } else { at.min(length) };
    let (start, end) = (bound(start.unwrap_or(0)), bound(end.unwrap_or(length)));
    let byte = |at: i64| text.char_indices().nth(at as usize).map_or(text.len(), |(byte, _)| byte);
    let part = if start <= end { &text[byte(start)..byte(end)] } else { "" };
    if name == "count" {
        return Ok(Value::from(if what.is_empty() { part.chars().count() + 1 } else { part.matches(what).count() }));
    }
    let at = if name.starts_with('r') { part.rfind(what) } else { part.find(what) };
    match at {
        Some(at) => Ok(Value::from(start + part[..at].chars().count() as i64)),
        None if name.ends_with("find") => Ok(Value::from(-1)),
        None => Err(type_error("substring not found".into())),
    }
}

pub fn pad(text: &str, name: &str, args: &[Value]) -> Result<String, Error> {
    let (width, fill): (i64, Option<&str>) = from_args(args)?;
    let missing = (width.max(0) as usize).saturating_sub(text.chars().count());
    let fill = if name == "zfill" { "0" } else { fill.unwrap_or(" ") };
    budget::check(text.len().saturating_add(missing.saturating_mul(fill.len())))?;
    let left = match name {
        "ljust" => 0,
        "center" => missing / 2 + (missing & width as usize & 1),
        _ => missing,
    };
    let (sign, digits) = text.split_at(usize::from(name == "zfill" && text.starts_with(['+', '-'])));
    Ok(format!("{sign}{}{digits}{}", fill.repeat(left), fill.repeat(missing - left)))
}
