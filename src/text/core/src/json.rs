// SPDX-License-Identifier: Apache-2.0
//! JSON text as template values, the way Python's json.loads reads it: integers of any size, keys
//! in order.
use minijinja::value::{Object, ObjectRepr, Value};
use std::fmt;
use std::sync::Arc;

const DEEPEST: usize = 128;

/// An integer beyond 128 bits: its digits.
#[derive(Debug)]
pub struct BigInteger(String);

impl Object for BigInteger {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }
    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

pub fn parse(text: &str) -> Result<Value, String> {
    let mut reader = Reader { text, at: 0 };
    let value = reader.value(0)?;
    match reader.peek() {
        None => Ok(value),
        Some(_) => Err(reader.wrong("end of text")),
    }
}

impl<'a> Reader<'a> {
    fn wrong(&self, expected: &str) -> String {
        format!("not valid JSON: expected {expected} at byte {}", self.at)
    }

    /// The next byte that is not blank.
    fn peek(&mut self) -> Option<u8> {
        let rest = &self.text.as_bytes()[self.at..];
        self.at += rest.iter().take_while(|b| matches!(b, b' ' | b'\t' | b'\n' | b'\r')).count();
        self.text.as_bytes().get(self.at).copied()
    }

    fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += found as usize;
        found
    }

    fn word(&mut self, word: &str, value: Value) -> Result<Value, String> {
        if !self.text[self.at..].starts_with(word) {
            return Err(self.wrong("a value"));
        }
        self.at += word.len();
        Ok(value)
    }

    fn value(&mut self, depth: usize) -> Result<Value, String> {
        if depth > DEEPEST {
            return Err(format!("not valid JSON: nested deeper than {DEEPEST}"));
        }
        match self.peek() {
            Some(b'n') => self.word("null", Value::from(())),
            Some(b't') => self.word("true", Value::from(true)),
            Some(b'f') => self.word("false", Value::from(false)),
            Some(b'"') => self.string().map(Value::from),
            Some(b'[') => self.array(depth),
            Some(b'{') => self.object(depth),
            Some(b'-' | b'0'..=b'9') => self.number(),
            _ => Err(self.wrong("a value")),
        }
    }

    fn array(&mut self, depth: usize) -> Result<Value, String> {
        self.at += 1;
        let mut items = Vec::new();
        if self.take(b']') {
            return Ok(Value::from(items));
        }
        loop {
            items.push(self.value(depth + 1)?);
            if self.take(b']') {
                return Ok(Value::from(items));
            }
            if !self.take(b',') {
                return Err(self.wrong("',' or ']'"));
            }
        }
    }

    fn object(&mut self, depth: usize) -> Result<Value, String> {
        self.at += 1;
        let mut members: Vec<(Value, Value)> = Vec::new();
        if self.take(b'}') {
            return Ok(members.into_iter().collect());
        }
        loop {
            if self.peek() != Some(b'"') {
                return Err(self.wrong("a key"));
            }
            let key = self.string()?;
            if !self.take(b':') {
                return Err(self.wrong("':'"));
            }
            members.push((Value::from(key), self.value(depth + 1)?));
            if self.take(b'}') {
                return Ok(members.into_iter().collect());
            }
            if !self.take(b',') {
                return Err(self.wrong("',' or '}'"));
            }
        }
    }

    fn string(&mut self) -> Result<String, String> {
        self.at += 1;
        let bytes = self.text.as_bytes();
        let mut out = String::new();
        loop {
            let plain = bytes[self.at..].iter().take_while(|b| !matches!(b, b'"' | b'\\' | 0..=0x1f)).count();
            out.push_str(&self.text[self.at..self.at + plain]);
            self.at += plain;
            match bytes.get(self.at) {
                Some(b'"') => break,
                Some(b'\\') => out.push(self.escape()?),
                _ => return Err(self.wrong("the end of a string")),
            }
        }
        self.at += 1;
        Ok(out)
    }

    fn escape(&mut self) -> Result<char, String> {
        let letter = self.text.as_bytes().get(self.at + 1).copied();
        self.at += 2;
        Ok(match letter {
            Some(b'n') => '\n',
            Some(b't') => '\t',
            Some(b'r') => '\r',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(c @ (b'"' | b'\\' | b'/')) => c as char,
            Some(b'u') => {
                let first = self.unit()?;
                let pair = (0xD800..0xDC00).contains(&first) && self.text[self.at..].starts_with("\\u");
                let units = if pair {
                    self.at += 2;
                    vec![first, self.unit()?]
                } else {
                    vec![first]
                };
                char::decode_utf16(units).next().and_then(Result::ok).unwrap_or(char::REPLACEMENT_CHARACTER)
            }
            _ => {
                self.at -= 2;
                return Err(self.wrong("an escape"));
            }
        })
    }

    fn unit(&mut self) -> Result<u16, String> {
        let digits = self.text.get(self.at..self.at + 4).filter(|d| d.bytes().all(|b| b.is_ascii_hexdigit()));
        let unit = digits.and_then(|digits| u16::from_str_radix(digits, 16).ok());
        let unit = unit.ok_or_else(|| self.wrong("four hexadecimal digits"))?;
        self.at += 4;
        Ok(unit)
    }

    fn digits(&mut self) -> Result<(), String> {
        let count = self.text.as_bytes()[self.at..].iter().take_while(|b| b.is_ascii_digit()).count();
        self.at += count;
        if count == 0 {
            return Err(self.wrong("a digit"));
        }
        Ok(())
    }

    fn number(&mut self) -> Result<Value, String> {
        let start = self.at;
        let bytes = self.text.as_bytes();
        self.at += (bytes[self.at] == b'-') as usize;
        let whole = self.at;
        self.digits()?;
        if bytes[whole] == b'0' && self.at > whole + 1 {
            self.at = whole + 1;
            return Err(self.wrong("no digit after a leading zero"));
        }
        let mut is_integer = true;
        if bytes.get(self.at) == Some(&b'.') {
            is_integer = false;
            self.at += 1;
            self.digits()?;
        }
        if matches!(bytes.get(self.at), Some(b'e' | b'E')) {
            is_integer = false;
            self.at += 1;
            self.at += matches!(bytes.get(self.at), Some(b'+' | b'-')) as usize;
            self.digits()?;
        }
        let digits = &self.text[start..self.at];
        Ok(match (is_integer, digits.parse::<i64>(), digits.parse::<i128>()) {
            (true, Ok(small), _) => Value::from(small),
            (true, _, Ok(large)) => Value::from(large),
            (true, ..) => Value::from_object(BigInteger(digits.to_string())),
            _ => Value::from(digits.parse::<f64>().unwrap_or(f64::INFINITY)),
        })
    }
}
