// SPDX-License-Identifier: Apache-2.0
//! Template values as Python prints them: str(), repr() and json.dumps().
use crate::budget;
use crate::json::BigInteger;
use minijinja::value::{Value, ValueKind};
use minijinja::{Error, ErrorKind};
use std::fmt::Write;

const DEEPEST: usize = 64;

fn failure(message: String) -> Error {
    Error::new(ErrorKind::InvalidOperation, message)
}

/// The name of a value's type in Python's messages.
pub fn type_name(value: &Value) -> &'static str {
    match value.kind() {
        ValueKind::Undefined => "Undefined",
        ValueKind::None => "NoneType",
        ValueKind::Bool => "bool",
        ValueKind::Number if value.is_integer() => "int",
        ValueKind::Number => "float",
        ValueKind::String => "str",
        ValueKind::Bytes => "bytes",
        ValueKind::Seq => "list",
        ValueKind::Map => "dict",
        ValueKind::Iterable => "generator",
        _ if value.downcast_object_ref::<BigInteger>().is_some() => "int",
        _ => "object",
    }
}

/// Python's white space; Rust's lacks the four separators U+001C to U+001F.
pub fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

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

/// Whether repr() writes a character as an escape: controls, formats, separators, private use.
fn is_escaped(c: char) -> bool {
    matches!(c as u32, 0..=0x1f | 0x7f..=0xa0 | 0xad | 0x600..=0x605 | 0x61c | 0x6dd | 0x70f | 0x1680 | 0x180e
        | 0x2000..=0x200f | 0x2028..=0x202f | 0x205f..=0x206f | 0x3000 | 0xe000..=0xf8ff | 0xfeff | 0xfff0..=0xfffb
        | 0xe0000..=0x10ffff)
}

fn write_string_repr(out: &mut String, text: &str) {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    out.push(quote);
    for c in text.chars() {
        let code = c as u32;
        let _ = match c {
            '\\' => out.write_str("\\\\"),
            '\n' => out.write_str("\\n"),
            '\r' => out.write_str("\\r"),
            '\t' => out.write_str("\\t"),
            c if c == quote => write!(out, "\\{c}"),
            c if !is_escaped(c) => out.write_char(c),
            _ if code < 0x100 => write!(out, "\\x{code:02x}"),
            _ if code < 0x10000 => write!(out, "\\u{code:04x}"),
            _ => write!(out, "\\U{code:08x}"),
        };
    }
    out.push(quote);
}

/// Python's str().
pub fn to_str(value: &Value) -> Result<String, Error> {
    let mut out = String::new();
    write_str(&mut out, value)?;
    Ok(out)
}

/// Python's repr().
pub fn to_repr(value: &Value) -> Result<String, Error> {
    let mut out = String::new();
    write_repr(&mut out, value, 0)?;
    Ok(out)
}

pub fn write_str(out: &mut String, value: &Value) -> Result<(), Error> {
    match value.as_str() {
        _ if value.is_undefined() => {}
        Some(text) => out.push_str(text),
        None => write_repr(out, value, 0)?,
    }
    Ok(())
}

fn write_repr(out: &mut String, value: &Value, depth: usize) -> Result<(), Error> {
    budget::check(out.len())?;
    if depth > DEEPEST {
        return Err(failure("value is nested too deeply".into()));
    }
    match value.kind() {
        ValueKind::Undefined => out.push_str("Undefined"),
        ValueKind::None => out.push_str("None"),
        ValueKind::Bool => out.push_str(if value.is_true() { "True" } else { "False" }),
        ValueKind::Number => out.push_str(&number(value)),
        ValueKind::String => write_string_repr(out, value.as_str().unwrap_or("")),
        ValueKind::Seq | ValueKind::Iterable => {
            out.push('[');
            for (i, item) in value.try_iter()?.enumerate() {
                out.push_str(if i > 0 { ", " } else { "" });
                write_repr(out, &item, depth + 1)?;
            }
            out.push(']');
        }
        ValueKind::Map => {
            out.push('{');
            for (i, key) in value.try_iter()?.enumerate() {
                out.push_str(if i > 0 { ", " } else { "" });
                write_repr(out, &key, depth + 1)?;
                out.push_str(": ");
                write_repr(out, &value.get_item(&key)?, depth + 1)?;
            }
            out.push('}');
        }
        _ => out.push_str(&value.to_string()),
    }
    Ok(())
}

/// The arguments of json.dumps.
pub struct JsonStyle {
    pub ensure_ascii: bool,
    pub indent: Option<String>,
    pub item_separator: String,
    pub key_separator: String,
    pub sort_keys: bool,
}

/// Python's json.dumps.
pub fn to_json(value: &Value, style: &JsonStyle) -> Result<String, Error> {
    let mut out = String::new();
    style.write(&mut out, value, 0)?;
    Ok(out)
}

impl JsonStyle {
    fn write(&self, out: &mut String, value: &Value, depth: usize) -> Result<(), Error> {
        budget::check(out.len())?;
        if depth > DEEPEST {
            return Err(failure("value is nested too deeply".into()));
        }
        match value.kind() {
            ValueKind::None => out.push_str("null"),
            ValueKind::Bool => out.push_str(if value.is_true() { "true" } else { "false" }),
            ValueKind::Number => out.push_str(&match number(value).as_str() {
                "nan" => "NaN".to_string(),
                "inf" => "Infinity".to_string(),
                "-inf" => "-Infinity".to_string(),
                text => text.to_string(),
            }),
            ValueKind::String => self.write_string(out, value.as_str().unwrap_or("")),
            ValueKind::Seq => {
                out.push('[');
                for (i, item) in value.try_iter()?.enumerate() {
                    self.write_separator(out, i, depth);
                    self.write(out, &item, depth + 1)?;
                }
                self.write_end(out, "[", "]", depth);
            }
            ValueKind::Map => {
                out.push('{');
                let mut keys: Vec<Value> = value.try_iter()?.collect();
                if self.sort_keys {
                    keys.sort();
                }
                for (i, key) in keys.iter().enumerate() {
                    self.write_separator(out, i, depth);
                    self.write_key(out, key)?;
                    self.write(out, &value.get_item(key)?, depth + 1)?;
                }
                self.write_end(out, "{", "}", depth);
            }
            _ if value.downcast_object_ref::<BigInteger>().is_some() => out.push_str(&value.to_string()),
            _ => return Err(failure(format!("Object of type {} is not JSON serializable", type_name(value)))),
        }
        Ok(())
    }

    fn write_key(&self, out: &mut String, key: &Value) -> Result<(), Error> {
        match key.as_str() {
            Some(text) => self.write_string(out, text),
            None if matches!(key.kind(), ValueKind::None | ValueKind::Bool | ValueKind::Number) => {
                out.push('"');
                self.write(out, key, 0)?;
                out.push('"');
            }
            None => return Err(failure(format!("keys must be str, int, float, bool or None, not {}", type_name(key)))),
        }
        out.push_str(&self.key_separator);
        Ok(())
    }

    fn write_separator(&self, out: &mut String, index: usize, depth: usize) {
        if index > 0 {
            out.push_str(&self.item_separator);
        }
        self.write_line(out, depth + 1);
    }

    fn write_end(&self, out: &mut String, open: &str, close: &str, depth: usize) {
        if !out.ends_with(open) {
            self.write_line(out, depth);
        }
        out.push_str(close);
    }

    fn write_line(&self, out: &mut String, depth: usize) {
        if let Some(indent) = &self.indent {
            out.push('\n');
            for _ in 0..depth {
                out.push_str(indent);
            }
        }
    }

    fn write_string(&self, out: &mut String, text: &str) {
        out.push('"');
        for c in text.chars() {
            let _ = match c {
                '"' => out.write_str("\\\""),
                '\\' => out.write_str("\\\\"),
                '\n' => out.write_str("\\n"),
                '\r' => out.write_str("\\r"),
                '\t' => out.write_str("\\t"),
                '\u{8}' => out.write_str("\\b"),
                '\u{c}' => out.write_str("\\f"),
                c if (c as u32) < 0x20 => write!(out, "\\u{:04x}", c as u32),
                c if self.ensure_ascii && !(' '..='~').contains(&c) => {
                    let mut units = [0u16; 2];
                    c.encode_utf16(&mut units).iter().try_for_each(|unit| write!(out, "\\u{unit:04x}"))
                }
                c => out.write_char(c),
            };
        }
        out.push('"');
    }
}
