// SPDX-License-Identifier: Apache-2.0
// A folder's tokenizer as the text of a Hugging Face tokenizer.json: the file itself, or what tiktoken.model
// and tokenizer_config.json say, as Kimi K2 ships them.
//
// A line of tiktoken.model is a token in base64 and its rank. Text is split by a pattern, and within a piece
// those neighbours become one token whose token together has the lowest rank. That is byte-level BPE
// whose merges are all ways to put a token together from two others, by rank. The pattern stands in the
// Python code beside the files, which Braid does not run: those that it knows are listed in the source, by
// the module that tokenizer_config.json names in auto_map.
#pragma once

#include <string>

#include "base/result.h"

namespace braid::text {

struct TokenizerFile {
  std::string path;  // that was read
  std::string json;
};

// `folder` may also be the file tokenizer.json itself. Errors name the file, and an unknown module.
Result<TokenizerFile> read_tokenizer_file(const std::string& folder);
// Whether the folder has one of them.
bool has_tokenizer_file(const std::string& folder);

}  // namespace braid::text
