// SPDX-License-Identifier: Apache-2.0
//! Hugging Face tokenizers, and the bytes that each token stands for.
use std::collections::HashMap;

pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    json: serde_json::Value,
}

/// How a decoder turns tokens into bytes.
#[derive(PartialEq)]
enum Decoding {
    ByteLevel,
    /// SentencePiece style: U+2581 is a space, `<0xHH>` a byte.
    Metaspace { strip_first_space: bool },
    /// Only whole sequences can be decoded.
    Opaque,
}

/// GPT-2's map from printable characters to bytes.
fn byte_level_characters() -> HashMap<char, u8> {
    let printable = |b: u32| (33..=126).contains(&b) || (161..=172).contains(&b) || (174..=255).contains(&b);
    let mut map = HashMap::new();
    let mut next = 256;
    for byte in 0..256u32 {
        let code = if printable(byte) {
            byte
        } else {
            next += 1;
            next - 1
        };
        map.insert(char::from_u32(code).unwrap(), byte as u8);
    }
    map
}

impl Tokenizer {
    pub fn new(json: &[u8]) -> Result<Tokenizer, String> {
        let value = serde_json::from_slice(json).map_err(|e| format!("not valid JSON: {e}"))?;
        let mut inner = tokenizers::Tokenizer::from_bytes(json).map_err(|e| e.to_string())?;
        inner.with_truncation(None).map_err(|e| e.to_string())?;
        inner.with_padding(None);
        Ok(Tokenizer { inner, json: value })
    }

    pub fn encode(&self, text: &str, add_special_tokens: bool) -> Result<Vec<u32>, String> {
        let encoding = self.inner.encode_fast(text, add_special_tokens).map_err(|e| e.to_string())?;
        Ok(encoding.get_ids().to_vec())
    }

    pub fn decode(&self, ids: &[u32], skip_special_tokens: bool) -> Result<String, String> {
        self.inner.decode(ids, skip_special_tokens).map_err(|e| e.to_string())
    }

    fn decoding(&self) -> Decoding {
        let text = self.json["decoder"].to_string();
        if text.contains("\"ByteLevel\"") {
            Decoding::ByteLevel
        } else if text.contains("\"ByteFallback\"") || text.contains("\"Metaspace\"") {
            let strips = text.contains("\"Strip\"") || text.contains("\"Metaspace\"");
            Decoding::Metaspace { strip_first_space: strips }
        } else {
            Decoding::Opaque
        }
    }

    /// A header of four u32 (count, decoding: 0 byte level, 1 metaspace, 2 opaque; strip first
    /// space; 0), then per id: flags (1 exists, 2 special), token length, byte length (u32 each),
    /// the token, its bytes.
    pub fn table(&self) -> Vec<u8> {
        let vocabulary = self.inner.get_vocab(true);
        let count = vocabulary.values().max().map_or(0, |id| id + 1);
        let mut tokens: Vec<Option<&str>> = vec![None; count as usize];
        for (token, id) in &vocabulary {
            tokens[*id as usize] = Some(token);
        }
        let added = self.inner.get_added_tokens_decoder();
        let decoding = self.decoding();
        let characters = byte_level_characters();
        let (kind, strip) = match decoding {
            Decoding::ByteLevel => (0u32, 0u32),
            Decoding::Metaspace { strip_first_space } => (1, strip_first_space as u32),
            Decoding::Opaque => (2, 0),
        };
        let mut table = Vec::new();
        for word in [count, kind, strip, 0] {
            table.extend_from_slice(&word.to_le_bytes());
        }
        for (id, token) in tokens.iter().enumerate() {
            let added_token = added.get(&(id as u32));
            let text = token.unwrap_or("");
            let bytes = match added_token {
                Some(_) => text.as_bytes().to_vec(),
                None => token_bytes(text, &decoding, &characters),
            };
            let special = added_token.map_or(false, |a| a.special);
            let flags = token.is_some() as u32 | (special as u32) << 1;
            for word in [flags, text.len() as u32, bytes.len() as u32] {
                table.extend_from_slice(&word.to_le_bytes());
            }
            table.extend_from_slice(text.as_bytes());
            table.extend_from_slice(&bytes);
        }
        table
    }
}

fn token_bytes(token: &str, decoding: &Decoding, characters: &HashMap<char, u8>) -> Vec<u8> {
    match decoding {
        Decoding::ByteLevel => {
            let bytes: Option<Vec<u8>> = token.chars().map(|c| characters.get(&c).copied()).collect();
            bytes.unwrap_or_else(|| token.as_bytes().to_vec())
        }
        Decoding::Metaspace { .. } => {
            let byte = token
                .strip_prefix("<0x")
                .and_then(|rest| rest.strip_suffix('>'))
                .filter(|digits| digits.len() == 2)
                .and_then(|digits| u8::from_str_radix(digits, 16).ok());
            match byte {
                Some(byte) => vec![byte],
                None => token.replace('\u{2581}', " ").into_bytes(),
            }
        }
        Decoding::Opaque => token.as_bytes().to_vec(),
    }
}
