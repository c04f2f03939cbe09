// SPDX-License-Identifier: Apache-2.0
// Any bytes as a tokenizer.json: an error, or a tokenizer whose calls end in a result or an error.
#include "text/core.h"

using namespace braid::text;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  BraidTokenizer* tokenizer = nullptr;
  BraidBytes out{};
  const int failed = braid_tokenizer_new({reinterpret_cast<const char*>(data), size}, &tokenizer, &out);
  take(out);
  if (failed) return 0;
  const std::uint32_t ids[] = {0, 1, 7, 4000000000u};
  braid_tokenizer_table(tokenizer, &out);
  take(out);
  braid_tokenizer_encode(tokenizer, as_text("hi <s> wörld"), true, &out);
  take(out);
  braid_tokenizer_decode(tokenizer, ids, 4, false, &out);
  take(out);
  braid_tokenizer_free(tokenizer);
  return 0;
}
