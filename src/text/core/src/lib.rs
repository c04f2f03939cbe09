// SPDX-License-Identifier: Apache-2.0
//! The text core: tokenizers, chat templates, grammars and YAML behind a small C ABI (core.h).
//! Every entry point catches panics; errors come back as text.
mod ffi;
mod grammar;
mod pyvalue;
mod strftime;
mod template;
mod tokenizer;
