// SPDX-License-Identifier: Apache-2.0
//! Template values as Python prints them: str(), repr() and json.dumps().
use minijinja::value::{Value, ValueKind};

const DEEPEST: usize = 64;

/// Python's repr of a float: shortest digits, an exponent below 1e-4 and from 1e16.
pub fn float_repr(x: f64) -> String {
    if x.is_nan() {
        return "nan".into();
    }
    if x.is_infinite() {
        return if x > 0.0 { "inf" } else { "-inf" }.into();
    }
    let scientific = format!("{x:e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if x != 0.0 && !(-4..16).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{mantissa}e{sign}{:02}", exponent.abs());
    }
    let plain = format!("{x}");
    if plain.contains('.') {
        plain
    } else {
        plain + ".0"
    }
}

fn number(value: &Value) -> String {
    if value.is_integer() {
        return value.to_string();
    }
    f64::try_from(value.clone()).map_or_else(|_| value.to_string(), float_repr)
}

fn string_repr(text: &str) -> String {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    let mut out = String::from(quote);
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c == quote => {
                out.push('\\');
                out.push(c);
            }
            c if (c as u32) < 0x20 || (0x7f..0xa1).contains(&(c as u32)) || c as u32 == 0xad => {
                out.push_str(&format!("\\x{:02x}", c as u32))
            }
            c if matches!(c as u32, 0x2028 | 0x2029 | 0x200b..=0x200f | 0xfeff | 0x3000 | 0x2000..=0x200a | 0x202f | 0x205f) => {
                out.push_str(&format!("\\u{:04x}", c as u32))
            }
            c => out.push(c),
        }
    }
    out.push(quote);
    out
}

/// Python's str().
pub fn to_str(value: &Value) -> String {
    match value.kind() {
        ValueKind::Undefined => String::new(),
        ValueKind::String => value.as_str().unwrap_or("").to_string(),
        _ => repr(value, 0),
    }
}

fn repr(value: &Value, depth: usize) -> String {
    if depth > DEEPEST {
        return "...".into();
    }
    match value.kind() {
        ValueKind::Undefined => "Undefined".into(),
        ValueKind::None => "None".into(),
        ValueKind::Bool => if value.is_true() { "True" } else { "False" }.into(),
        ValueKind::Number => number(value),
        ValueKind::String => string_repr(value.as_str().unwrap_or("")),
        ValueKind::Seq | ValueKind::Iterable => {
            let items: Vec<String> =
                value.try_iter().map(|it| it.map(|v| repr(&v, depth + 1)).collect()).unwrap_or_default();
            format!("[{}]", items.join(", "))
        }
        ValueKind::Map => {
            let entry = |key: Value| {
                let item = value.get_item(&key).unwrap_or_default();
                format!("{}: {}", repr(&key, depth + 1), repr(&item, depth + 1))
            };
            let items: Vec<String> = value.try_iter().map(|it| it.map(entry).collect()).unwrap_or_default();
            format!("{{{}}}", items.join(", "))
        }
        _ => value.to_string(),
    }
}

pub struct JsonStyle {
    pub ensure_ascii: bool,
    pub indent: Option<String>,
    pub item_separator: String,
    pub key_separator: String,
    pub sort_keys: bool,
}

fn json_string(text: &str, ascii: bool) -> String {
    let mut out = String::from('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            c if (c as u32) < 0x20 => out.push_str(&format!("\\u{:04x}", c as u32)),
            c if ascii && !c.is_ascii() => {
                let mut units = [0u16; 2];
                for unit in c.encode_utf16(&mut units) {
                    out.push_str(&format!("\\u{unit:04x}"));
                }
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// Python's json.dumps.
pub fn to_json(value: &Value, style: &JsonStyle, depth: usize) -> Result<String, String> {
    if depth > DEEPEST {
        return Err("value is nested too deeply".into());
    }
    Ok(match value.kind() {
        ValueKind::Undefined => return Err("Undefined is not JSON serializable".into()),
        ValueKind::None => "null".into(),
        ValueKind::Bool => value.is_true().to_string(),
        ValueKind::Number => {
            let text = number(value);
            match text.as_str() {
                "nan" => "NaN".into(),
                "inf" => "Infinity".into(),
                "-inf" => "-Infinity".into(),
                _ => text,
            }
        }
        ValueKind::String => json_string(value.as_str().unwrap_or(""), style.ensure_ascii),
        ValueKind::Seq | ValueKind::Iterable => {
            let mut items = Vec::new();
            for item in value.try_iter().map_err(|e| e.to_string())? {
                items.push(to_json(&item, style, depth + 1)?);
            }
            bracket('[', ']', items, style, depth)
        }
        ValueKind::Map => {
            let mut keys: Vec<Value> = value.try_iter().map_err(|e| e.to_string())?.collect();
            if style.sort_keys {
                keys.sort();
            }
            let mut items = Vec::new();
            for key in keys {
                let item = value.get_item(&key).map_err(|e| e.to_string())?;
                let name = match key.kind() {
                    ValueKind::String => key.as_str().unwrap_or("").to_string(),
                    _ => to_json(&key, style, depth + 1)?,
                };
                items.push(format!(
                    "{}{}{}",
                    json_string(&name, style.ensure_ascii),
                    style.key_separator,
                    to_json(&item, style, depth + 1)?
                ));
            }
            bracket('{', '}', items, style, depth)
        }
        _ => return Err(format!("{} is not JSON serializable", value.kind())),
    })
}

fn bracket(open: char, close: char, items: Vec<String>, style: &JsonStyle, depth: usize) -> String {
    match &style.indent {
        Some(indent) if !items.is_empty() => {
            let inner = format!("\n{}", indent.repeat(depth + 1));
            let separator = format!("{}{inner}", style.item_separator);
            format!("{open}{inner}{}\n{}{close}", items.join(&separator), indent.repeat(depth))
        }
        _ => format!("{open}{}{close}", items.join(&style.item_separator)),
    }
}
