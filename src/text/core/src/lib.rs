// SPDX-License-Identifier: Apache-2.0
//! The text core: tokenizers, chat templates, grammars and YAML behind a small C ABI (core.h).
//! Every entry point catches panics; errors come back as text.
mod budget;
mod builtins;
mod content;
mod ffi;
mod filters;
mod grammar;
mod json;
mod methods;
mod namespaces;
mod operators;
mod printf;
mod pyvalue;
mod rewrite;
mod strftime;
mod template;
mod tokenizer;
