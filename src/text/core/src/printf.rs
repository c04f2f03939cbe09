// SPDX-License-Identifier: Apache-2.0
//! Python's `format % arguments`.
use crate::budget;
use crate::operators::type_error;
use crate::pyvalue::{to_repr, to_str, type_name};
use minijinja::value::{Value, ValueKind};
use minijinja::{format_filter, Error, FormatStyle};
use regex::{Captures, Regex};

fn too_few() -> Error {
    type_error("not enough arguments for format string".into())
}

/// Text with a conversion's precision, width and alignment.
fn fitted(text: String, flags: &str, width: Option<usize>, precision: Option<usize>) -> String {
    let text: String = text.chars().take(precision.unwrap_or(usize::MAX)).collect();
    let blanks = " ".repeat(width.unwrap_or(0).saturating_sub(text.chars().count()));
    if flags.contains('-') { text + &blanks } else { blanks + &text }
}

/// What %d makes of a float: its whole part.
fn whole(value: Value) -> Value {
    match f64::try_from(value.clone()) {
        Ok(x) if value.kind() == ValueKind::Number && !value.is_integer() => Value::from(x.trunc() as i128),
        _ if value.kind() == ValueKind::Bool => Value::from(value.is_true() as i64),
        _ => value,
    }
}

fn converted(spec: &Captures, value: Value) -> Result<String, Error> {
    let number = |group: usize| spec.get(group).and_then(|digits| digits.as_str().parse().ok());
    let (flags, kind) = (&spec[2], &spec[5]);
    let value = match kind {
        "s" | "r" | "a" => {
            let text = if kind == "s" { to_str(&value)? } else { to_repr(&value)? };
            return Ok(fitted(text, flags, number(3), number(4)));
        }
        "d" | "i" | "u" => whole(value),
        _ => value,
    };
    if kind != "c" && !matches!(value.kind(), ValueKind::Number | ValueKind::Plain) {
        return Err(type_error(format!("%{kind} format: a number is required, not {}", type_name(&value))));
    }
    let precision = spec.get(4).map_or(String::new(), |digits| format!(".{}", digits.as_str()));
    let one = format!("%{flags}{}{precision}{kind}", spec.get(3).map_or("", |digits| digits.as_str()));
    format_filter(FormatStyle::Printf, &one, &[value])
}

pub fn printf(format: &str, arguments: &[Value]) -> Result<Value, Error> {
    let spec = Regex::new(r"%(?:\(([^)]*)\))?([-+ #0]*)(\d{0,4})(?:\.(\d{0,4}))?([a-zA-Z%])").unwrap();
    let by_name = arguments.first().filter(|first| first.kind() == ValueKind::Map && arguments.len() == 1);
    let (mut out, mut end, mut used, mut named) = (String::new(), 0, 0, false);
    for found in spec.captures_iter(format) {
        let place = found.get(0).map_or(0..0, |all| all.range());
        out.push_str(unescaped(&format[end..place.start])?);
        end = place.end;
        if &found[5] == "%" {
            out.push('%');
            continue;
        }
        let value = match (found.get(1), by_name) {
            (Some(name), Some(map)) => {
                named = true;
                Some(map.get_item(&Value::from(name.as_str()))?).filter(|value| !value.is_undefined())
            }
            (Some(_), None) => return Err(type_error("format requires a mapping".into())),
            (None, _) => arguments.get(used).cloned(),
        };
        used += found.get(1).is_none() as usize;
        out.push_str(&converted(&found, value.ok_or_else(too_few)?)?);
        budget::check(out.len())?;
    }
    out.push_str(unescaped(&format[end..])?);
    if used < arguments.len() && !named && by_name.is_none() {
        return Err(type_error("not all arguments converted during string formatting".into()));
    }
    Ok(Value::from(out))
}

/// Text between conversions, in which no conversion may begin.
fn unescaped(text: &str) -> Result<&str, Error> {
    match text.find('%') {
        None => Ok(text),
        Some(at) => Err(type_error(format!("unsupported format at '{}'; a width has at most four digits", &text[at..]))),
    }
}
